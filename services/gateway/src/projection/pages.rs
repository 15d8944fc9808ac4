//! Pages of lists: which rows, from where, how many.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use job_model::{AccountId, Arn, Job, JobKind, JobState, MessageCategory, RecoveryPoint, Region};
use state_store::StoreError;

use super::index::{Place, Wanted};
use super::object::Object;
use super::rows::{self, JOBS, POINTS, StoredJob, StoredPoint};
use super::{Projection, job_value, point_value};

/// Which recovery points are wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PointFilter {
    pub(crate) vault: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) resource_type: Option<String>,
    pub(crate) plan: Option<String>,
    pub(crate) created_after: Option<Timestamp>,
    pub(crate) created_before: Option<Timestamp>,
}

/// Which jobs are wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JobFilter {
    pub(crate) state: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) resource_type: Option<String>,
    pub(crate) vault: Option<String>,
    pub(crate) category: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) testing_plan: Option<String>,
    /// The job it follows from.
    pub(crate) parent: Option<String>,
    pub(crate) created_after: Option<Timestamp>,
    pub(crate) created_before: Option<Timestamp>,
    pub(crate) ended_after: Option<Timestamp>,
    pub(crate) ended_before: Option<Timestamp>,
}

/// One page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Page<T> {
    pub(crate) rows: Vec<T>,
    /// Where the next page begins; none at the end.
    pub(crate) next: Option<Place>,
}

/// A resource that has recovery points.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Protected {
    /// Its newest recovery point.
    pub(crate) newest: RecoveryPoint,
}

fn ms(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_millisecond)
}

impl PointFilter {
    fn takes(&self, point: &RecoveryPoint) -> bool {
        let equal = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        let plan = point.created_by.as_ref().map(|by| by.plan_id.to_string());
        equal(&self.vault, point.vault.as_str())
            && equal(&self.resource, point.resource.as_str())
            && equal(&self.resource_type, point.resource_type.as_str())
            && equal(&self.plan, plan.as_deref().unwrap_or_default())
    }
}

impl JobFilter {
    fn takes(&self, job: &Job) -> bool {
        let equal = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        let parent = job.parent.map(|id| id.to_string());
        equal(&self.state, job.state.as_str())
            && equal(&self.resource, job.resource.as_str())
            && equal(&self.resource_type, job.resource_type.map_or("", job_model::ResourceType::as_str))
            && equal(&self.category, category(job))
            && equal(&self.parent, parent.as_deref().unwrap_or_default())
    }
}

/// The message category of a job, in AWS's words.
pub(crate) fn category(job: &Job) -> &'static str {
    match job.message_category {
        MessageCategory::Success => "SUCCESS",
        MessageCategory::Issues => "AGGREGATED_ISSUES",
        MessageCategory::AccessDenied => "ACCESS_DENIED",
        MessageCategory::Failure => "FAILURE",
    }
}

impl Projection {
    /// A page of an account's recovery points in a region, newest first.
    pub(crate) async fn points(
        &self,
        (account, region): (&str, &str),
        filter: &PointFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Page<RecoveryPoint>, StoreError> {
        let list = rows::points_list(account, region);
        let (memory, wanted_by) = (self.memory.clone(), filter.clone());
        let places = blocking(move || {
            let memory = memory.read();
            let digest = |text: &Option<String>| text.as_deref().map(|text| memory.points.digest(text));
            let mut wanted =
                Wanted { created: (ms(wanted_by.created_after), ms(wanted_by.created_before)), ..Wanted::default() };
            wanted.values[point_value::VAULT] = digest(&wanted_by.vault);
            wanted.values[point_value::RESOURCE] = digest(&wanted_by.resource);
            wanted.values[point_value::TYPE] = digest(&wanted_by.resource_type);
            wanted.values[point_value::PLAN] = digest(&wanted_by.plan);
            memory.points.page(&list, &wanted, after, limit + 1)
        })
        .await;
        let (places, next) = cut(places, limit);
        let mut rows = self.points_at(places).await?;
        rows.retain(|point| filter.takes(point));
        Ok(Page { rows, next })
    }

    /// The recovery points at these places; those that are gone meanwhile are left out.
    pub(super) async fn points_at(&self, places: Vec<Place>) -> Result<Vec<RecoveryPoint>, StoreError> {
        let read = move |tx: &state_store::Tx<'_>| {
            let rows = places.iter().map(|place| tx.get(&POINTS, &place.to_bytes()));
            rows.filter_map(Result::transpose).map(|row| row.map(|StoredPoint(point)| point)).collect()
        };
        self.store.read(read).await
    }

