//! The read projection: what lists are made of. Fed by facts, rebuilt from the services when it cannot be trusted, and
//! never the truth: whatever is decided is decided elsewhere.
//!
//! Things of which there are few are kept whole in memory. Recovery points and jobs lie in the store; memory holds one
//! short entry for each (about 150 bytes), by which any filter finds the rows of a page.

mod change;
mod feed;
pub(crate) mod index;
mod object;
mod pages;
mod rows;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use job_model::{AccountId, Arn, Job, JobDetail, RecoveryPoint, Region};
use parking_lot::{Mutex, RwLock};
use state_store::{StateStore, StoreError, TransactError};
use uuid::Uuid;

pub(crate) use change::Change;
pub(crate) use feed::follow;
pub(crate) use object::{Object, key};
pub(crate) use pages::{JobFilter, Page, PointFilter, category};
pub(crate) use rows::place_of_job;

use index::{Entry, Index, Place};
use rows::{FEED, FeedRow, JOBS, OBJECTS, POINTS, StoredJob, StoredObject, StoredPoint};

/// Rows that are read from the store in one step.
const STEP: usize = 1_000;
/// How long it is remembered that a thing was asked for after a change; facts are never that late.
const FLOOR_KEPT: SignedDuration = SignedDuration::from_mins(10);
/// Jobs are listed this long, as with AWS.
const JOBS_LISTED: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Values of recovery points that can be filtered by.
pub(crate) mod point_value {
    pub(crate) const VAULT: usize = 0;
    pub(crate) const RESOURCE: usize = 1;
    pub(crate) const TYPE: usize = 2;
    pub(crate) const PLAN: usize = 3;
    pub(crate) const COUNT: usize = 4;
}

/// Values of jobs that can be filtered by.
pub(crate) mod job_value {
    pub(crate) const STATE: usize = 0;
    pub(crate) const RESOURCE: usize = 1;
    pub(crate) const TYPE: usize = 2;
    /// Where a backup or copy goes to, where a restore comes from.
    pub(crate) const VAULT: usize = 3;
    pub(crate) const CATEGORY: usize = 4;
    /// The recovery point that is copied or restored.
    pub(crate) const SOURCE: usize = 5;
    /// The plan of the restore test.
    pub(crate) const TESTING_PLAN: usize = 6;
    pub(crate) const COUNT: usize = 7;
}

#[derive(Debug, Default)]
struct Memory {
    objects: BTreeMap<String, Arc<Object>>,
    points: Index<{ point_value::COUNT }>,
    jobs: Index<{ job_value::COUNT }>,
    /// When each recovery point was made, in milliseconds: with its id, its place. Facts of deletions name the id only.
    made: HashMap<Uuid, i64>,
    /// Recovery points in a vault, by the vault's digest.
    counts: HashMap<u64, u64>,
}

/// The projection. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    store: StateStore,
    memory: Arc<RwLock<Memory>>,
    /// What was asked for after a change: older facts about it say nothing new.
    floors: Arc<Mutex<HashMap<String, Timestamp>>>,
    /// Since when planner and verifier have not been heard; none while they are.
    silent: Arc<RwLock<Silence>>,
    own: AccountId,
    home: Region,
}

/// Since when a service has not been heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Silence {
    pub(crate) planner: Option<Timestamp>,
    pub(crate) verifier: Option<Timestamp>,
}

impl Projection {
    /// Loads what is stored.
    pub(crate) async fn load(store: StateStore, own: AccountId, home: Region) -> Result<Self, StoreError> {
        let mut memory = Memory::default();
        let objects = store.read(|tx| tx.scan(&OBJECTS, b"")).await?;
        for (_, StoredObject(object)) in objects {
            memory.objects.insert(object.key(&own, &home), Arc::new(object));
        }
        let mut after = vec![0];
        loop {
            let from = after;
            let rows = store.read(move |tx| tx.scan_range(&POINTS, from..vec![0xff; 40], STEP)).await?;
            let Some((last, _)) = rows.last() else { break };
            after = [last.as_slice(), &[0]].concat();
            rows.iter().for_each(|(_, StoredPoint(point))| memory.put_point(point));
        }
        let mut after = vec![0];
        loop {
            let from = after;
            let rows = store.read(move |tx| tx.scan_range(&JOBS, from..vec![0xff; 40], STEP)).await?;
            let Some((last, _)) = rows.last() else { break };
            after = [last.as_slice(), &[0]].concat();
            rows.iter().for_each(|(_, StoredJob(job))| memory.put_job(job));
        }
        Ok(Self {
            store,
            memory: Arc::new(RwLock::new(memory)),
            floors: Arc::default(),
            silent: Arc::default(),
            own,
            home,
        })
    }

