//! Who works on what: one holder per key, with an epoch that only grows.
//!
//! A lease is a key of a bucket whose entries live for [`Timing::lease_ttl`](crate::Timing). It is taken, renewed and
//! given back by compare-and-set on the key's revision, never by reading. The epoch is the revision of the taking: two
//! holders never share one, and a later holder's is higher. A holder that was paused cannot know that it lost the lease;
//! it knows how long ago it renewed it ([`Lease::remaining`]), and whoever receives its results compares epochs.

use std::time::Duration;

use async_nats::{HeaderMap, Request};
use job_events::subjects;
use job_model::Region;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::topology::{bucket_stream, bucket_subject};
use crate::{ApiError, Bus, api};

/// Time since the machine was started, by a clock that never goes back and goes on while the machine is suspended: a
/// lease runs out on the server meanwhile. (`std::time::Instant` stands still then.)
#[must_use]
pub fn uptime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Neither is ever negative for this clock.
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// What stands in the bucket for a person and for the next holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    holder: String,
    /// Tells this taking from every other one of the same holder.
    token: String,
    /// Every later epoch has to be above this.
    floor: u64,
    /// Given back: the next one need not wait.
    released: bool,
}

/// The right to work on one key until [`Lease::remaining`] is used up.
#[derive(Debug)]
pub struct Lease {
    bus: Bus,
    bucket: String,
    key: String,
    entry: Entry,
    epoch: u64,
    revision: u64,
    valid_until: Duration,
}

/// Why a lease was not taken, renewed or given back.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody has it.
    #[error("`{key}` is being worked on by `{holder}`; wait until it is done, or until its lease runs out")]
    Held {
        /// The key.
        key: String,
        /// Who.
        holder: String,
    },
    /// It was this process's and is no longer.
    #[error("the lease on `{key}` with epoch `{epoch}` is lost; stop working on it")]
    Lost {
        /// The key.
        key: String,
        /// Its epoch.
        epoch: u64,
    },
    /// There is no such bucket.
    #[error("lease bucket `{bucket}` is not there; provision the region")]
    BucketMissing {
        /// The bucket.
        bucket: String,
    },
    /// The server did not answer, or refused for another reason.
    #[error("cannot write the lease on `{key}`")]
    Bus {
        /// The key.
        key: String,
        /// Why.
        #[source]
        source: ApiError,
    },
}

impl Bus {
    /// Takes the lease on a key, if it is free.
    ///
    /// `floor` is the highest epoch the caller has ever seen for this key, zero if none; the lease's epoch is above it
    /// whatever happened to the bucket.
    ///
    /// # Errors
    /// When somebody holds it, the bucket is missing or the server does not answer.
    pub async fn acquire_lease(
        &self,
        region: &Region,
        key: &str,
        holder: &str,
        floor: u64,
    ) -> Result<Lease, LeaseError> {
        self.take_lease(region, key, holder, floor, false).await
    }

    /// As [`Bus::acquire_lease`], and takes over from an earlier life of the same holder without waiting for its lease to
    /// run out. Only for a holder that knows that life to be over, because it holds something exclusive of it: the lock
    /// on its state directory.
    ///
    /// # Errors
    /// As [`Bus::acquire_lease`].
    pub async fn succeed_lease(
        &self,
        region: &Region,
        key: &str,
        holder: &str,
        floor: u64,
    ) -> Result<Lease, LeaseError> {
        self.take_lease(region, key, holder, floor, true).await
    }

    async fn take_lease(
        &self,
        region: &Region,
        key: &str,
        holder: &str,
        floor: u64,
        succeeds: bool,
    ) -> Result<Lease, LeaseError> {
        let bucket = subjects::lease_bucket(region);
        // The last token of a new inbox is unique for ever.
        let inbox = self.client().new_inbox();
        let token = inbox.rsplit('.').next().unwrap_or(&inbox).to_owned();
        let mut entry = Entry { holder: holder.to_owned(), token, floor, released: false };
        let mut expected = 0;
        // Twice, because an entry that was given back is replaced at its own revision.
        loop {
            let asked = uptime();
            match self.write_lease(&bucket, key, &entry, expected).await? {
                Some(revision) => {
                    let epoch = revision.max(entry.floor.saturating_add(1));
                    entry.floor = epoch;
                    let valid_until = asked + self.timing().lease_ttl;
                    let key = key.to_owned();
                    return Ok(Lease { bus: self.clone(), bucket, key, entry, epoch, revision, valid_until });
                }
                None => {
                    let (revision, found) = match self.read_lease(&bucket, key).await? {
                        Some((revision, found))
                            if (found.released || (succeeds && found.holder == holder)) && expected != revision =>
                        {
                            (revision, found)
                        }
                        Some((_, found)) => {
                            return Err(LeaseError::Held { key: key.to_owned(), holder: found.holder });
                        }
                        // It ran out between the two questions; whoever asks next may have it.
                        None => {
                            return Err(LeaseError::Held { key: key.to_owned(), holder: "somebody".to_owned() });
                        }
                    };
                    entry.floor = entry.floor.max(found.floor);
                    expected = revision;
                }
            }
        }
    }