    /// A page of an account's jobs of a kind in a region, newest first.
    pub(crate) async fn jobs(
        &self,
        (account, region): (&AccountId, &Region),
        kind: JobKind,
        filter: &JobFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Page<Job>, StoreError> {
        let list = rows::jobs_list(account, region, kind);
        let mut after = after;
        let mut rows: Vec<Job> = Vec::new();
        loop {
            let (memory, wanted_by, name, left) =
                (self.memory.clone(), filter.clone(), list.clone(), limit - rows.len());
            let places = blocking(move || {
                let memory = memory.read();
                let wanted = wanted_jobs(&memory.jobs, &wanted_by);
                memory.jobs.page(&name, &wanted, after, left + 1)
            })
            .await;
            let (places, next) = cut(places, left);
            let read = move |tx: &state_store::Tx<'_>| {
                let rows = places.iter().map(|place| tx.get(&JOBS, &place.to_bytes()));
                rows.filter_map(Result::transpose)
                    .map(|row| row.map(|StoredJob(job)| job))
                    .collect::<Result<Vec<_>, _>>()
            };
            rows.extend(self.store.read(read).await?.into_iter().filter(|job| filter.takes(job)));
            after = next;
            // Only the parent is not in the index; a page that it thinned out is filled up, as far as one step goes.
            if next.is_none() || filter.parent.is_none() || rows.len() >= limit {
                return Ok(Page { rows, next });
            }
        }
    }

    /// The resources of an account in a region that have recovery points, each with its newest one, by a stable order.
    pub(crate) async fn protected(
        &self,
        (account, region): (&str, &str),
        vault: Option<String>,
    ) -> Result<Vec<Protected>, StoreError> {
        let list = rows::points_list(account, region);
        let memory = self.memory.clone();
        let places = blocking(move || {
            let memory = memory.read();
            let mut wanted = Wanted::default();
            wanted.values[point_value::VAULT] = vault.as_deref().map(|vault| memory.points.digest(vault));
            let mut newest: HashMap<u64, Place> = HashMap::new();
            for (place, entry) in memory.points.newest_first(&list, &wanted, None) {
                newest.entry(entry.values[point_value::RESOURCE]).or_insert(place);
            }
            newest.into_values().collect::<Vec<_>>()
        })
        .await;
        let mut found = Vec::new();
        for step in places.chunks(super::STEP) {
            found.extend(self.points_at(step.to_vec()).await?);
        }
        found.sort_by(|a, b| a.resource.cmp(&b.resource));
        Ok(found.into_iter().map(|newest| Protected { newest }).collect())
    }

    /// How many recovery points a vault holds.
    pub(crate) fn count_in(&self, vault: &Arn) -> u64 {
        let memory = self.memory.read();
        memory.counts.get(&memory.points.digest(vault.as_str())).copied().unwrap_or(0)
    }

    /// Things whose keys begin so, in the order of their keys.
    pub(crate) fn objects(&self, prefix: &str) -> Vec<Arc<Object>> {
        let memory = self.memory.read();
        let range = memory.objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        range.map(|(_, object)| object.clone()).collect()
    }

    /// Keys that begin so.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let memory = self.memory.read();
        let range = memory.objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        range.map(|(key, _)| key.clone()).collect()
    }

    /// One thing.
    pub(crate) fn object(&self, key: &str) -> Option<Arc<Object>> {
        self.memory.read().objects.get(key).cloned()
    }

    /// Jobs of an account and kind in a region that were created after an instant: how many of each state, type and
    /// category.
    pub(crate) async fn job_counts(
        &self,
        (account, region): (&AccountId, &Region),
        kind: JobKind,
        filter: &JobFilter,
    ) -> Result<HashMap<(JobState, String, &'static str), (u64, Timestamp, Timestamp)>, StoreError> {
        let mut counts: HashMap<_, (u64, Timestamp, Timestamp)> = HashMap::new();
        let mut after = None;
        loop {
            let page = self.jobs((account, region), kind, filter, after, super::STEP).await?;
            for job in &page.rows {
                let resource_type = job.resource_type.map_or("", job_model::ResourceType::as_str).to_owned();
                let count = counts.entry((job.state, resource_type, category(job))).or_insert((
                    0,
                    job.created_at,
                    job.created_at,
                ));
                count.0 += 1;
                count.1 = count.1.min(job.created_at);
                count.2 = count.2.max(job.created_at);
            }
            after = page.next;
            if after.is_none() {
                return Ok(counts);
            }
        }
    }
}

fn wanted_jobs(index: &super::index::Index<{ job_value::COUNT }>, filter: &JobFilter) -> Wanted<{ job_value::COUNT }> {
    let digest = |text: &Option<String>| text.as_deref().map(|text| index.digest(text));
    let mut wanted = Wanted {
        created: (ms(filter.created_after), ms(filter.created_before)),
        ended: (ms(filter.ended_after), ms(filter.ended_before)),
        ..Wanted::default()
    };
    wanted.values[job_value::STATE] = digest(&filter.state);
    wanted.values[job_value::RESOURCE] = digest(&filter.resource);
    wanted.values[job_value::TYPE] = digest(&filter.resource_type);
    wanted.values[job_value::VAULT] = digest(&filter.vault);
    wanted.values[job_value::CATEGORY] = digest(&filter.category);
    wanted.values[job_value::SOURCE] = digest(&filter.source);
    wanted.values[job_value::TESTING_PLAN] = digest(&filter.testing_plan);
    wanted
}

/// A page of one more than wanted: what there is of it, and where the next one begins.
fn cut(mut places: Vec<Place>, limit: usize) -> (Vec<Place>, Option<Place>) {
    let more = places.len() > limit;
    places.truncate(limit);
    let next = places.last().copied().filter(|_| more);
    (places, next)
}

/// A pass over many entries, where it does not hold up others.
async fn blocking<T: Send + 'static>(pass: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(pass).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
