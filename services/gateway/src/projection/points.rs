//! The recovery points of all accounts, in memory: their lists, and what is counted of them, kept in step.

mod packed;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use job_model::{Arn, ResourceType};
use uuid::Uuid;

use super::dictionary::Number;
use super::index::{Index, Place, Wanted};
use super::listed::ListedPoint;
use super::pages::{Page, PointFilter};
use super::rows::{place_of_point, points_list};
use packed::{Marks, Packed, Shared, mark, type_number};

/// All recovery points.
#[derive(Debug, Default)]
pub(super) struct Points {
    index: Index<Option<Number>, { mark::COUNT }, Packed>,
    shared: Shared,
    /// When each was made, in milliseconds: with its id, its place. Facts of deletions name the id only.
    made: HashMap<Uuid, i64>,
    of_lists: HashMap<String, Resources>,
    of_vaults: HashMap<Number, Resources>,
}

/// Resources that have recovery points in a list or a vault.
#[derive(Debug, Default)]
struct Resources {
    points: u64,
    by_arn: BTreeMap<Arc<Arn>, Latest>,
}

/// The recovery points of a resource in a list or a vault.
#[derive(Debug)]
struct Latest {
    points: u64,
    newest: Place,
}

impl Resources {
    fn enter(&mut self, resource: &Arc<Arn>, place: Place) {
        self.points += 1;
        let latest = self.by_arn.entry(resource.clone()).or_insert(Latest { points: 0, newest: place });
        latest.points += 1;
        latest.newest = latest.newest.max(place);
    }

    /// `before` finds the newest one that is left.
    fn leave(&mut self, resource: &Arc<Arn>, place: Place, before: impl FnOnce() -> Option<Place>) {
        self.points = self.points.saturating_sub(1);
        let Some(latest) = self.by_arn.get_mut(resource) else { return };
        latest.points = latest.points.saturating_sub(1);
        if latest.points == 0 {
            self.by_arn.remove(resource);
        } else if latest.newest == place
            && let Some(newest) = before()
        {
            latest.newest = newest;
        }
    }
}

fn ms(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_millisecond)
}

impl Points {
    /// Puts a recovery point in as it is now.
    pub(super) fn put(&mut self, point: &ListedPoint) {
        let (list, place) = (points_list(point.vault.account(), point.vault.region()), place_of_point(point));
        let (marks, packed) = self.shared.pack(point);
        let before = self.index.put(&list, place, marks, packed);
        if before.is_none() {
            self.made.insert(place.id, place.at_ms);
        }
        let stays = before.is_some_and(|(before, _)| before[..mark::TYPE] == marks[..mark::TYPE]);
        if !stays {
            if let Some((before, _)) = before {
                self.leave(&list, place, before);
            }
            self.enter(&list, place, marks);
        }
        if let Some((marks, packed)) = before {
            self.shared.release(marks, packed);
        }
    }

    /// Takes the one with this id out of the list of its vault.
    pub(super) fn remove(&mut self, id: Uuid, vault: &Arn) {
        let Some(place) = self.place_of(id) else { return };
        let list = points_list(vault.account(), vault.region());
        let Some((marks, packed)) = self.index.take(&list, &place) else { return };
        self.made.remove(&id);
        self.leave(&list, place, marks);
        self.shared.release(marks, packed);
    }

    fn enter(&mut self, list: &str, place: Place, marks: Marks) {
        let (Some(vault), Some(resource)) = (marks[mark::VAULT], marks[mark::RESOURCE]) else { return };
        let resource = self.shared.arn(resource);
        if !self.of_lists.contains_key(list) {
            self.of_lists.insert(list.to_owned(), Resources::default());
        }
        if let Some(resources) = self.of_lists.get_mut(list) {
            resources.enter(resource, place);
        }
        self.of_vaults.entry(vault).or_default().enter(resource, place);
    }

