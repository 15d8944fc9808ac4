//! Carries out report jobs: the planner says when one is due, the files are written, the planner is told.
//!
//! A job is the planner's and durable before it is seen here; its files have names that follow from the job, so that a job
//! that is done again (this process died, or another gateway is at it too) replaces its own files; and the telling is one
//! request with an id that follows from the job.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use job_events::{Answer, FinishReportJob, Query};
use job_model::{Arn, Region, ReportJob, ReportJobState};
use service_host::error_chain;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::bucket::BucketError;
use super::table::{self, Sheet};
use crate::backend::Behalf;
use crate::calls::Call;
use crate::fault::Fault;
use crate::http::Api;
use crate::projection::{Change, JobFilter, Object};

/// How often it is looked whether a report is due.
const GLANCE: Duration = Duration::from_millis(500);
/// A store that did not take the files by then has failed the job.
const PATIENCE: SignedDuration = SignedDuration::from_mins(15);
/// Jobs that are read in one step.
const STEP: usize = 1000;

/// Why a report is not written.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the report `{0}` is none that is written here")]
    Template(String),
    #[error("the region `{0}` is not served by this gateway")]
    Region(String),
    #[error("jobs cannot be listed")]
    Jobs(#[from] state_store::StoreError),
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

impl Trouble {
    /// Whether trying again may help.
    fn may_pass(&self) -> bool {
        match self {
            Self::Template(_) | Self::Region(_) | Self::Bucket(BucketError::Unknown(_) | BucketError::Key { .. }) => {
                false
            }
            Self::Jobs(_) | Self::Bucket(_) => true,
        }
    }
}

/// Writes reports until told to stop.
pub(crate) async fn run(api: Arc<Api>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let round = async {
            // Nobody could be told of the outcome while the planner is silent, and the lists may be old.
            if api.projection.silence().planner.is_none() {
                for job in due(&api) {
                    carry_out(&api, &job).await;
                }
            }
            api.clock.sleep(GLANCE).await;
        };
        tokio::select! {
            () = round => {}
            () = stop.cancelled() => {}
        }
    }
}

fn due(api: &Api) -> Vec<ReportJob> {
    let jobs = api.projection.objects("report-job/").into_iter().filter_map(|object| match object.as_ref() {
        Object::ReportJob(job) if job.state == ReportJobState::Created => Some(job.clone()),
        _ => None,
    });
    jobs.collect()
}

async fn carry_out(api: &Api, job: &ReportJob) {
    let finish = |state, message, keys| FinishReportJob { report_job_id: job.id, state, message, keys };
    let outcome = match write(api, job).await {
        Ok(keys) => finish(ReportJobState::Completed, None, keys),
        Err(trouble) => {
            let message = error_chain(&trouble);
            let is_late = api.clock.now().duration_since(job.created_at) >= PATIENCE;
            if trouble.may_pass() && !is_late {
                tracing::warn!(report_job = %job.id, error = message, "a report was not written; trying again");
                return;
            }
            tracing::error!(report_job = %job.id, error = message, "a report was given up");
            finish(ReportJobState::Failed, Some(message), Vec::new())
        }
    };
    if let Err(fault) = tell(api, job, outcome).await {
        tracing::warn!(report_job = %job.id, error = %fault, "the planner was not told of a report; trying again");
    }
}

/// Writes the files of a report; their keys.
async fn write(api: &Api, job: &ReportJob) -> Result<Vec<String>, Trouble> {
    let plan = &job.plan;
    let kind = table::kind(&plan.setting.template).ok_or_else(|| Trouble::Template(plan.setting.template.clone()))?;
    let bucket = api.config.report_buckets.get(&plan.delivery.bucket);
    let bucket = bucket.ok_or_else(|| BucketError::Unknown(plan.delivery.bucket.clone()))?;
    let mut sheets: Vec<Sheet> = plan.delivery.formats.iter().map(|format| Sheet::new(kind, format)).collect();
    for region in regions(api, job)? {
        let mut after = None;
        loop {
            let place = (&plan.account, &region);
            let page = api.projection.jobs(place, kind, &JobFilter::default(), after, STEP).await?;
            for row in page.rows.iter().filter(|row| table::takes(job, row)) {
                let row = table::row(job, row);
                sheets.iter_mut().for_each(|sheet| sheet.push(&row));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    let mut keys = Vec::new();
    for sheet in sheets {
        let key = key(job, sheet.ending());
        bucket.put(&key, sheet.finish()).await?;
        keys.push(key);
    }
    Ok(keys)
}

fn regions(api: &Api, job: &ReportJob) -> Result<Vec<Region>, Trouble> {
    let wanted = &job.plan.setting.regions;
    if wanted.iter().any(|name| name == "*") {
        return Ok(api.config.regions.keys().cloned().collect());
    }
    let known = |name: &String| {
        let region = name.parse::<Region>().ok().filter(|region| api.config.regions.contains_key(region));
        region.ok_or_else(|| Trouble::Region(name.clone()))
    };
    wanted.iter().map(known).collect()
}

/// The name of a file of a report: the same each time the job is done.
fn key(job: &ReportJob, ending: &str) -> String {
    let plan = &job.plan;
    let prefix = plan.delivery.prefix.as_deref().unwrap_or_default().trim_end_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    let day = job.created_at.to_zoned(TimeZone::UTC).strftime("%Y/%m/%d").to_string();
    format!("{prefix}{slash}Backup/{}/{}/{day}/{}_{}.{ending}", plan.account, plan.region, plan.name, job.id)
}

async fn tell(api: &Api, job: &ReportJob, outcome: FinishReportJob) -> Result<(), Fault> {
    let account = job.plan.account.clone();
    let principal: Arn = format!("arn:aws:iam::{account}:role/administrator")
        .parse()
        .map_err(|error: job_model::InvalidArn| Fault::internal(error.to_string()))?;
    let region = job.plan.region.clone();
    let behalf = Behalf { account, principal, region: region.clone(), traceparent: None };
    let call = Call { id: Uuid::new_v5(&job.id.as_uuid(), b"finish") };
    let told = api.backend.request(&behalf, call, None, &outcome.into()).await;
    let at = match told {
        Ok((_, at)) => at,
        // Ended already: another gateway was faster, or the planner's patience was over. What it says counts.
        Err(fault) if fault.status.is_client_error() => api.clock.now(),
        Err(fault) => return Err(fault),
    };
    if let Answer::ReportJob(now) = api.backend.query(&region, &Query::ShowReportJob { id: job.id }).await? {
        api.projection.refresh(vec![Change::Put(Box::new(Object::ReportJob(*now)))], at).await;
    }
    Ok(())
}
