//! The jobs of all accounts, in memory: by which of them are in a page. The jobs themselves lie in the store.
//!
//! Values are compared by their 64-bit digests; the rows are held against the filter again when they were read, so that two
//! values with one digest can make a page shorter, never wrong.

use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;
use job_model::{Job, JobDetail};

use super::index::{Index, Place, Wanted, between};
use super::pages::{JobFilter, category};
use super::rows::{list_of_job, place_of_job};

/// Values that jobs can be filtered by, in the order of their marks.
mod mark {
    pub(super) const STATE: usize = 0;
    pub(super) const RESOURCE: usize = 1;
    pub(super) const TYPE: usize = 2;
    /// Where a backup or copy goes to, where a restore comes from.
    pub(super) const VAULT: usize = 3;
    pub(super) const CATEGORY: usize = 4;
    /// The recovery point that is copied or restored.
    pub(super) const SOURCE: usize = 5;
    /// The plan of the restore test.
    pub(super) const TESTING_PLAN: usize = 6;
    /// The job it follows from.
    pub(super) const PARENT: usize = 7;
    pub(super) const COUNT: usize = 8;
}

/// When a job ended, in milliseconds; none for what has not.
type Ended = Option<i64>;

/// All jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    index: Index<u64, { mark::COUNT }, Ended>,
    /// Its keys are drawn at the start, so that nobody can choose values that collide.
    hasher: RandomState,
}

fn ms(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_millisecond)
}

impl Jobs {
    fn digest(&self, value: &str) -> u64 {
        self.hasher.hash_one(value)
    }

    /// Puts a job in as it is now.
    pub(super) fn put(&mut self, job: &Job) {
        let (vault, source, testing) = match &job.detail {
            JobDetail::Backup { vault, .. } => (Some(vault), None, None),
            JobDetail::Copy { destination_vault, source_recovery_point, .. } => {
                (Some(destination_vault), Some(source_recovery_point), None)
            }
            JobDetail::Restore { vault, recovery_point, restore_testing_plan, .. } => {
                (Some(vault), Some(recovery_point), restore_testing_plan.as_deref())
            }
            _ => (None, None, None),
        };
        let mut marks = [0; mark::COUNT];
        marks[mark::STATE] = self.digest(job.state.as_str());
        marks[mark::RESOURCE] = self.digest(job.resource.as_str());
        marks[mark::TYPE] = job.resource_type.map_or(0, |kind| self.digest(kind.as_str()));
        marks[mark::CATEGORY] = self.digest(category(job));
        marks[mark::VAULT] = vault.map_or(0, |arn| self.digest(arn.as_str()));
        marks[mark::SOURCE] = source.map_or(0, |arn| self.digest(arn.as_str()));
        marks[mark::TESTING_PLAN] = testing.map_or(0, |name| self.digest(name));
        marks[mark::PARENT] = job.parent.map_or(0, |id| self.digest(&id.to_string()));
        self.index.put(&list_of_job(job), place_of_job(job), marks, ms(job.ended_at));
    }

    /// Takes a job out of its list.
    pub(super) fn take(&mut self, list: &str, place: &Place) {
        self.index.take(list, place);
    }

    /// The places of a page, newest first.
    pub(super) fn page(&self, list: &str, filter: &JobFilter, after: Option<Place>, limit: usize) -> Vec<Place> {
        let created = (ms(filter.created_after), ms(filter.created_before));
        let ended = (ms(filter.ended_after), ms(filter.ended_before));
        let mut wanted = Wanted { created, ..Wanted::default() };
        let mut want = |mark: usize, value: &Option<String>| {
            wanted.marks[mark] = value.as_deref().map(|value| self.digest(value));
        };
        want(mark::STATE, &filter.state);
        want(mark::RESOURCE, &filter.resource);
        want(mark::TYPE, &filter.resource_type);
        want(mark::VAULT, &filter.vault);
        want(mark::CATEGORY, &filter.category);
        want(mark::SOURCE, &filter.source);
        want(mark::TESTING_PLAN, &filter.testing_plan);
        want(mark::PARENT, &filter.parent);
        let rows = self.index.newest_first(list, &wanted, after);
        let rows = rows.filter(|(.., at)| ended == (None, None) || at.is_some_and(|at| between(at, ended)));
        rows.map(|(place, ..)| place).take(limit).collect()
    }

    /// All places of all lists.
    pub(super) fn places(&self) -> impl Iterator<Item = (&str, Place)> {
        self.index.places()
    }
}
