//! Backup jobs.

use job_events::{StartBackup, StopJob};
use job_model::{Arn, Job, JobDetail, JobKind};
use serde_json::{Value, json};

use super::paging::{Paging, unreadable};
use super::plan_input::{lifecycle, minutes};
use super::tags::tags;
use super::{Context, strict};
use crate::decode::Input;
use crate::fault::Fault;
use crate::present::{self, jobs as show};
use crate::projection::{Change, JobFilter};
use crate::reply::Reply;

pub(super) async fn start(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    for (member, why) in [
        ("LogicallyAirGappedBackupVaultArn", "name the air-gapped vault in BackupVaultName"),
        ("Index", "there is no search index here; leave it out"),
    ] {
        if input.text(member).is_some_and(|text| !text.is_empty() && text != "DISABLED") {
            return Err(Fault::invalid(member, why));
        }
    }
    if input.get("BackupOptions").and_then(Value::as_object).is_some_and(|options| !options.is_empty()) {
        return Err(Fault::invalid("BackupOptions", "types of resources here take no options; leave it out"));
    }
    if context.api.config.aws_strict {
        strict::lifecycle("Lifecycle", input.get("Lifecycle"))?;
    }
    let vault = context.vault_arn(input.required("BackupVaultName")?)?;
    let request = StartBackup {
        resource: context.arn("ResourceArn", input.required("ResourceArn")?)?,
        vault: vault.clone(),
        lifecycle: lifecycle("Lifecycle", input.get("Lifecycle"))?,
        start_window_minutes: minutes("", input.members(), "StartWindowMinutes")?,
        completion_window_minutes: minutes("", input.members(), "CompleteWindowMinutes")?,
        recovery_point_tags: tags(input, "RecoveryPointTags"),
        copy_actions: Vec::new(),
        iam_role: input.text("IamRoleArn").map(str::to_owned),
    };
    let (accepted, at) = context.request(request).await?;
    let id = accepted.job_id.map(|id| id.to_string()).unwrap_or_default();
    let job = context.job(&id, JobKind::Backup).await?;
    let point = match &job.detail {
        JobDetail::Backup { recovery_point_id, .. } => {
            Arn::recovery_point(context.region, context.account(), *recovery_point_id).ok()
        }
        _ => None,
    };
    let output = json!({
        "BackupJobId": id,
        "CreationDate": present::epoch(job.created_at),
        "RecoveryPointArn": point.as_ref().map(Arn::as_str),
        "IsParent": false,
    });
    context.refresh(Change::PutJob(Box::new(job)), at).await;
    Ok(Reply::json(present::compact(output)))
}

fn shown(context: &Context<'_>, job: &Job) -> Value {
    show::backup(job, context.known_vault(job.home()).as_ref())
}

pub(super) async fn describe(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let job = context.job(input.required("BackupJobId")?, JobKind::Backup).await?;
    Ok(Reply::json(shown(context, &job)))
}

pub(super) async fn stop(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let id = input.required("BackupJobId")?;
    let job = context.job(id, JobKind::Backup).await?;
    let (_, at) = context.request(StopJob { job_id: job.id }).await?;
    if let Ok(job) = context.job(id, JobKind::Backup).await {
        context.refresh(Change::PutJob(Box::new(job)), at).await;
    }
    Ok(Reply::empty())
}

/// Filters that lists of jobs of all kinds have. An account that is not the caller's own has no jobs here.
pub(super) fn filter(context: &Context<'_>, input: &Input) -> Option<JobFilter> {
    let account = input.text("ByAccountId");
    if account.is_some_and(|account| account != context.account().as_str() && account != "*") {
        return None;
    }
    let any = |text: &&str| *text != "*" && *text != "ANY";
    let text = |member: &str| input.text(member).filter(any).map(str::to_owned);
    Some(JobFilter {
        resource: text("ByResourceArn"),
        resource_type: text("ByResourceType"),
        category: text("ByMessageCategory"),
        parent: text("ByParentJobId"),
        created_after: input.instant("ByCreatedAfter"),
        created_before: input.instant("ByCreatedBefore"),
        ended_after: input.instant("ByCompleteAfter"),
        ended_before: input.instant("ByCompleteBefore"),
        ..JobFilter::default()
    })
}

pub(super) async fn list(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "backup-jobs", input)?;
    let Some(mut filter) = filter(context, input) else {
        return Ok(context.listed(json!({ "BackupJobs": [] })));
    };
    filter.state = input.text("ByState").map(str::to_owned);
    filter.vault = input.text("ByBackupVaultName").map(|name| context.vault_arn(name)).transpose()?.map(String::from);
    let place = (context.account(), context.region);
    let page = context.api.projection.jobs(place, JobKind::Backup, &filter, paging.after(), paging.limit).await;
    let output = paging.output(context, "BackupJobs", page.map_err(unreadable)?, |job| shown(context, job));
    Ok(context.listed(output))
}
