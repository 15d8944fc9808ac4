//! Restore jobs.

use job_events::{PutRestoreValidation, StartRestore};
use job_model::{Job, JobDetail, JobKind, JobState, ValidationStatus, restore_metadata};
use serde_json::{Value, json};

use super::Context;
use super::backup_jobs::filter;
use super::copy_jobs::in_states;
use super::paging::Paging;
use super::tags::texts;
use crate::decode::Input;
use crate::fault::Fault;
use crate::present::jobs as show;
use crate::projection::{Change, JobFilter, Object, key};
use crate::reply::Reply;

pub(super) async fn start(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let point = context.point(input.required("RecoveryPointArn")?, None).await?;
    if !context.owns(&point.vault) {
        let text = format!("recovery point `{}` is in `{}`; ask there", point.arn, point.vault.region());
        return Err(Fault::not_found(text));
    }
    if let Some(wanted) = input.text("ResourceType")
        && wanted != point.resource_type.as_str()
    {
        let text = format!("the recovery point is of type `{}`", point.resource_type.as_str());
        return Err(Fault::invalid("ResourceType", text));
    }
    if input.flag("CopySourceTagsToRestoredResource") {
        let text = "what is restored is not registered as a resource, so it has no tags; leave it out";
        return Err(Fault::invalid("CopySourceTagsToRestoredResource", text));
    }
    let metadata = texts(input.get("Metadata"));
    let wish = restore_metadata::read(point.resource_type, &metadata).map_err(|invalid| {
        let member = format!("Metadata{}", invalid.field.strip_prefix("metadata").unwrap_or_default());
        Fault::new(invalid.code, format!("`{member}` `{}`: {}", invalid.value, invalid.problem)).about(member)
    })?;
    let request = StartRestore {
        recovery_point: point.arn.clone(),
        target: wish.target,
        overwrite: wish.overwrite,
        include: wish.include,
        test: None,
        metadata,
        iam_role: input.text("IamRoleArn").map(str::to_owned),
    };
    let (accepted, at) = context.request(request).await?;
    let id = accepted.job_id.map(|id| id.to_string()).unwrap_or_default();
    if let Ok(job) = context.job(&id, JobKind::Restore).await {
        context.refresh(Change::PutJob(Box::new(job)), at).await;
    }
    Ok(Reply::json(json!({ "RestoreJobId": id })))
}

/// The ARN of the restore testing plan that a job belongs to.
fn testing_plan(context: &Context<'_>, job: &Job) -> Option<String> {
    let JobDetail::Restore { restore_testing_plan: Some(name), .. } = &job.detail else { return None };
    let object = context.api.projection.object(&key::testing_plan(context.account(), context.region, name))?;
    match object.as_ref() {
        Object::TestingPlan(plan) => context.testing_arn(plan).ok(),
        _ => None,
    }
}

fn shown(context: &Context<'_>, job: &Job) -> Value {
    show::restore(job, None, testing_plan(context, job).as_deref())
}

pub(super) async fn describe(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let job = context.job(input.required("RestoreJobId")?, JobKind::Restore).await?;
    let point = match &job.detail {
        // It may be gone by now.
        JobDetail::Restore { recovery_point, .. } => context.point(recovery_point.as_str(), None).await.ok(),
        _ => None,
    };
    let plan = testing_plan(context, &job);
    Ok(Reply::json(show::restore(&job, point.map(|point| point.created_at), plan.as_deref())))
}

pub(super) async fn metadata(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let job = context.job(input.required("RestoreJobId")?, JobKind::Restore).await?;
    let metadata = match &job.detail {
        JobDetail::Restore { metadata, .. } => metadata.clone(),
        _ => std::collections::BTreeMap::new(),
    };
    Ok(Reply::json(json!({ "RestoreJobId": job.id.to_string(), "Metadata": metadata })))
}

/// Our states that AWS shows as one of its restores' states.
fn states(wanted: &str) -> Vec<JobState> {
    JobState::ALL.into_iter().filter(|state| show::restore_state(*state) == wanted).collect()
}

