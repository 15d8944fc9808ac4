//! Reports: each plan's daily one, jobs that nobody finished, and old ones.

use jiff::{SignedDuration, Timestamp};
use job_model::{ReportJob, ReportJobId, ReportJobState, ReportPlan};
use uuid::Uuid;

use crate::decide::Step;
use crate::decide::runs::after;
use crate::state::State;

/// From one report of a plan to the next.
const EVERY: SignedDuration = SignedDuration::from_hours(24);
/// A report that nobody wrote by then is FAILED.
const PATIENCE: SignedDuration = SignedDuration::from_hours(1);
/// How long report jobs are remembered.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Makes a report job.
pub(crate) fn begin(step: &mut Step<'_>, mut plan: ReportPlan, id: ReportJobId) {
    plan.last_attempted_at = Some(step.now);
    let key = (plan.account.clone(), plan.region.clone(), plan.name.clone());
    step.state.report_plans.put(key, plan.clone());
    let job = ReportJob {
        id,
        plan,
        state: ReportJobState::Created,
        message: None,
        created_at: step.now,
        ended_at: None,
        keys: Vec::new(),
    };
    step.state.report_jobs.put(id, job);
}

/// Ends a report job.
pub(crate) fn end(step: &mut Step<'_>, mut job: ReportJob) {
    job.ended_at = Some(step.now);
    let key = (job.plan.account.clone(), job.plan.region.clone(), job.plan.name.clone());
    if job.state == ReportJobState::Completed
        && let Some(mut plan) = step.state.report_plans.get(&key).cloned()
    {
        plan.last_succeeded_at = Some(step.now);
        step.state.report_plans.put(key, plan);
    }
    step.state.report_jobs.put(job.id, job);
}

/// What is due: daily reports, jobs that took too long, jobs nobody needs any more.
pub(crate) fn tick(step: &mut Step<'_>) {
    let due: Vec<ReportPlan> =
        step.state.report_plans.values().filter(|plan| next_report(plan) <= step.now).cloned().collect();
    for plan in due {
        let arn = plan.arn().map(|arn| arn.to_string()).unwrap_or_default();
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{arn}|{}", step.now).as_bytes());
        begin(step, plan, ReportJobId::new(id));
    }
    let late: Vec<ReportJob> = step
        .state
        .report_jobs
        .values()
        .filter(|job| job.state == ReportJobState::Created && after(job.created_at, PATIENCE) <= step.now)
        .cloned()
        .collect();
    for mut job in late {
        job.state = ReportJobState::Failed;
        job.message = Some("nobody wrote the report within an hour; see that the gateway runs".to_owned());
        end(step, job);
    }
    let old: Vec<ReportJobId> = step
        .state
        .report_jobs
        .values()
        .filter(|job| job.ended_at.is_some_and(|at| after(at, KEPT) <= step.now))
        .map(|job| job.id)
        .collect();
    for id in old {
        step.state.report_jobs.remove(&id);
    }
}

/// When [`tick`] has something to do next.
pub(crate) fn next_wake(state: &State) -> Option<Timestamp> {
    let plans = state.report_plans.values().map(next_report);
    let jobs = state.report_jobs.values().map(|job| match (job.state, job.ended_at) {
        (ReportJobState::Created, _) => after(job.created_at, PATIENCE),
        (_, ended) => after(ended.unwrap_or(job.created_at), KEPT),
    });
    plans.chain(jobs).min()
}

fn next_report(plan: &ReportPlan) -> Timestamp {
    after(plan.last_attempted_at.unwrap_or(plan.created_at), EVERY)
}