    /// Writes the entry if the key is at `expected` (zero: not there). `None`: it is not.
    async fn write_lease(
        &self,
        bucket: &str,
        key: &str,
        entry: &Entry,
        expected: u64,
    ) -> Result<Option<u64>, LeaseError> {
        let subject = bucket_subject(bucket, key);
        let failed = |source| LeaseError::Bus { key: key.to_owned(), source };
        let payload = serde_json::to_vec(entry)
            .map_err(|source| failed(ApiError::BadReply { subject: subject.clone(), source }))?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        let request = Request::new()
            .payload(payload.into())
            .headers(headers)
            .timeout(Some(self.timing().lease_ttl.min(Duration::from_secs(10))));
        let reply = match self.client().send_request(subject.clone(), request).await {
            Ok(reply) => reply,
            Err(error) => {
                return Err(match ApiError::request(&subject, error) {
                    ApiError::NobodyAnswers { .. } => LeaseError::BucketMissing { bucket: bucket.to_owned() },
                    other => failed(other),
                });
            }
        };
        let bad = |source| failed(ApiError::BadReply { subject: subject.clone(), source });
        let reply: Value = serde_json::from_slice(&reply.payload).map_err(bad)?;
        match api::error_in(&reply, &subject) {
            Some(ApiError::Refused { code: api::WRONG_LAST_SEQUENCE | api::WRONG_LAST_SEQUENCE_CONSTANT, .. }) => {
                Ok(None)
            }
            Some(error) => Err(failed(error)),
            None => match reply["seq"].as_u64() {
                Some(revision) => Ok(Some(revision)),
                None => Err(bad(serde::de::Error::missing_field("seq"))),
            },
        }
    }

    /// What stands in the bucket. May lag behind; decisions are taken by writing.
    async fn read_lease(&self, bucket: &str, key: &str) -> Result<Option<(u64, Entry)>, LeaseError> {
        let stored = self.last_on_subject(&bucket_stream(bucket), &bucket_subject(bucket, key)).await;
        let stored = stored.map_err(|source| LeaseError::Bus { key: key.to_owned(), source })?;
        Ok(stored.map(|message| {
            let entry = serde_json::from_slice(&message.payload).unwrap_or_else(|_| Entry {
                // Somebody else's writing: held until it runs out.
                holder: "an unreadable entry".to_owned(),
                token: String::new(),
                floor: 0,
                released: false,
            });
            (message.sequence, entry)
        }))
    }
}

impl Lease {
    /// The fencing token: higher than that of every earlier holder of the key.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How long nobody else can have taken it, counted by [`uptime`] from before the last successful renewal was
    /// asked for. Zero: stop.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.valid_until.saturating_sub(uptime())
    }

    /// The [`uptime`] at which [`Lease::remaining`] reaches zero.
    #[must_use]
    pub fn valid_until(&self) -> Duration {
        self.valid_until
    }

    /// Prolongs it by the whole time.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when it is somebody else's or ran out; others leave it as it was.
    pub async fn renew(&mut self) -> Result<(), LeaseError> {
        fail::fail_point!("bus::lease_renewal", |_| {
            Err(LeaseError::BucketMissing { bucket: "failpoint".to_owned() })
        });
        let asked = uptime();
        let mut expected = self.revision;
        loop {
            if let Some(revision) = self.bus.write_lease(&self.bucket, &self.key, &self.entry, expected).await? {
                self.revision = revision;
                self.valid_until = asked + self.bus.timing().lease_ttl;
                return Ok(());
            }
            // A renewal whose reply was lost has moved the revision; the entry is still ours then.
            match self.bus.read_lease(&self.bucket, &self.key).await? {
                Some((revision, entry)) if entry.token == self.entry.token && revision > expected => {
                    expected = revision;
                }
                _ => {
                    self.valid_until = asked;
                    return Err(LeaseError::Lost { key: self.key.clone(), epoch: self.epoch });
                }
            }
        }
    }

    /// Gives it back, so that the next one need not wait.
    ///
    /// # Errors
    /// When the server did not take it; it then runs out by itself.
    pub async fn release(self) -> Result<(), LeaseError> {
        let entry = Entry { released: true, ..self.entry.clone() };
        match self.bus.write_lease(&self.bucket, &self.key, &entry, self.revision).await? {
            Some(_) => Ok(()),
            None => Err(LeaseError::Lost { key: self.key.clone(), epoch: self.epoch }),
        }
    }
}