    /// The installation's own account.
    pub(crate) fn own(&self) -> &AccountId {
        &self.own
    }

    /// Since when the services have not been heard.
    pub(crate) fn silence(&self) -> Silence {
        *self.silent.read()
    }

    /// Notes whether a service was heard.
    pub(crate) fn note_silence(&self, change: impl FnOnce(&mut Silence)) {
        change(&mut self.silent.write());
    }

    /// Applies changes that were asked for after a request was answered at `at`: facts older than that say nothing new
    /// about these things.
    pub(crate) async fn refresh(&self, changes: Vec<Change>, at: Timestamp) {
        {
            let mut floors = self.floors.lock();
            if floors.len() > 10_000 {
                floors.retain(|_, floor| at.duration_since(*floor) < FLOOR_KEPT);
            }
            floors.extend(changes.iter().map(|change| (change.subject(&self.own, &self.home), at)));
        }
        if let Err(error) = self.apply(changes, None).await {
            // The facts bring the same a moment later.
            tracing::warn!(error = %service_host::error_chain(&error), "the projection was not refreshed");
        }
    }

    /// Whether a change of a fact of this instant is older than what is known.
    fn is_late(&self, change: &Change, told_at: Timestamp) -> bool {
        let floors = self.floors.lock();
        !floors.is_empty() && floors.get(&change.subject(&self.own, &self.home)).is_some_and(|floor| told_at < *floor)
    }

    /// Applies changes in their order: on disk first, then in memory.
    async fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<(Region, FeedRow)>,
    ) -> Result<(), TransactError<StoreError>> {
        let gone = self.places_of_removed(&changes);
        let changes = Arc::new(changes);
        let (rows, own, home) = (changes.clone(), self.own.clone(), self.home.clone());
        self.store
            .transact(move |tx| {
                for change in rows.iter() {
                    match change {
                        Change::Put(object) => {
                            let key = rows::object_key(&object.key(&own, &home));
                            tx.put(&OBJECTS, &key, &StoredObject(object.as_ref().clone()))?;
                        }
                        Change::Remove(key) => {
                            tx.delete(&OBJECTS, &rows::object_key(key))?;
                        }
                        Change::PutJob(job) => {
                            tx.put(&JOBS, &rows::place_of_job(job).to_bytes(), &StoredJob(job.as_ref().clone()))?;
                        }
                        Change::PutPoint(point) => {
                            let row = StoredPoint(slim(point));
                            tx.put(&POINTS, &rows::place_of_point(point).to_bytes(), &row)?;
                        }
                        Change::RemovePoint { id, .. } => {
                            if let Some(place) = gone.get(id) {
                                tx.delete(&POINTS, &place.to_bytes())?;
                            }
                            // It may have come and gone within these changes.
                            for other in rows.iter() {
                                if let Change::PutPoint(point) = other
                                    && point.id.as_uuid() == *id
                                {
                                    tx.delete(&POINTS, &rows::place_of_point(point).to_bytes())?;
                                }
                            }
                        }
                    }
                }
                if let Some((region, row)) = &position {
                    tx.put(&FEED, region.as_str().as_bytes(), row)?;
                }
                Ok::<_, StoreError>(())
            })
            .await?;
        let mut memory = self.memory.write();
        for change in changes.iter() {
            match change {
                Change::Put(object) => {
                    memory.objects.insert(object.key(&self.own, &self.home), Arc::new(object.as_ref().clone()));
                }
                Change::Remove(key) => {
                    memory.objects.remove(key);
                }
                Change::PutJob(job) => memory.put_job(job),
                Change::PutPoint(point) => memory.put_point(point),
                Change::RemovePoint { id, vault } => memory.remove_point(*id, vault),
            }
        }
        Ok(())
    }

    /// Where the recovery points lie that are removed.
    fn places_of_removed(&self, changes: &[Change]) -> HashMap<Uuid, Place> {
        let memory = self.memory.read();
        let removed = changes.iter().filter_map(|change| match change {
            Change::RemovePoint { id, .. } => Some((*id, memory.place_of(*id)?)),
            _ => None,
        });
        removed.collect()
    }

    /// Forgets jobs that are listed no more, and everything that the last rebuild did not find.
    pub(crate) async fn prune(&self, now: Timestamp) -> Result<(), TransactError<StoreError>> {
        let oldest = now.saturating_sub(JOBS_LISTED).unwrap_or(Timestamp::MIN).as_millisecond();
        let old: Vec<(String, Place)> = {
            let memory = self.memory.read();
            let old = memory.jobs.places().filter(|(_, place)| place.at_ms < oldest);
            old.map(|(list, place)| (list.to_owned(), place)).collect()
        };
        self.forget_jobs(old).await
    }

    async fn forget_jobs(&self, old: Vec<(String, Place)>) -> Result<(), TransactError<StoreError>> {
        for step in old.chunks(STEP) {
            let places: Vec<Place> = step.iter().map(|(_, place)| *place).collect();
            self.store
                .transact(move |tx| {
                    for place in &places {
                        tx.delete(&JOBS, &place.to_bytes())?;
                    }
                    Ok::<_, StoreError>(())
                })
                .await?;
            let mut memory = self.memory.write();
            for (list, place) in step {
                memory.jobs.take(list, place);
            }
        }
        Ok(())
    }
}

