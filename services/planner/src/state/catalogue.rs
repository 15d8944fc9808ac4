//! The recovery points, and the ones of each resource in the order of their making: what is asked for most is found
//! without looking at the points of others.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use job_model::{Arn, RecoveryPointId};

use super::{PointRow, Shelf};

/// Where a point stands among those of its resource. The ARN is part of it, so that no two stand at one place.
type Place = (Timestamp, RecoveryPointId, Arn);

/// All recovery points by their ARNs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    rows: Shelf<Arn, PointRow>,
    of_resource: BTreeMap<Arn, BTreeSet<Place>>,
}

fn place(row: &PointRow) -> Place {
    (row.point.created_at, row.point.id, row.point.arn.clone())
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
        self.forget_place(&arn);
        self.note_place(&row);
        self.rows.put(arn, row);
    }

    pub(crate) fn remove(&mut self, arn: &Arn) -> Option<PointRow> {
        self.forget_place(arn);
        self.rows.remove(arn)
    }

    /// Puts a point that came from the store: not a change.
    pub(crate) fn load(&mut self, arn: Arn, row: PointRow) {
        self.note_place(&row);
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

    fn note_place(&mut self, row: &PointRow) {
        match self.of_resource.get_mut(&row.point.resource) {
            Some(places) => {
                places.insert(place(row));
            }
            None => {
                self.of_resource.insert(row.point.resource.clone(), BTreeSet::from([place(row)]));
            }
        }
    }

    fn forget_place(&mut self, arn: &Arn) {
        let Some(row) = self.rows.get(arn) else { return };
        let Some(places) = self.of_resource.get_mut(&row.point.resource) else { return };
        places.remove(&place(row));
        if places.is_empty() {
            self.of_resource.remove(&row.point.resource);
        }
    }
}
