//! Subjects, streams and consumers: every name on the bus is made here.
//!
//! `hf.v1.<region>.<family>.…`; tokens are `[A-Za-z0-9_-]`, high-cardinality ones come last so that permissions, filters
//! and span names use the prefix. Stream names carry the region, because one server may serve two.

use std::fmt;

use job_model::{JobId, Region};
use serde::{Deserialize, Serialize};

/// Version prefix of every subject.
pub const PREFIX: &str = "hf.v1";

/// The five services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are those of ARCHITECTURE.md")]
pub enum Service {
    Planner,
    SnapshotWorker,
    CopyReplicator,
    RestoreWorker,
    Verifier,
}

impl Service {
    /// As it stands in subjects, sources and span attributes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planner => "planner",
            Self::SnapshotWorker => "snapshot-worker",
            Self::CopyReplicator => "copy-replicator",
            Self::RestoreWorker => "restore-worker",
            Self::Verifier => "verifier",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kinds of order queues; one WorkQueue stream each per region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queue {
    /// Snapshot-worker: capture, vault upkeep.
    Snapshot,
    /// Copy-replicator: copies, in the region of the destination; moves to cold storage.
    Copy,
    /// Restore-worker: restore, sandbox removal.
    Restore,
    /// Verifier.
    Verify,
}

impl Queue {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Snapshot, Self::Copy, Self::Restore, Self::Verify];

    /// As it stands in subjects.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Copy => "copy",
            Self::Restore => "restore",
            Self::Verify => "verify",
        }
    }

    /// The service that serves it; also the durable consumer's name.
    #[must_use]
    pub const fn service(self) -> Service {
        match self {
            Self::Snapshot => Service::SnapshotWorker,
            Self::Copy => Service::CopyReplicator,
            Self::Restore => Service::RestoreWorker,
            Self::Verify => Service::Verifier,
        }
    }

    /// The stream that holds its orders: `ORDERS-SNAPSHOT-ap-northeast-1`.
    #[must_use]
    pub fn stream(self, region: &Region) -> String {
        format!("ORDERS-{}-{region}", self.as_str().to_uppercase())
    }
}

/// `hf.v1.<region>.order.<queue>.<resource key>`: where an order goes.
#[must_use]
pub fn order(region: &Region, queue: Queue, resource_key: &str) -> String {
    format!("{PREFIX}.{region}.order.{}.{resource_key}", queue.as_str())
}

/// All orders of a queue.
#[must_use]
pub fn orders(region: &Region, queue: Queue) -> String {
    format!("{PREFIX}.{region}.order.{}.*", queue.as_str())
}

/// `hf.v1.<region>.fact.<service>.<name>.<job>.<sequence>`: where a fact goes. Unique per fact, so that it is published
/// once: the sequence is `<epoch>-<n>`, with the fencing epoch of the attempt (or the planner's generation).
#[must_use]
pub fn fact(region: &Region, service: Service, name: &str, job: &str, epoch: u64, n: u64) -> String {
    format!("{PREFIX}.{region}.fact.{service}.{name}.{job}.{epoch}-{n}")
}

/// All facts of a region.
#[must_use]
pub fn facts(region: &Region) -> String {
    format!("{PREFIX}.{region}.fact.>")
}

/// All facts of one service.
#[must_use]
pub fn facts_of(region: &Region, service: Service) -> String {
    format!("{PREFIX}.{region}.fact.{service}.>")
}

/// The facts of one job from every service.
#[must_use]
pub fn facts_of_job(region: &Region, job: JobId) -> String {
    format!("{PREFIX}.{region}.fact.*.*.{job}.*")
}

/// The stream of facts: `FACTS-ap-northeast-1`.
#[must_use]
pub fn fact_stream(region: &Region) -> String {
    format!("FACTS-{region}")
}

/// `hf.v1.<region>.request.<service>.<name>`: where anybody with permission asks for something.
#[must_use]
pub fn request(region: &Region, service: Service, name: &str) -> String {
    format!("{PREFIX}.{region}.request.{service}.{name}")
}

/// All requests to a service.
#[must_use]
pub fn requests_to(region: &Region, service: Service) -> String {
    format!("{PREFIX}.{region}.request.{service}.*")
}

/// The stream of requests: `REQUESTS-ap-northeast-1` (a WorkQueue).
#[must_use]
pub fn request_stream(region: &Region) -> String {
    format!("REQUESTS-{region}")
}

/// `hf.v1.<region>.assignment.<service>.<key>`: what a service's workers do about something until told otherwise.
#[must_use]
pub fn assignment(region: &Region, service: Service, key: &str) -> String {
    format!("{PREFIX}.{region}.assignment.{service}.{key}")
}

/// All assignments of a service's workers.
#[must_use]
pub fn assignments_to(region: &Region, service: Service) -> String {
    format!("{PREFIX}.{region}.assignment.{service}.*")
}

/// The stream of assignments: `ASSIGNMENTS-ap-northeast-1`; the newest on each subject is kept.
#[must_use]
pub fn assignment_stream(region: &Region) -> String {
    format!("ASSIGNMENTS-{region}")
}

/// `hf.v1.<region>.control.stop.<job>`: a job is to stop; the last message per job is kept.
#[must_use]
pub fn stop(region: &Region, job: JobId) -> String {
    format!("{PREFIX}.{region}.control.stop.{job}")
}

/// All stop messages.
#[must_use]
pub fn stops(region: &Region) -> String {
    format!("{PREFIX}.{region}.control.stop.*")
}

/// The stream of control messages.
#[must_use]
pub fn control_stream(region: &Region) -> String {
    format!("CONTROL-{region}")
}

/// `hf.v1.<region>.dead-letter.<service>.<id>`: what a service could not handle, with the reason in its headers.
#[must_use]
pub fn dead_letter(region: &Region, service: Service, id: &str) -> String {
    format!("{PREFIX}.{region}.dead-letter.{service}.{id}")
}

/// All dead letters.
#[must_use]
pub fn dead_letters(region: &Region) -> String {
    format!("{PREFIX}.{region}.dead-letter.>")
}

/// The stream of dead letters.
#[must_use]
pub fn dead_letter_stream(region: &Region) -> String {
    format!("DEAD-LETTERS-{region}")
}

/// The stream of the server's advisories about messages it gave up.
#[must_use]
pub fn advisory_stream(region: &Region) -> String {
    format!("ADVISORIES-{region}")
}

/// The key-value bucket of leases.
#[must_use]
pub fn lease_bucket(region: &Region) -> String {
    format!("LEASES-{region}")
}

/// `hf.v1.<region>.query.<service>.<name>`: plain request-reply; changes nothing.
#[must_use]
pub fn query(region: &Region, service: Service, name: &str) -> String {
    format!("{PREFIX}.{region}.query.{service}.{name}")
}

/// All queries to a service.
#[must_use]
pub fn queries_to(region: &Region, service: Service) -> String {
    format!("{PREFIX}.{region}.query.{service}.*")
}