/// A recovery point without what lists do not show.
fn slim(point: &RecoveryPoint) -> RecoveryPoint {
    let mut point = point.clone();
    point.summary.exceptions.clear();
    point.traceparent = None;
    point
}

impl Memory {
    fn put_point(&mut self, point: &RecoveryPoint) {
        let digest = |text: &str| self.points.digest(text);
        let mut values = [0; point_value::COUNT];
        values[point_value::VAULT] = digest(point.vault.as_str());
        values[point_value::RESOURCE] = digest(point.resource.as_str());
        values[point_value::TYPE] = digest(point.resource_type.as_str());
        values[point_value::PLAN] = point.created_by.as_ref().map_or(0, |by| digest(&by.plan_id.to_string()));
        let list = rows::points_list(point.vault.account(), point.vault.region());
        let place = rows::place_of_point(point);
        self.made.insert(place.id, place.at_ms);
        if self.points.put(&list, place, Entry { values, ended_ms: None }) {
            *self.counts.entry(values[point_value::VAULT]).or_default() += 1;
        }
    }

    /// Where a recovery point stands in its list.
    fn place_of(&self, id: Uuid) -> Option<Place> {
        self.made.get(&id).map(|at_ms| Place { at_ms: *at_ms, id })
    }

    fn remove_point(&mut self, id: Uuid, vault: &Arn) {
        let Some(place) = self.place_of(id) else { return };
        let Some(entry) = self.points.take(&rows::points_list(vault.account(), vault.region()), &place) else { return };
        self.made.remove(&id);
        if let Some(count) = self.counts.get_mut(&entry.values[point_value::VAULT]) {
            *count = count.saturating_sub(1);
        }
    }

    fn put_job(&mut self, job: &Job) {
        let digest = |text: &str| self.jobs.digest(text);
        let mut values = [0; job_value::COUNT];
        values[job_value::STATE] = digest(job.state.as_str());
        values[job_value::RESOURCE] = digest(job.resource.as_str());
        values[job_value::TYPE] = job.resource_type.map_or(0, |kind| digest(kind.as_str()));
        values[job_value::CATEGORY] = digest(pages::category(job));
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
        values[job_value::VAULT] = vault.map_or(0, |arn| digest(arn.as_str()));
        values[job_value::SOURCE] = source.map_or(0, |arn| digest(arn.as_str()));
        values[job_value::TESTING_PLAN] = testing.map_or(0, digest);
        let entry = Entry { values, ended_ms: job.ended_at.map(Timestamp::as_millisecond) };
        self.jobs.put(&rows::list_of_job(job), rows::place_of_job(job), entry);
    }
}

#[cfg(test)]
mod pace;
#[cfg(test)]
mod tests;
