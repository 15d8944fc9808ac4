//! When a vault is pruned: once a day at most, and only where there is something to free.

use jiff::{SignedDuration, Timestamp};
use job_model::{Arn, JobDetail, JobId, JobKind, JobState, StorageClass, Vault, VaultState};

use crate::decide::Step;
use crate::decide::orders::task;
use crate::decide::runs::{after, new_job};
use crate::state::{JobRow, State};

/// How long after a prune the next one comes: the grace period is over then.
const EVERY: SignedDuration = SignedDuration::from_hours(25);

/// Makes a job for each vault that needs one.
pub(crate) fn prune_where_needed(step: &mut Step<'_>) {
    if !step.settings.prune_vaults {
        return;
    }
    for class in [StorageClass::Warm, StorageClass::Cold] {
        let due: Vec<Vault> =
            step.state.vaults.values().filter(|vault| is_due(step.state, vault, class, step.now)).cloned().collect();
        for vault in due {
            start(step, &vault, class, false);
        }
    }
}

/// Makes a job that prunes a repository of a vault, or says what that would do.
pub(crate) fn start(step: &mut Step<'_>, vault: &Vault, class: StorageClass, plan_only: bool) -> JobId {
    let task = match (class, plan_only) {
        (StorageClass::Warm, true) => task::PLAN_PRUNE,
        (StorageClass::Cold, true) => task::PLAN_COLD_PRUNE,
        (class, false) => prune_of(class),
    };
    let detail = JobDetail::Maintenance {
        vault: Some(vault.access.arn.clone()),
        task: task.to_owned(),
        recovery_point: None,
        restore_job_id: None,
    };
    // Several may be due in one step, which draws one id.
    let id = JobId::new(JobId::new(step.draw).derive(&format!("{task}-{}", vault.access.arn)));
    let job = new_job(step, id, JobKind::Maintenance, vault.access.arn.clone(), vault.region.clone(), detail);
    step.create(JobRow::new(job))
}

/// Whether something was deleted since the last prune, or the last one left something for the next.
fn is_due(state: &State, vault: &Vault, class: StorageClass, now: Timestamp) -> bool {
    let arn = &vault.access.arn;
    if vault.repository(class).is_none() {
        return false;
    }
    let last = state.jobs().filter(|row| is_task(row, arn, prune_of(class))).max_by_key(|row| row.job.created_at);
    if vault.state != VaultState::Available || last.is_some_and(|row| !row.job.state.is_terminal()) {
        return false;
    }
    if last.is_some_and(|row| after(row.job.created_at, EVERY) > now) {
        return false;
    }
    let left = last.is_some_and(|row| {
        let progress = &row.job.progress;
        row.job.state != JobState::Completed || progress.items_total.is_some_and(|total| total > progress.items_done)
    });
    let since = last.map_or(Timestamp::MIN, |row| row.job.created_at);
    let deleted = |row: &JobRow| {
        let of_class = match class {
            StorageClass::Warm => task::FORGET_WARM,
            StorageClass::Cold => task::FORGET_LATE_COPY,
        };
        let frees = is_task(row, arn, task::DELETE_RECOVERY_POINT) || is_task(row, arn, of_class);
        frees && row.job.state == JobState::Completed && row.job.ended_at.is_some_and(|at| at >= since)
    };
    left || state.jobs().any(deleted)
}

const fn prune_of(class: StorageClass) -> &'static str {
    match class {
        StorageClass::Warm => task::PRUNE_VAULT,
        StorageClass::Cold => task::PRUNE_COLD_TIER,
    }
}

fn is_task(row: &JobRow, vault: &Arn, name: &str) -> bool {
    matches!(&row.job.detail, JobDetail::Maintenance { vault: Some(of), task, .. } if of == vault && task == name)
}
