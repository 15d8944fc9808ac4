//! Copy jobs.

use job_events::StartCopy;
use job_model::{Job, JobDetail, JobKind, JobState};
use serde_json::{Value, json};

use super::backup_jobs::filter;
use super::paging::{Paging, unreadable};
use super::plan_input::lifecycle;
use super::{Context, strict};
use crate::decode::Input;
use crate::fault::Fault;
use crate::present::{self, jobs as show};
use crate::projection::{Change, JobFilter, Page};
use crate::reply::Reply;

pub(super) async fn start(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    if context.api.config.aws_strict {
        strict::lifecycle("Lifecycle", input.get("Lifecycle"))?;
    }
    let source = input.required("SourceBackupVaultName")?;
    let point = context.point(input.required("RecoveryPointArn")?, Some(source)).await?;
    let request = StartCopy {
        recovery_point: point.arn,
        destination_vault: context.arn("DestinationBackupVaultArn", input.required("DestinationBackupVaultArn")?)?,
        lifecycle: lifecycle("Lifecycle", input.get("Lifecycle"))?,
        iam_role: input.text("IamRoleArn").map(str::to_owned),
    };
    let (accepted, at) = context.request(request).await?;
    let id = accepted.job_id.map(|id| id.to_string()).unwrap_or_default();
    let job = context.job(&id, JobKind::Copy).await?;
    let output = json!({ "CopyJobId": id, "CreationDate": present::epoch(job.created_at), "IsParent": false });
    context.refresh(Change::PutJob(Box::new(job)), at).await;
    Ok(Reply::json(output))
}

fn shown(context: &Context<'_>, job: &Job) -> Value {
    let destination = match &job.detail {
        JobDetail::Copy { destination_vault, .. } => context.known_vault(destination_vault),
        _ => None,
    };
    show::copy(job, destination.as_ref())
}

pub(super) async fn describe(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let job = context.job(input.required("CopyJobId")?, JobKind::Copy).await?;
    Ok(Reply::json(json!({ "CopyJob": shown(context, &job) })))
}

/// Our states that AWS shows as one of its copies' states.
fn states(wanted: &str) -> Vec<JobState> {
    JobState::ALL.into_iter().filter(|state| show::copy_state(*state) == wanted).collect()
}

pub(super) async fn list(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "copy-jobs", input)?;
    let nothing = || Ok(context.listed(json!({ "CopyJobs": [] })));
    let Some(mut filter) = filter(context, input) else { return nothing() };
    filter.vault = input.text("ByDestinationVaultArn").map(str::to_owned);
    filter.source = input.text("BySourceRecoveryPointArn").map(str::to_owned);
    let states = input.text("ByState").map(states);
    if states.as_ref().is_some_and(Vec::is_empty) {
        return nothing();
    }
    let page = in_states(context, JobKind::Copy, &filter, states, &paging).await?;
    Ok(context.listed(paging.output(context, "CopyJobs", page, |job| shown(context, job))))
}

/// A page of jobs in some of our states: of each the newest, then the newest of all.
pub(super) async fn in_states(
    context: &Context<'_>,
    kind: JobKind,
    filter: &JobFilter,
    states: Option<Vec<JobState>>,
    paging: &Paging,
) -> Result<Page<Job>, Fault> {
    let filters: Vec<JobFilter> = match states {
        None => vec![filter.clone()],
        Some(states) => {
            states.iter().map(|s| JobFilter { state: Some(s.as_str().to_owned()), ..filter.clone() }).collect()
        }
    };
    let place = (context.account(), context.region);
    let (mut rows, mut more) = (Vec::new(), false);
    for filter in &filters {
        let page = context.api.projection.jobs(place, kind, filter, paging.after(), paging.limit).await;
        let page = page.map_err(unreadable)?;
        more |= page.next.is_some();
        rows.extend(page.rows);
    }
    rows.sort_by_key(|job| std::cmp::Reverse(crate::projection::place_of_job(job)));
    more |= rows.len() > paging.limit;
    rows.truncate(paging.limit);
    let next = rows.last().map(crate::projection::place_of_job).filter(|_| more);
    Ok(Page { rows, next })
}