    fn leave(&mut self, list: &str, place: Place, marks: Marks) {
        let (Some(vault), Some(resource)) = (marks[mark::VAULT], marks[mark::RESOURCE]) else { return };
        let index = &self.index;
        let newest = |vault: Option<Number>| {
            let mut wanted = Wanted::default();
            wanted.marks[mark::VAULT] = vault.map(Some);
            wanted.marks[mark::RESOURCE] = Some(Some(resource));
            index.newest_first(list, &wanted, Some(place)).next().map(|(place, ..)| place)
        };
        let arn = self.shared.arn(resource);
        if let Some(resources) = self.of_lists.get_mut(list) {
            resources.leave(arn, place, || newest(None));
            if resources.points == 0 {
                self.of_lists.remove(list);
            }
        }
        if let Some(resources) = self.of_vaults.get_mut(&vault) {
            resources.leave(arn, place, || newest(Some(vault)));
            if resources.points == 0 {
                self.of_vaults.remove(&vault);
            }
        }
    }

    /// Where a recovery point stands in its list.
    pub(super) fn place_of(&self, id: Uuid) -> Option<Place> {
        self.made.get(&id).map(|at_ms| Place { at_ms: *at_ms, id })
    }

    /// Those of all accounts that are not among these: id and vault.
    pub(super) fn not_among(&self, seen: &std::collections::HashSet<Uuid>) -> Vec<(Uuid, Arn)> {
        let lists = self.of_lists.keys();
        let rows = lists.flat_map(|list| self.index.newest_first(list, &EVERY, None));
        let unseen = rows.filter(|(place, ..)| !seen.contains(&place.id));
        unseen
            .filter_map(|(place, marks, _)| Some((place.id, self.shared.arn(marks[mark::VAULT]?).as_ref().clone())))
            .collect()
    }

    /// What a filter asks for. None: no recovery point has such a value.
    fn wanted(&self, filter: &PointFilter) -> Option<Wanted<Option<Number>, { mark::COUNT }>> {
        let created = (ms(filter.created_after), ms(filter.created_before));
        let mut wanted = Wanted { created, ..Wanted::default() };
        let arn = |text: &String| self.shared.find_arn(&text.parse().ok()?);
        if let Some(vault) = &filter.vault {
            wanted.marks[mark::VAULT] = Some(Some(arn(vault)?));
        }
        if let Some(resource) = &filter.resource {
            wanted.marks[mark::RESOURCE] = Some(Some(arn(resource)?));
        }
        if let Some(name) = &filter.resource_type {
            let known = ResourceType::ALL.iter().find(|one| one.as_str() == name)?;
            wanted.marks[mark::TYPE] = Some(type_number(*known));
        }
        if let Some(plan) = &filter.plan {
            wanted.marks[mark::PLAN] = Some(Some(self.shared.find_plan(plan.parse().ok()?)?));
        }
        Some(wanted)
    }

    /// A page of a list, newest first.
    pub(super) fn page(
        &self,
        list: &str,
        filter: &PointFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Page<ListedPoint> {
        let Some(wanted) = self.wanted(filter) else { return Page { rows: Vec::new(), next: None } };
        let mut found = self.index.newest_first(list, &wanted, after);
        let (mut rows, mut last) = (Vec::new(), None);
        for (place, marks, packed) in found.by_ref().take(limit) {
            rows.extend(self.shared.unpack(place, marks, packed));
            last = Some(place);
        }
        let more = found.next().is_some();
        Page { rows, next: last.filter(|_| more) }
    }

    /// The newest recovery point of each resource of a list, or of a vault in it, by the resources' ARNs.
    pub(super) fn protected(
        &self,
        list: &str,
        vault: Option<&Arn>,
        after: Option<&Arn>,
        limit: usize,
    ) -> Vec<ListedPoint> {
        let resources = match vault {
            None => self.of_lists.get(list),
            Some(vault) => self.shared.find_arn(vault).and_then(|vault| self.of_vaults.get(&vault)),
        };
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range =
            resources.into_iter().flat_map(|resources| resources.by_arn.range::<Arn, _>((after, Bound::Unbounded)));
        let rows = range.take(limit).filter_map(|(_, latest)| {
            let (marks, packed) = self.index.get(list, &latest.newest)?;
            self.shared.unpack(latest.newest, marks, packed)
        });
        rows.collect()
    }

    /// How many recovery points a vault holds.
    pub(super) fn count_in(&self, vault: &Arn) -> u64 {
        let vault = self.shared.find_arn(vault).and_then(|vault| self.of_vaults.get(&vault));
        vault.map_or(0, |resources| resources.points)
    }
}

/// Asks for everything.
static EVERY: Wanted<Option<Number>, { mark::COUNT }> = Wanted { marks: [None; mark::COUNT], created: (None, None) };

#[cfg(test)]
mod tests;