pub(super) async fn list(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let Some(mut filter) = filter(context, input) else {
        return Ok(context.listed(json!({ "RestoreJobs": [] })));
    };
    if let Some(arn) = input.text("ByRestoreTestingPlanArn") {
        filter.testing_plan = Some(name_of_testing_plan(arn));
    }
    page(context, input, "restore-jobs", filter).await
}

/// `…:restore-testing-plan:<name>-<uuid>`.
fn name_of_testing_plan(arn: &str) -> String {
    let last = arn.rsplit(':').next().unwrap_or_default();
    // A UUID has 36 characters, with a hyphen before it.
    last.len().checked_sub(37).and_then(|end| last.get(..end)).unwrap_or(last).to_owned()
}

pub(super) async fn list_by_resource(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let resource = context.arn("ResourceArn", input.required("ResourceArn")?)?;
    let filter = JobFilter { resource: Some(resource.to_string()), ..JobFilter::default() };
    if input.get("ByRecoveryPointCreationDateAfter").is_some()
        || input.get("ByRecoveryPointCreationDateBefore").is_some()
    {
        return by_point_date(context, input, filter).await;
    }
    page(context, input, "restore-jobs-of", filter).await
}

/// Restores of recovery points of some time: the points are looked up, then the restores of each.
async fn by_point_date(context: &Context<'_>, input: &Input, filter: JobFilter) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "restore-jobs-of", input)?;
    let states = input.text("ByStatus").map(states);
    let (after, before) =
        (input.instant("ByRecoveryPointCreationDateAfter"), input.instant("ByRecoveryPointCreationDateBefore"));
    let page = in_states(context, JobKind::Restore, &filter, states, &paging).await?;
    let mut rows = Vec::new();
    for job in page.rows {
        let JobDetail::Restore { recovery_point, .. } = &job.detail else { continue };
        let Ok(point) = context.point(recovery_point.as_str(), None).await else { continue };
        let at = point.created_at;
        if after.is_none_or(|after| at > after) && before.is_none_or(|before| at < before) {
            rows.push((job, at));
        }
    }
    let page = crate::projection::Page { rows, next: page.next };
    let output = paging.output(context, "RestoreJobs", page, |(job, at)| {
        show::restore(job, Some(*at), testing_plan(context, job).as_deref())
    });
    Ok(context.listed(output))
}

async fn page(context: &Context<'_>, input: &Input, name: &str, filter: JobFilter) -> Result<Reply, Fault> {
    let paging = Paging::read(context, name, input)?;
    let states = input.text("ByStatus").map(states);
    let page = in_states(context, JobKind::Restore, &filter, states, &paging).await?;
    Ok(context.listed(paging.output(context, "RestoreJobs", page, |job| shown(context, job))))
}

pub(super) async fn put_validation(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let id = input.required("RestoreJobId")?;
    let job = context.job(id, JobKind::Restore).await?;
    let status = match input.required("ValidationStatus")? {
        "SUCCESSFUL" => ValidationStatus::Successful,
        "FAILED" => ValidationStatus::Failed,
        "TIMED_OUT" => ValidationStatus::TimedOut,
        _ => ValidationStatus::Validating,
    };
    let message = input.text("ValidationStatusMessage").map(str::to_owned);
    let (_, at) = context.request(PutRestoreValidation { restore_job_id: job.id, status, message }).await?;
    if let Ok(job) = context.job(id, JobKind::Restore).await {
        context.refresh(Change::PutJob(Box::new(job)), at).await;
    }
    Ok(Reply::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_testing_plan_is_what_stands_before_its_uuid() {
        let arn = "arn:aws:backup:r-1:000000000000:restore-testing-plan:my_plan-0191a5b4-8a3c-7d5e-9f00-112233445566";
        assert_eq!(name_of_testing_plan(arn), "my_plan");
        assert_eq!(name_of_testing_plan("short"), "short");
    }
}
