//! The projection's tables.

use job_model::{AccountId, Job, Region};
use serde::{Deserialize, Serialize};
use state_store::{Record, Table};
use uuid::Uuid;

use super::index::Place;
use super::listed::ListedPoint;
use super::object::Object;

macro_rules! stored {
    ($($(#[$doc:meta])* $name:ident($inner:ty)),+ $(,)?) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Serialize, Deserialize)]
            #[serde(transparent)]
            pub(super) struct $name(pub(super) $inner);

            impl Record for $name {
                const VERSION: u8 = 1;
            }
        )+
    };
}

stored!(StoredJob(Job), StoredObject(Object));

/// How far the facts of a region were followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FeedRow {
    /// The planner's state that the rows are about.
    pub(super) installation: String,
    /// When the stream of facts was made; another instant is another stream.
    pub(super) stream_made_at: jiff::Timestamp,
    /// The last fact that was applied.
    pub(super) sequence: u64,
}

impl Record for FeedRow {
    const VERSION: u8 = 1;
}

pub(super) const POINTS: Table<ListedPoint> = Table::new("recovery-points");
pub(super) const JOBS: Table<StoredJob> = Table::new("jobs");
pub(super) const OBJECTS: Table<StoredObject> = Table::new("objects");
pub(super) const FEED: Table<FeedRow> = Table::new("feed");

/// Keys of objects may be longer than a row's.
pub(super) fn object_key(key: &str) -> [u8; 16] {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, key.as_bytes()).into_bytes()
}

/// Where a recovery point stands in lists.
pub(crate) fn place_of_point(point: &ListedPoint) -> Place {
    Place { at_ms: point.created_at.as_millisecond(), id: point.id.as_uuid() }
}

/// Where a job stands in lists.
pub(crate) fn place_of_job(job: &Job) -> Place {
    Place { at_ms: job.created_at.as_millisecond(), id: job.id.as_uuid() }
}

/// The list of an account's recovery points in a region.
pub(crate) fn points_list(account: &str, region: &str) -> String {
    format!("{account}/{region}")
}

/// The list of an account's jobs of a kind in a region.
pub(crate) fn jobs_list(account: &AccountId, region: &Region, kind: job_model::JobKind) -> String {
    list_name(account.as_str(), region.as_str(), kind)
}

/// The list a job is in.
pub(crate) fn list_of_job(job: &Job) -> String {
    list_name(job.account(), job.home().region(), job.kind)
}

fn list_name(account: &str, region: &str, kind: job_model::JobKind) -> String {
    format!("{account}/{region}/{kind:?}")
}
