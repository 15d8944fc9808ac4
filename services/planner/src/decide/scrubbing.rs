//! When a part of a vault is read to see that it is sound: every so often, another part each time, so that all of it has been
//! read after a while. What was read when stands in the vault; what it found stands in the catalogue.

use jiff::Timestamp;
use job_events::VaultChecked;
use job_model::{Arn, JobDetail, JobId, JobKind, RepositoryHealth, Severity, StorageClass, Vault, VaultState};

use crate::decide::orders::task;
use crate::decide::runs::{after, new_job};
use crate::decide::{Settings, Step};
use crate::state::{JobRow, State};

/// Damaged recovery points that the catalogue names for a repository.
const NAMED_MAX: usize = 5;

/// Makes a job for each repository whose turn it is.
pub(crate) fn tend(step: &mut Step<'_>) {
    for class in [StorageClass::Warm, StorageClass::Cold] {
        let due: Vec<Vault> = step
            .state
            .vaults
            .values()
            .filter(|vault| is_due(step.state, step.settings, vault, class, step.now))
            .cloned()
            .collect();
        for vault in due {
            let (arn, task) = (vault.access.arn, task_of(class));
            let detail = JobDetail::Maintenance {
                vault: Some(arn.clone()),
                task: task.to_owned(),
                recovery_point: None,
                restore_job_id: None,
            };
            let id = JobId::new(JobId::new(step.draw).derive(&format!("{task}-{arn}")));
            let job = new_job(step, id, JobKind::Maintenance, arn, vault.region, detail);
            step.create(JobRow::new(job));
        }
    }
}

fn is_due(state: &State, settings: &Settings, vault: &Vault, class: StorageClass, now: Timestamp) -> bool {
    if settings.scrub_every.is_zero() || vault.state != VaultState::Available || vault.repository(class).is_none() {
        return false;
    }
    let is_one = |row: &&JobRow| {
        matches!(&row.job.detail, JobDetail::Maintenance { vault: Some(of), task, .. }
            if *of == vault.access.arn && task == task_of(class))
    };
    let last = state.jobs().filter(is_one).max_by_key(|row| row.job.created_at);
    let since = last.map_or(vault.created_at, |row| row.job.created_at);
    last.is_none_or(|row| row.job.state.is_terminal()) && after(since, settings.scrub_every) <= now
}

const fn task_of(class: StorageClass) -> &'static str {
    match class {
        StorageClass::Warm => task::SCRUB_VAULT,
        StorageClass::Cold => task::SCRUB_COLD_TIER,
    }
}

/// Which repository a job looks at; none for a job that looks at none.
fn class_of(task: &str) -> Option<StorageClass> {
    match task {
        task::CHECK_VAULT | task::SCRUB_VAULT => Some(StorageClass::Warm),
        task::CHECK_COLD_TIER | task::SCRUB_COLD_TIER => Some(StorageClass::Cold),
        _ => None,
    }
}

/// Puts what a check saw to its vault. Returns the recovery points that it found damaged, as far as they are in the
/// catalogue.
pub(crate) fn note(step: &mut Step<'_>, arn: &Arn, task: &str, fact: &VaultChecked) -> Vec<Arn> {
    let damaged: Vec<Arn> = step
        .state
        .points
        .values()
        .filter(|row| row.point.vault == *arn && fact.recovery_points.contains(&row.point.id))
        .map(|row| row.point.arn.clone())
        .collect();
    let (Some(class), Some(mut vault)) = (class_of(task), step.state.vaults.get(arn).cloned()) else { return damaged };
    let failures = fact.findings.iter().filter(|finding| finding.severity == Severity::Failure);
    let before = vault.health.iter().position(|health| health.storage_class == class).map(|at| vault.health.remove(at));
    vault.health.push(RepositoryHealth {
        storage_class: class,
        checked_at: fact.attempt.at,
        damage: failures.clone().count() as u64,
        first_damage: failures.clone().next().map(|finding| format!("{}: {}", finding.subject, finding.message)),
        recovery_points_damaged: fact.recovery_points_damaged,
        recovery_points: damaged.iter().take(NAMED_MAX).cloned().collect(),
        coverage: fact.coverage.or_else(|| before.and_then(|health| health.coverage)),
    });
    vault.health.sort_by_key(|health| health.storage_class);
    step.state.vaults.put(arn.clone(), vault);
    damaged
}
