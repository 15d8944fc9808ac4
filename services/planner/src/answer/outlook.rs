//! What will be, and what is not proven: runs to come with what history says of them, resources without a plan, and the
//! share that was proven restorable.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use job_events::{Answer, CoverageAnswer, CoverageRow, ForecastRun};
use job_model::{AccountId, Arn, JobDetail, JobState, Resource};
use schedule::Schedule;

use crate::answer::refused;
use crate::decide::{Settings, runs};
use crate::state::State;

/// Runs in an answer at most, and unless the query says otherwise.
const RUNS_MAX: u32 = 1000;
const RUNS_DEFAULT: u32 = 100;
/// Rows of a page of resources.
const ROWS_MAX: usize = 1000;
/// Days in which proofs count unless the query says otherwise, and at most.
const DAYS_DEFAULT: u32 = 30;
const DAYS_MAX: u32 = 3650;

/// The runs up to an instant, by time.
pub(super) fn forecast(
    state: &State,
    settings: &Settings,
    account: Option<&AccountId>,
    until: Timestamp,
    limit: Option<u32>,
    now: Timestamp,
) -> Answer {
    let limit = limit.unwrap_or(RUNS_DEFAULT);
    if !(1..=RUNS_MAX).contains(&limit) {
        return refused("InvalidParameterValueException", "limit", format!("`{limit}` is not 1 to {RUNS_MAX}"));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let history = durations(state);
    let mut runs = Vec::new();
    for plan in state.current_plans() {
        if account.is_some_and(|wanted| plan.account.as_ref().unwrap_or(&settings.account) != wanted) {
            continue;
        }
        let taken = runs::selected(state, &settings.account, plan);
        for rule in &plan.rules {
            let Ok(schedule) = Schedule::parse(&rule.schedule, &rule.time_zone) else { continue };
            let instants = schedule.upcoming(now, limit);
            for at in instants.into_iter().take_while(|at| *at <= until) {
                for (resource, _) in taken.iter().filter(|(r, _)| runs::is_for(state, plan, rule, r)) {
                    let expected_ms = history.get(&(resource.arn.clone(), rule.target_vault.clone())).copied();
                    let window_ms = u64::from(rule.completion_window_minutes) * 60_000;
                    runs.push(ForecastRun {
                        at,
                        plan_id: plan.id,
                        rule_id: rule.id,
                        rule_name: rule.name.clone(),
                        resource: resource.arn.clone(),
                        vault: rule.target_vault.clone(),
                        expected_ms,
                        fits_window: expected_ms.map(|expected| expected <= window_ms),
                    });
                }
            }
        }
    }
    runs.sort_by(|a, b| (a.at, &a.resource, a.rule_id).cmp(&(b.at, &b.resource, b.rule_id)));
    runs.truncate(limit);
    Answer::Forecast(runs)
}

/// The longest of the backups of each resource into each vault that the ledger still knows, from the schedule to the end.
fn durations(state: &State) -> BTreeMap<(Arn, Arn), u64> {
    let mut longest = BTreeMap::new();
    for row in state.jobs() {
        let job = &row.job;
        let (JobDetail::Backup { vault, .. }, Some(ended)) = (&job.detail, job.ended_at) else { continue };
        if !matches!(job.state, JobState::Completed | JobState::Partial) {
            continue;
        }
        let took = u64::try_from(ended.duration_since(job.scheduled_at).as_millis()).unwrap_or_default();
        let slot = longest.entry((job.resource.clone(), vault.clone())).or_insert(0);
        *slot = took.max(*slot);
    }
    longest
}

/// Registered resources that no plan selects.
pub(super) fn unprotected(
    state: &State,
    settings: &Settings,
    account: Option<&AccountId>,
    after: Option<&Arn>,
) -> Answer {
    let free: Vec<Resource> = state
        .resources
        .after(after.cloned())
        .map(|(_, resource)| resource)
        .filter(|resource| is_of(resource, settings, account))
        .filter(|resource| !runs::is_selected(state, &settings.account, &resource.arn))
        .take(ROWS_MAX)
        .cloned()
        .collect();
    Answer::Resources(free)
}

fn is_of(resource: &Resource, settings: &Settings, account: Option<&AccountId>) -> bool {
    account.is_none_or(|wanted| resource.account_or(&settings.account) == wanted.as_str())
        && !job_model::is_made_by_restore_test(resource)
}

/// The share of what is registered that was proven restorable.
pub(super) fn coverage(
    state: &State,
    settings: &Settings,
    account: Option<&AccountId>,
    days: Option<u32>,
    after: Option<&str>,
    now: Timestamp,
) -> Answer {
    let days = days.unwrap_or(DAYS_DEFAULT);
    if !(1..=DAYS_MAX).contains(&days) {
        return refused("InvalidParameterValueException", "days", format!("`{days}` is not 1 to {DAYS_MAX}"));
    }
    let since = now.checked_sub(SignedDuration::from_hours(i64::from(days) * 24)).unwrap_or(Timestamp::MIN);
    let begin: Option<Arn> = match after.map(str::parse) {
        None => None,
        Some(Ok(arn)) => Some(arn),
        Some(Err(_)) => {
            return refused("InvalidParameterValueException", "after", "not the `next` of a page before".to_owned());
        }
    };
    let plans = state.current_plans();
    let protected: BTreeSet<&Arn> = plans
        .iter()
        .flat_map(|plan| runs::selected(state, &settings.account, plan))
        .map(|(resource, _)| &resource.arn)
        .collect();
    let mut answer = CoverageAnswer::default();
    for resource in state.resources.values().filter(|resource| is_of(resource, settings, account)) {
        let newest = state.points.of(&resource.arn).next_back().map(|row| &row.point);
        let row = CoverageRow {
            resource: resource.arn.clone(),
            resource_type: resource.resource_type,
            protected: protected.contains(&resource.arn),
            newest_point_at: newest.map(|point| point.created_at),
            bytes: newest.map(|point| point.summary.size_bytes),
            proven_at: state.points.proven_at(&resource.arn).filter(|at| *at >= since),
        };
        answer.resources += 1;
        answer.protected += u64::from(row.protected);
        answer.bytes += row.bytes.unwrap_or(0);
        if row.proven_at.is_some() {
            answer.proven += 1;
            answer.proven_bytes += row.bytes.unwrap_or(0);
        }
        if begin.as_ref().is_some_and(|begin| resource.arn <= *begin) {
            continue;
        }
        if answer.rows.len() < ROWS_MAX {
            answer.rows.push(row);
        } else if answer.next.is_none() {
            answer.next = answer.rows.last().map(|row| row.resource.to_string());
        }
    }
    Answer::Coverage(answer)
}
