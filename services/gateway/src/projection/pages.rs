//! Pages of lists: which rows, from where, how many.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use job_model::{AccountId, Arn, Job, JobKind, JobState, MessageCategory, Region};
use state_store::StoreError;

use super::Projection;
use super::index::Place;
use super::listed::ListedPoint;
use super::object::Object;
use super::rows::{self, JOBS, StoredJob};

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
    ) -> Page<ListedPoint> {
        let list = rows::points_list(account, region);
        let (memory, filter) = (self.memory.clone(), filter.clone());
        blocking(move || memory.read().points.page(&list, &filter, after, limit)).await
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
        let (memory, wanted) = (self.memory.clone(), filter.clone());
        let mut places = blocking(move || memory.read().jobs.page(&list, &wanted, after, limit + 1)).await;
        let more = places.len() > limit;
        places.truncate(limit);
        let next = places.last().copied().filter(|_| more);
        let read = move |tx: &state_store::Tx<'_>| {
            let rows = places.iter().map(|place| tx.get(&JOBS, &place.to_bytes()));
            rows.filter_map(Result::transpose).map(|row| row.map(|StoredJob(job)| job)).collect::<Result<Vec<_>, _>>()
        };
        let mut rows = self.store.read(read).await?;
        rows.retain(|job| filter.takes(job));
        Ok(Page { rows, next })
    }

    /// The newest recovery point of each resource of an account in a region, or of a vault there, by the resources' ARNs.
    pub(crate) fn protected(
        &self,
        (account, region): (&str, &str),
        vault: Option<&Arn>,
        after: Option<&Arn>,
        limit: usize,
    ) -> Vec<ListedPoint> {
        self.memory.read().points.protected(&rows::points_list(account, region), vault, after, limit)
    }

    /// How many recovery points a vault holds.
    pub(crate) fn count_in(&self, vault: &Arn) -> u64 {
        self.memory.read().points.count_in(vault)
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

/// A pass over many entries, where it does not hold up others.
async fn blocking<T: Send + 'static>(pass: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(pass).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
