//! `log-followed` and `follow-ended`: how the worker that follows a resource fares.

use job_events::{FollowEnded, LogFollowed};
use job_model::{Continuous, FollowState};

use crate::decide::{Step, continuous};

pub(crate) fn handle(step: &mut Step<'_>, fact: &LogFollowed) {
    let arn = &fact.recovery_point;
    let Some(row) = step.state.continuous.get(arn).filter(|row| row.epoch <= fact.epoch) else { return };
    let keep_days = row.keep_days;
    if row.epoch != fact.epoch || !fact.bases_retired.is_empty() {
        let mut row = row.clone();
        row.epoch = fact.epoch;
        row.bases.retain(|base| !fact.bases_retired.contains(&base.snapshot_id));
        step.state.continuous.put(arn.clone(), row);
    }
    let Some(mut known) = step.state.points.get(arn).cloned() else {
        if let Some(mut row) = step.state.continuous.get(arn).cloned() {
            row.heard = Some(Continuous { reported_at: Some(fact.at), ..fact.continuous.clone() });
            step.state.continuous.put(arn.clone(), row);
        }
        return;
    };
    let before = known.point.continuous.take();
    // Told in order, and the end comes last.
    if before.as_ref().is_some_and(|before| before.stopped_at.is_some() || before.reported_at > Some(fact.at)) {
        return;
    }
    let mut now = Continuous { keep_days, reported_at: Some(fact.at), stopped_at: None, ..fact.continuous.clone() };
    if let (FollowState::Interrupted, Some(before)) = (now.state, before) {
        // Nothing came in since, and what is there may be out of reach for its worker.
        now = Continuous { state: now.state, message: now.message, reported_at: now.reported_at, ..before };
        now.keep_days = keep_days;
    }
    known.point.continuous = Some(now);
    step.state.points.put(arn.clone(), known);
}

pub(crate) fn handle_end(step: &mut Step<'_>, fact: &FollowEnded) {
    continuous::ended(step, &fact.recovery_point, fact.left_behind.as_ref());
}
