//! Locks and legal holds are written into the vaults themselves, where they bind whoever orders a deletion: an order that was
//! forged, or a planner that was rolled back. What stands in a vault is compared with what should, and another order follows
//! until a worker confirmed it.
//!
//! Taking back needs a memory: only what this planner knows to have written, and knows to be lifted, is taken back. One that
//! has forgotten a lock or a hold leaves it.

use std::collections::BTreeSet;

use job_events::{HoldTerms, LockTerms, OrderBody, OrderHeader, ProtectVault, VaultProtected};
use job_model::{
    Arn, JobDetail, JobEvent, JobId, JobKind, LegalHold, LegalHoldStatus, MessageCategory, StorageClass, Vault,
    VaultAccess, VaultState,
};
use uuid::Uuid;

use crate::decide::orders::task;
use crate::decide::runs::{after, new_job};
use crate::decide::{Step, ends};
use crate::state::{JobRow, KeepRow, State};

/// Recovery points that one hold names in an order at most; beyond that it holds all of the vault, which is never less.
const POINTS_MAX: usize = 5_000;

/// What should stand in a repository.
#[derive(Clone, Debug, PartialEq)]
struct Terms {
    lock: Option<LockTerms>,
    unlock: bool,
    holds: Vec<HoldTerms>,
    released: BTreeSet<job_model::LegalHoldId>,
}

impl Terms {
    /// Whether all of it stands there already.
    fn is_confirmed(&self, row: Option<&KeepRow>) -> bool {
        if self.unlock || !self.released.is_empty() {
            return false;
        }
        match row.and_then(|row| row.confirmed.as_ref()) {
            Some(confirmed) => *confirmed == self.digest(),
            None => self.lock.is_none() && self.holds.is_empty(),
        }
    }

    /// A name for exactly what is to stand there.
    fn digest(&self) -> String {
        let text = format!("{:?} {:?}", self.lock, self.holds);
        Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).simple().to_string()
    }
}

fn terms(state: &State, vault: &Vault, class: StorageClass) -> Terms {
    let row = state.keeps.get(&(vault.access.arn.clone(), class));
    // What moves to cold storage takes the rest of the lock's time with it; it does not begin anew there.
    let lock = (vault.is_locked() && class == StorageClass::Warm).then(|| LockTerms {
        min_retention_days: vault.min_retention_days,
        max_retention_days: vault.max_retention_days,
        fixed_from: vault.lock.and_then(|lock| lock.lock_date),
    });
    let holds: Vec<HoldTerms> = state
        .holds
        .values()
        .filter(|hold| hold.status == LegalHoldStatus::Active && is_about(hold, vault))
        .filter_map(|hold| held(state, hold, vault, class))
        .collect();
    let standing =
        |id: &job_model::LegalHoldId| state.holds.get(id).is_some_and(|hold| hold.status == LegalHoldStatus::Active);
    let written = row.map(|row| &row.holds);
    let released = written.into_iter().flatten().filter(|id| !standing(id)).copied().collect();
    Terms { unlock: lock.is_none() && row.is_some_and(|row| row.locked), lock, holds, released }
}

/// Whether a hold can be about recovery points of this vault.
fn is_about(hold: &LegalHold, vault: &Vault) -> bool {
    let names = &hold.selection.vault_names;
    hold.region == vault.region
        && hold.account.as_str() == vault.access.arn.account()
        && (names.is_empty() || names.contains(&vault.name))
}

/// What a hold holds in a repository: all there is and will be, or the recovery points that it selects; none where it
/// selects none yet.
fn held(state: &State, hold: &LegalHold, vault: &Vault, class: StorageClass) -> Option<HoldTerms> {
    let selection = &hold.selection;
    let all = selection.resources.is_empty() && selection.from.is_none() && selection.until.is_none();
    if all {
        return Some(HoldTerms { hold: hold.id, recovery_points: BTreeSet::new() });
    }
    let points: BTreeSet<_> = state
        .points
        .values()
        .filter(|row| row.point.vault == vault.access.arn && hold.selects(&row.point))
        .filter(|row| row.point.storage_class == class || (class == StorageClass::Warm && row.warm_snapshot.is_some()))
        .map(|row| row.point.id)
        .collect();
    match points.len() {
        0 => None,
        1..=POINTS_MAX => Some(HoldTerms { hold: hold.id, recovery_points: points }),
        _ => Some(HoldTerms { hold: hold.id, recovery_points: BTreeSet::new() }),
    }
}

