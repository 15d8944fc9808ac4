//! The read projection: what lists are made of. Fed by facts, rebuilt from the services when it cannot be trusted, and
//! never the truth: whatever is decided is decided elsewhere.
//!
//! Things of which there are few are kept whole in memory. Of recovery points memory holds all that lists show, packed (about
//! 200 bytes each, see [`points`]), so that a page reads nothing from the disk; of jobs one short entry each, by which any
//! filter finds the rows of a page in the store.

mod change;
mod dictionary;
mod feed;
pub(crate) mod index;
mod jobs;
mod listed;
mod object;
mod pages;
mod points;
mod rows;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use job_model::{AccountId, Region};
use parking_lot::{Mutex, RwLock};
use state_store::{StateStore, StoreError, TransactError};
use uuid::Uuid;

pub(crate) use change::Change;
pub(crate) use feed::follow;
pub(crate) use listed::ListedPoint;
pub(crate) use object::{Object, key};
pub(crate) use pages::{JobFilter, Page, PointFilter, category};
pub(crate) use rows::place_of_job;

use index::Place;
use jobs::Jobs;
use points::Points;
use rows::{FEED, FeedRow, JOBS, OBJECTS, POINTS, StoredJob, StoredObject};

/// Rows that are read from the store in one step.
const STEP: usize = 1_000;
/// How long it is remembered that a thing was asked for after a change; facts are never that late.
const FLOOR_KEPT: SignedDuration = SignedDuration::from_mins(10);
/// Jobs are listed this long, as with AWS.
const JOBS_LISTED: SignedDuration = SignedDuration::from_hours(30 * 24);

#[derive(Debug, Default)]
struct Memory {
    objects: BTreeMap<String, Arc<Object>>,
    points: Points,
    jobs: Jobs,
}

impl Memory {
    fn take_over(&mut self, change: &Change, own: &AccountId, home: &Region) {
        match change {
            Change::Put(object) => {
                self.objects.insert(object.key(own, home), Arc::new(object.as_ref().clone()));
            }
            Change::Remove(key) => {
                self.objects.remove(key);
            }
            Change::PutJob(job) => self.jobs.put(job),
            Change::PutPoint(point) => self.points.put(point),
            Change::RemovePoint { id, vault } => self.points.remove(*id, vault),
        }
    }
}

/// Changes that were given to the store and are not in memory yet, in the store's order. Memory takes them over in that order,
/// whoever is told first that they are durable: otherwise an older state of a thing could stay in memory beside a newer one
/// on disk.
#[derive(Debug, Default)]
struct Underway {
    next: u64,
    changes: VecDeque<(u64, Arc<Vec<Change>>)>,
}

impl Underway {
    /// Where a recovery point will stand that comes with these changes.
    fn place_of(&self, id: Uuid) -> Option<Place> {
        self.changes.iter().rev().find_map(|(_, changes)| place_among(changes, id))
    }
}

/// Where a recovery point stands by the changes that put it in.
fn place_among(changes: &[Change], id: Uuid) -> Option<Place> {
    changes.iter().find_map(|change| match change {
        Change::PutPoint(point) if point.id.as_uuid() == id => Some(rows::place_of_point(point)),
        _ => None,
    })
}

/// The projection. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    store: StateStore,
    memory: Arc<RwLock<Memory>>,
    underway: Arc<Mutex<Underway>>,
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
            rows.iter().for_each(|(_, point)| memory.points.put(point));
        }
        let mut after = vec![0];
        loop {
            let from = after;
            let rows = store.read(move |tx| tx.scan_range(&JOBS, from..vec![0xff; 40], STEP)).await?;
            let Some((last, _)) = rows.last() else { break };
            after = [last.as_slice(), &[0]].concat();
            rows.iter().for_each(|(_, StoredJob(job))| memory.jobs.put(job));
        }
        Ok(Self {
            store,
            memory: Arc::new(RwLock::new(memory)),
            underway: Arc::default(),
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
        let changes = Arc::new(changes);
        let (own, home, memory, underway) =
            (self.own.clone(), self.home.clone(), self.memory.clone(), self.underway.clone());
        let ticket = self
            .store
            .transact(move |tx| {
                for change in changes.iter() {
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
                            tx.put(&POINTS, &rows::place_of_point(point).to_bytes(), point.as_ref())?;
                        }
                        Change::RemovePoint { id, .. } => {
                            // What is not under way any more is in memory: it goes over under memory's lock.
                            let place = place_among(&changes, *id).or_else(|| underway.lock().place_of(*id));
                            if let Some(place) = place.or_else(|| memory.read().points.place_of(*id)) {
                                tx.delete(&POINTS, &place.to_bytes())?;
                            }
                        }
                    }
                }
                if let Some((region, row)) = &position {
                    tx.put(&FEED, region.as_str().as_bytes(), row)?;
                }
                let mut underway = underway.lock();
                underway.next += 1;
                let ticket = underway.next;
                underway.changes.push_back((ticket, changes));
                Ok::<_, StoreError>(ticket)
            })
            .await?;
        // What the store took before is durable too.
        let mut memory = self.memory.write();
        let mut underway = self.underway.lock();
        while underway.changes.front().is_some_and(|(earlier, _)| *earlier <= ticket)
            && let Some((_, changes)) = underway.changes.pop_front()
        {
            changes.iter().for_each(|change| memory.take_over(change, &self.own, &self.home));
        }
        Ok(())
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

#[cfg(test)]
mod pace;
#[cfg(test)]
mod tests;
