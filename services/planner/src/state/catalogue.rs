//! The recovery points, the ones of each resource in the order of their making, and what is counted of them, kept in step:
//! what is asked for most is found without looking at the points of others.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use job_model::{Arn, RecoveryPointId, VerdictStatus};

use super::{PointRow, Shelf};

/// Where a point stands among those of its resource. The ARN is part of it, so that no two stand at one place.
type Place = (Timestamp, RecoveryPointId, Arn);

/// All recovery points by their ARNs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    rows: Shelf<Arn, PointRow>,
    of_resource: BTreeMap<Arn, BTreeSet<Place>>,
    /// How many points each vault holds that holds any.
    in_vault: BTreeMap<Arn, usize>,
    /// By resource: when its points were last proven restorable. Only points whose last restore test succeeded are here.
    proven: BTreeMap<Arn, BTreeSet<(Timestamp, Arn)>>,
}

fn place(row: &PointRow) -> Place {
    (row.point.created_at, row.point.id, row.point.arn.clone())
}

/// When a point was proven restorable.
fn proof(row: &PointRow) -> Option<(Timestamp, Arn)> {
    let verdict = row.point.last_verdict.as_ref()?;
    (verdict.status == VerdictStatus::Successful).then(|| (verdict.judged_at, row.point.arn.clone()))
}

/// Puts a value into a set of sets.
fn put_in<T: Ord>(sets: &mut BTreeMap<Arn, BTreeSet<T>>, key: &Arn, value: T) {
    match sets.get_mut(key) {
        Some(set) => {
            set.insert(value);
        }
        None => {
            sets.insert(key.clone(), BTreeSet::from([value]));
        }
    }
}

/// Takes a value out of a set of sets, which holds no empty ones.
fn take_out<T: Ord>(sets: &mut BTreeMap<Arn, BTreeSet<T>>, key: &Arn, value: &T) {
    let Some(set) = sets.get_mut(key) else { return };
    set.remove(value);
    if set.is_empty() {
        sets.remove(key);
    }
}

impl Catalogue {
    pub(crate) fn get(&self, arn: &Arn) -> Option<&PointRow> {
        self.rows.get(arn)
    }

    pub(crate) fn contains(&self, arn: &Arn) -> bool {
        self.rows.contains(arn)
    }

    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &PointRow> {
        self.rows.values()
    }

    /// The points after this one, or all, in the order of their ARNs.
    pub(crate) fn after(&self, arn: Option<Arn>) -> impl Iterator<Item = (&Arn, &PointRow)> {
        self.rows.after(arn)
    }

    pub(crate) fn put(&mut self, arn: Arn, row: PointRow) {
        self.forget(&arn);
        self.note(&row);
        self.rows.put(arn, row);
    }

    pub(crate) fn remove(&mut self, arn: &Arn) -> Option<PointRow> {
        self.forget(arn);
        self.rows.remove(arn)
    }

    /// Puts a point that came from the store: not a change.
    pub(crate) fn load(&mut self, arn: Arn, row: PointRow) {
        self.forget(&arn);
        self.note(&row);
        self.rows.load(arn, row);
    }

    /// What changed since the changes were last taken: row before, row now.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&Arn, Option<&PointRow>, Option<&PointRow>)> {
        self.rows.changes()
    }

    /// The points that changed since the last call, `None` for removed ones.
    pub(crate) fn take_changes(&mut self) -> Vec<(Arn, Option<PointRow>)> {
        self.rows.take_changes()
    }

    /// Resources that have points.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &Arn> {
        self.of_resource.keys()
    }

    /// The points of a resource, newest last.
    pub(crate) fn of(&self, resource: &Arn) -> impl DoubleEndedIterator<Item = &PointRow> {
        let places = self.of_resource.get(resource).into_iter().flatten();
        places.filter_map(|(_, _, arn)| self.rows.get(arn))
    }

    /// How many points a vault holds.
    pub(crate) fn count_in(&self, vault: &Arn) -> usize {
        self.in_vault.get(vault).copied().unwrap_or(0)
    }

    /// When a point of the resource was last proven restorable, as far as such points are still there.
    pub(crate) fn proven_at(&self, resource: &Arn) -> Option<Timestamp> {
        self.proven.get(resource)?.last().map(|(judged_at, _)| *judged_at)
    }

    fn note(&mut self, row: &PointRow) {
        put_in(&mut self.of_resource, &row.point.resource, place(row));
        *self.in_vault.entry(row.point.vault.clone()).or_default() += 1;
        if let Some(proof) = proof(row) {
            put_in(&mut self.proven, &row.point.resource, proof);
        }
    }

    fn forget(&mut self, arn: &Arn) {
        let Some(row) = self.rows.get(arn) else { return };
        take_out(&mut self.of_resource, &row.point.resource, &place(row));
        if let Some(count) = self.in_vault.get_mut(&row.point.vault) {
            *count -= 1;
            if *count == 0 {
                self.in_vault.remove(&row.point.vault);
            }
        }
        if let Some(proof) = proof(row) {
            take_out(&mut self.proven, &row.point.resource, &proof);
        }
    }
}

#[cfg(test)]
mod tests;
