//! Timers: windows, stops that nobody confirmed, retention, and rows that have had their time.

use jiff::{SignedDuration, Timestamp};
use job_model::{JobEvent, JobId, JobState, LegalHoldId, MessageCategory};

use crate::decide::runs::after;
use crate::decide::{
    Settings, Step, cold, continuous, ends, explain, issue, keeping, pruning, reports, retire, runs, scrubbing,
};
use crate::state::{JobRow, State, StopReason};
use crate::windows;

/// How often retention and housekeeping run when nothing changed; lifecycles count in days.
const RETENTION_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Does everything whose time has come, except schedules, which run one firing at a time.
pub(crate) fn tick(step: &mut Step<'_>) {
    pass_windows(step);
    end_unconfirmed_stops(step);
    reports::tick(step);
    let last = step.state.meta().retained_at;
    if last.is_none_or(|at| after(at, RETENTION_EVERY) <= step.now) {
        continuous::refresh(step);
        retire::retire(step);
        keeping::tend(step);
        cold::tend(step);
        scrubbing::tend(step);
        pruning::prune_where_needed(step);
        tidy(step);
        let mut meta = step.state.meta();
        meta.retained_at = Some(step.now);
        step.state.meta.put((), meta);
    }
    issue(step);
}

/// Whether a tick would do anything now: a planner with nothing to do writes nothing.
pub(crate) fn is_due(state: &State, settings: &Settings, now: Timestamp) -> bool {
    next_wake(state, settings).is_some_and(|at| at <= now)
}

/// The next instant at which a tick or a schedule has something to do.
pub(crate) fn next_wake(state: &State, settings: &Settings) -> Option<Timestamp> {
    let retention = after(state.meta().retained_at.unwrap_or(Timestamp::MIN), RETENTION_EVERY);
    let jobs = state.open_jobs().into_iter().flat_map(|row| {
        let grace = (row.job.state == JobState::Aborting).then(|| grace_ends(row, settings)).flatten();
        let turn = row.job.not_before.filter(|_| row.job.state == JobState::Created);
        [windows::next_deadline(&row.job), grace, turn]
    });
    jobs.flatten().chain([retention]).chain(runs::next_instant(state)).chain(reports::next_wake(state)).min()
}

fn pass_windows(step: &mut Step<'_>) {
    let open: Vec<JobRow> = step.state.open_jobs().into_iter().cloned().collect();
    for mut row in open {
        let Some(event) = windows::passed(&row.job, step.now) else { continue };
        let before = row.job.state;
        let waited_for = row.job.status_message.clone();
        if !step.advance(&mut row, event) {
            continue;
        }
        if row.job.state == JobState::Aborting {
            row.stopping = Some((StopReason::CompletionWindow, step.now));
        }
        let text = match (event, before) {
            (_, JobState::Aborting) => "stopped on request before a worker took it".to_owned(),
            (JobEvent::StartWindowPassed, JobState::Pending) => {
                "not started within its start window: no worker took the order; see that a worker of its region runs"
                    .to_owned()
            }
            (JobEvent::StartWindowPassed, _) => {
                let why = waited_for.unwrap_or_else(|| "the resource was busy with another job".to_owned());
                format!("not started within its start window: {why}")
            }
            _ => "not ended within its completion window; widen the window, or make the job faster".to_owned(),
        };
        explain(&mut row.job, MessageCategory::Failure, text);
        ends::keep_ended(step, row);
    }
}

/// A worker that was told to stop and says nothing more is gone; the job must not stay ABORTING for ever.
fn end_unconfirmed_stops(step: &mut Step<'_>) {
    let open: Vec<JobRow> = step.state.open_jobs().into_iter().cloned().collect();
    for mut row in open {
        let Some((reason, _)) = row.stopping.filter(|_| row.job.state == JobState::Aborting) else { continue };
        if grace_ends(&row, step.settings).is_none_or(|end| end > step.now) {
            continue;
        }
        if step.advance(&mut row, JobEvent::Stopped { cause: reason.into() }) {
            row.withdraw = true;
            let told = row.job.status_message.take().unwrap_or_else(|| "stopped".to_owned());
            explain(&mut row.job, MessageCategory::Failure, format!("{told}; its worker did not confirm the stop"));
            ends::keep_ended(step, row);
        }
    }
}

fn grace_ends(row: &JobRow, settings: &Settings) -> Option<Timestamp> {
    let (_, since) = row.stopping?;
    Some(after(row.heard_at.map_or(since, |heard| heard.max(since)), settings.stop_grace))
}

/// Removes what has had its time: ended jobs, answers to requests.
fn tidy(step: &mut Step<'_>) {
    let jobs_before = step.now.checked_sub(step.settings.keep_jobs).unwrap_or(Timestamp::MIN);
    let old: Vec<JobId> = step
        .state
        .jobs()
        .filter(|row| {
            row.job.state.is_terminal() && !row.withdraw && row.job.ended_at.is_some_and(|at| at < jobs_before)
        })
        .map(|row| row.job.id)
        .collect();
    for id in old {
        step.state.remove_job(id);
    }
    let answers_before = step.now.checked_sub(step.settings.keep_answers).unwrap_or(Timestamp::MIN);
    let old: Vec<String> =
        step.state.answers.values().filter(|row| row.at < answers_before).map(|row| row.key.clone()).collect();
    for key in old {
        step.state.answers.remove(&key);
    }
    let over: Vec<LegalHoldId> = step
        .state
        .holds
        .values()
        .filter(|hold| hold.retain_record_until.is_some_and(|until| until <= step.now))
        .map(|hold| hold.id)
        .collect();
    for id in over {
        step.state.holds.remove(&id);
    }
}