/// Orders what is not confirmed yet, for each repository of each vault.
pub(crate) fn tend(step: &mut Step<'_>) {
    let mut due = Vec::new();
    for vault in step.state.vaults.values().filter(|vault| vault.state == VaultState::Available) {
        for class in [StorageClass::Warm, StorageClass::Cold] {
            let row = step.state.keeps.get(&(vault.access.arn.clone(), class));
            let wanted = terms(step.state, vault, class);
            let is_done = wanted.is_confirmed(row);
            let rests = row.and_then(|row| row.not_before).is_some_and(|at| at > step.now);
            if vault.repository(class).is_some() && !is_done && !rests && !is_under_way(step.state, vault, class) {
                due.push((vault.access.arn.clone(), vault.region.clone(), class));
            }
        }
    }
    for (arn, region, class) in due {
        let task = task_of(class);
        let detail = JobDetail::Maintenance {
            vault: Some(arn.clone()),
            task: task.to_owned(),
            recovery_point: None,
            restore_job_id: None,
        };
        let id = JobId::new(JobId::new(step.draw).derive(&format!("{task}-{arn}")));
        let job = new_job(step, id, JobKind::Maintenance, arn, region, detail);
        step.create(JobRow::new(job));
    }
}

fn is_under_way(state: &State, vault: &Vault, class: StorageClass) -> bool {
    state.open_jobs().into_iter().any(|row| {
        matches!(&row.job.detail, JobDetail::Maintenance { vault: Some(of), task, .. }
            if *of == vault.access.arn && task == task_of(class))
    })
}

const fn task_of(class: StorageClass) -> &'static str {
    match class {
        StorageClass::Warm => task::PROTECT_VAULT,
        StorageClass::Cold => task::PROTECT_COLD_TIER,
    }
}

/// Whether such a job is one that writes what protects recovery points.
pub(crate) fn is_task(task: &str) -> bool {
    task == task::PROTECT_VAULT || task == task::PROTECT_COLD_TIER
}

/// Which of a vault's repositories such a job is about.
fn class_of(task: &str) -> StorageClass {
    if task == task::PROTECT_COLD_TIER { StorageClass::Cold } else { StorageClass::Warm }
}

/// The order, with what should stand there now.
pub(crate) fn order(step: &Step<'_>, order: OrderHeader, vault: &Vault, access: VaultAccess, task: &str) -> OrderBody {
    let terms = terms(step.state, vault, class_of(task));
    let digest = terms.digest();
    let Terms { lock, unlock, holds, released } = terms;
    ProtectVault { order, vault: access, digest, lock, unlock, holds, released }.into()
}

/// A worker confirmed what stands in the vault.
pub(crate) fn confirmed(step: &mut Step<'_>, mut row: JobRow, vault: &Arn, task: &str, fact: &VaultProtected) {
    let key = (vault.clone(), class_of(task));
    if step.state.vaults.contains(vault) {
        let keep = KeepRow {
            vault: vault.clone(),
            class: key.1,
            confirmed: Some(fact.digest.clone()),
            locked: fact.locked,
            holds: fact.holds.clone(),
            not_before: None,
        };
        step.state.keeps.put(key, keep);
        // It may have changed meanwhile.
        step.state.retain_soon();
    }
    if step.advance(&mut row, JobEvent::Succeeded) {
        row.job.message_category = MessageCategory::Success;
        row.job.status_message = Some(format!("{} entries stand in the vault", fact.entries));
        ends::keep_ended(step, row);
    }
}

/// It could not be written: it is tried again later.
pub(crate) fn given_up(step: &mut Step<'_>, vault: &Arn, task: &str) {
    let key = (vault.clone(), class_of(task));
    let before = step.state.keeps.get(&key).cloned();
    let row = before.unwrap_or_else(|| KeepRow::new(vault.clone(), key.1));
    let not_before = Some(after(step.now, step.settings.delete_retry));
    step.state.keeps.put(key, KeepRow { not_before, ..row });
}
