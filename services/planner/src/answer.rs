//! Answers to queries, from the state as it was committed last. Pure.

use jiff::Timestamp;
use job_events::{Answer, NextRuns, Query};
use job_model::{Job, RecoveryPoint};
use schedule::Schedule;

mod outlook;
mod scan;
mod show;

use crate::decide::{Settings, retire};
use crate::retention::Fate;
use crate::state::State;

/// Jobs in a list unless the query says otherwise.
const JOBS_DEFAULT: u32 = 100;
/// Jobs in a list at most.
const JOBS_MAX: u32 = 1000;
/// Next runs of a rule at most.
const RUNS_MAX: u32 = 10;

/// What is answered from, besides the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    /// What the operator set.
    pub(crate) settings: &'a Settings,
    /// The identity of the state.
    pub(crate) installation: &'a str,
    /// When.
    pub(crate) now: Timestamp,
}

/// Answers a query.
pub(crate) fn answer(state: &State, query: &Query, around: Around<'_>) -> Answer {
    let Around { settings, installation, now } = around;
    match query {
        Query::Scan { kind, after, limit } => scan::scan(state, installation, *kind, after.as_deref(), *limit),
        Query::ShowVault { vault } => show::vault(state, vault),
        Query::ShowResource { resource } => show::resource(state, resource),
        Query::ShowPlan { plan_id, version } => show::plan(state, *plan_id, *version),
        Query::ListPlanVersions { plan_id, before } => show::plan_versions(state, *plan_id, *before),
        Query::ShowSelection { plan_id, selection_id } => show::selection(state, *plan_id, *selection_id),
        Query::RestoreMetadata { recovery_point } => show::metadata(state, recovery_point),
        Query::ListTags { arn } => show::tags(state, settings, arn),
        Query::ShowLegalHold { id } => show::legal_hold(state, *id),
        Query::ListHeldRecoveryPoints { id, after, limit } => show::held_points(state, *id, after.as_deref(), *limit),
        Query::ShowSettings { account, region } => show::settings(state, account, region),
        Query::ShowReportPlan { account, region, name } => show::report_plan(state, account, region, name),
        Query::ShowReportJob { id } => show::report_job(state, *id),
        Query::Forecast { account, until, limit } => {
            outlook::forecast(state, settings, account.as_ref(), *until, *limit, now)
        }
        Query::ListUnprotected { account, after } => {
            outlook::unprotected(state, settings, account.as_ref(), after.as_ref())
        }
        Query::Coverage { account, days, after } => {
            outlook::coverage(state, settings, account.as_ref(), *days, after.as_deref(), now)
        }
        Query::ListResources => Answer::Resources(state.resources.values().cloned().collect()),
        Query::ListVaults => Answer::Vaults(state.vaults.values().cloned().collect()),
        Query::ListPlans => Answer::Plans(state.current_plans().into_iter().cloned().collect()),
        Query::NextRuns { plan_id, count } => next_runs(state, *plan_id, *count, now),
        Query::ListSelections { plan_id } => {
            let wanted = |id| plan_id.is_none_or(|plan| plan == id);
            Answer::Selections(state.selections.values().filter(|s| wanted(s.plan_id)).cloned().collect())
        }
        Query::ListJobs { kind, state: in_state, resource, limit } => {
            let limit = limit.unwrap_or(JOBS_DEFAULT);
            if !(1..=JOBS_MAX).contains(&limit) {
                return refused("InvalidParameterValueException", "limit", format!("`{limit}` is not 1 to {JOBS_MAX}"));
            }
            let mut jobs: Vec<&Job> = state
                .jobs()
                .map(|row| &row.job)
                .filter(|job| kind.is_none_or(|kind| kind == job.kind))
                .filter(|job| in_state.is_none_or(|wanted| wanted == job.state))
                .filter(|job| resource.as_ref().is_none_or(|arn| *arn == job.resource))
                .collect();
            jobs.sort_by_key(|job| std::cmp::Reverse((job.created_at, job.id)));
            Answer::Jobs(jobs.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect())
        }
        Query::ShowJob { job_id } => match state.job(*job_id) {
            Some(row) => Answer::Job(row.job.clone()),
            None => {
                not_found("job_id", format!("job `{job_id}` is not in the ledger; ended jobs leave it after 30 days"))
            }
        },
        Query::ListRecoveryPoints { vault, resource } => {
            let of_vault = |point: &&RecoveryPoint| vault.as_ref().is_none_or(|arn| *arn == point.vault);
            let mut points: Vec<&RecoveryPoint> = match resource {
                Some(resource) => state.points_of(resource).map(|row| &row.point).filter(of_vault).collect(),
                None => state.points.values().map(|row| &row.point).filter(of_vault).collect(),
            };
            points.sort_by_key(|point| std::cmp::Reverse((point.created_at, point.id)));
            Answer::RecoveryPoints(points.into_iter().cloned().collect())
        }
        Query::ShowRecoveryPoint { recovery_point } => {
            let Some(row) = state.points.get(recovery_point) else {
                return not_found("recovery_point", format!("recovery point `{recovery_point}` does not exist"));
            };
            let decisions = retire::decisions(state, &settings.account, &row.point.resource, now);
            let fate =
                decisions.into_iter().find(|decision| decision.recovery_point == *recovery_point).map(|d| d.fate);
            let kept_because = match fate {
                Some(Fate::Keep(reasons)) => reasons.iter().map(ToString::to_string).collect(),
                Some(Fate::Delete { .. }) | None => Vec::new(),
            };
            Answer::RecoveryPoint { recovery_point: row.point.clone(), kept_because, delete_at: row.point.delete_at() }
        }
        Query::ListRestoreTestingPlans
        | Query::ListTestRuns { .. }
        | Query::ShowTestRun { .. }
        | Query::ShowRestoreTestingPlan { .. } => refused(
            "InvalidRequestException",
            "query",
            format!("`{}` is answered by the verifier; ask it", query.name()),
        ),
        Query::ToldUpTo { .. } => {
            refused("InvalidRequestException", "query", format!("`{}` is not answered from the state", query.name()))
        }
    }
}

fn next_runs(state: &State, plan: job_model::PlanId, count: u32, now: Timestamp) -> Answer {
    let Some(plan) = state.current_plan(plan) else {
        return not_found("plan_id", format!("Cannot find Backup plan with ID `{plan}`"));
    };
    if !(1..=RUNS_MAX).contains(&count) {
        return refused("InvalidParameterValueException", "count", format!("`{count}` is not 1 to {RUNS_MAX}"));
    }
    let runs = plan.rules.iter().map(|rule| NextRuns {
        rule_name: rule.name.clone(),
        at: Schedule::parse(&rule.schedule, &rule.time_zone)
            .map(|schedule| schedule.upcoming(now, usize::try_from(count).unwrap_or_default()))
            .unwrap_or_default(),
    });
    Answer::NextRuns(runs.collect())
}

fn not_found(field: &str, message: String) -> Answer {
    refused("ResourceNotFoundException", field, message)
}

/// A query that cannot be answered.
pub(crate) fn refused(code: &str, field: &str, message: String) -> Answer {
    Answer::Refused { code: code.to_owned(), field: field.to_owned(), message }
}
