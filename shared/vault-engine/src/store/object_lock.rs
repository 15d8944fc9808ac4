//! Locks of the store itself: S3's object lock, which keeps a file from whoever has the store's credentials.
//!
//! A bucket is asked once whether it locks at all. A lock is set by one request for each file, which prolongs what is there
//! and is repeated without harm. Stores refuse a lock that is shorter or weaker than the one that a file has, as they do
//! where nobody may set locks at all; which of the two it was shows by looking at the file's own lock. So nothing is ever
//! shortened or weakened here, and never does a request ask to pass over a lock.

mod answer;
mod request;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::aws::AmazonS3;
use object_store::path::Path;

use self::answer::{Answer, Asked, Outcome};
use self::request::Requests;
use super::StoreError;
use super::remote::block_on;
use crate::keep::Retention;

/// Files whose locks are set at the same time.
const AT_ONCE: usize = 16;

/// A store that may lock what it keeps. Paths are relative to the repository.
pub(crate) trait ObjectLock: Send + Sync {
    /// Whether it does; asked once.
    fn is_on(&self) -> Result<bool, StoreError>;

    /// Where the files lie: what is known of one place says nothing about another.
    fn place(&self) -> &str;

    /// Locks the current version of each of these files at least so. What is locked for longer or more strictly stays so.
    /// Gives back the lock that each has now, in their order, which may be weaker in its mode where the store lets nobody
    /// make it stricter; none for a file that is not there.
    fn retain(&self, paths: &[String], wanted: Retention) -> Result<Vec<Option<Retention>>, StoreError>;

    /// The lock that the current version of a file has.
    fn retention(&self, path: &str) -> Result<Option<Retention>, StoreError>;
}

/// Object lock of a bucket of S3, or of a server that speaks as S3 does.
pub(super) struct BucketLock {
    shared: Arc<Shared>,
    is_on: OnceLock<bool>,
}

struct Shared {
    requests: Requests,
    prefix: Path,
    place: String,
    /// Name of the store profile, which messages name.
    profile: String,
}

impl BucketLock {
    pub(super) fn new(
        bucket: Arc<AmazonS3>,
        client: object_store::client::HttpClient,
        (prefix, place): (Path, String),
        profile: &str,
        retry_for: Duration,
    ) -> Self {
        let requests = Requests { bucket, client, retry_for };
        let shared = Shared { requests, prefix, place, profile: profile.to_owned() };
        Self { shared: Arc::new(shared), is_on: OnceLock::new() }
    }
}

impl ObjectLock for BucketLock {
    fn is_on(&self) -> Result<bool, StoreError> {
        if let Some(known) = self.is_on.get() {
            return Ok(*known);
        }
        let shared = Arc::clone(&self.shared);
        let asked = block_on(async move { shared.ask().await })??;
        Ok(*self.is_on.get_or_init(|| asked))
    }

    fn place(&self) -> &str {
        &self.shared.place
    }

    fn retain(&self, paths: &[String], wanted: Retention) -> Result<Vec<Option<Retention>>, StoreError> {
        let (shared, paths) = (Arc::clone(&self.shared), paths.to_vec());
        block_on(async move {
            let each = paths.into_iter().map(|path| {
                let shared = Arc::clone(&shared);
                async move { shared.retain(&path, wanted).await }
            });
            stream::iter(each).buffered(AT_ONCE).try_collect().await
        })?
    }

    fn retention(&self, path: &str) -> Result<Option<Retention>, StoreError> {
        let (shared, path) = (Arc::clone(&self.shared), path.to_owned());
        block_on(async move { shared.retention(&path).await })?
    }
}

impl Shared {
    fn at(&self, path: &str) -> Path {
        path.split('/').fold(self.prefix.clone(), |full, part| full.join(part))
    }

    async fn ask(&self) -> Result<bool, StoreError> {
        const ACTION: &str = "ask whether it locks objects, the bucket of";
        let failed = |problem| self.failed(ACTION, "/", problem);
        let answer = self.requests.send("GET", None, "object-lock", "").await.map_err(failed)?;
        match answer.about_the_bucket() {
            Asked::Locks => Ok(true),
            Asked::LocksNothing => Ok(false),
            Asked::Refused => Err(self.refused(ACTION, "/", "s3:GetBucketObjectLockConfiguration", &answer)),
            Asked::Failed => Err(failed(answer.to_string())),
        }
    }

    async fn retain(&self, path: &str, wanted: Retention) -> Result<Option<Retention>, StoreError> {
        let mut refusal = match self.put(path, wanted).await? {
            Put::Done => return Ok(Some(wanted)),
            Put::Gone => return Ok(None),
            Put::Refused(refusal) => refusal,
        };
        // It may be locked for longer or more strictly, which nothing may shorten or weaken.
        let Some(there) = self.retention(path).await? else { return Err(refusal) };
        if there.covers(&wanted) {
            return Ok(Some(there));
        }
        let both = there.with(wanted);
        // Some stores let nobody make a lock stricter who may not take it away. It is prolonged as it is then.
        let as_it_is = Retention { mode: there.mode, ..both };
        let mut tried = vec![wanted, there];
        for next in [both, as_it_is] {
            if tried.contains(&next) {
                continue;
            }
            match self.put(path, next).await? {
                Put::Done => return Ok(Some(next)),
                Put::Gone => return Ok(None),
                Put::Refused(error) => refusal = error,
            }
            tried.push(next);
        }
        // It lasts long enough, and only its mode is weaker: whoever asked is told.
        if as_it_is == there { Ok(Some(there)) } else { Err(refusal) }
    }

    async fn put(&self, path: &str, wanted: Retention) -> Result<Put, StoreError> {
        let body = answer::retention_document(&wanted);
        let answer = self.requests.send("PUT", Some(&self.at(path)), "retention", &body).await;
        let answer = answer.map_err(|problem| self.failed(SET, path, problem))?;
        match answer.about_an_object() {
            Outcome::Done => Ok(Put::Done),
            Outcome::Gone => Ok(Put::Gone),
            Outcome::Refused => Ok(Put::Refused(self.refused(SET, path, RIGHTS, &answer))),
            Outcome::NoLock | Outcome::Failed => Err(self.failed(SET, path, answer.to_string())),
        }
    }

    async fn retention(&self, path: &str) -> Result<Option<Retention>, StoreError> {
        const ACTION: &str = "look at the lock of";
        let failed = |problem| self.failed(ACTION, path, problem);
        let answer = self.requests.send("GET", Some(&self.at(path)), "retention", "").await.map_err(failed)?;
        match answer.about_an_object() {
            Outcome::Done => answer.retention().map(Some).map_err(failed),
            Outcome::NoLock | Outcome::Gone => Ok(None),
            Outcome::Refused => Err(self.refused(ACTION, path, RIGHTS, &answer)),
            Outcome::Failed => Err(failed(answer.to_string())),
        }
    }

    fn failed(&self, action: &'static str, path: &str, problem: String) -> StoreError {
        StoreError::LockFailed { action, path: path.to_owned(), problem }
    }

    fn refused(&self, action: &'static str, path: &str, permission: &str, answer: &Answer) -> StoreError {
        let name = &self.profile;
        let problem = format!(
            "{answer}; grant `{permission}` to the credentials of store profile `{name}`, or set `object_lock = \"off\"` in \
             `[stores.{name}]`"
        );
        StoreError::LockRefused { action, path: path.to_owned(), problem }
    }
}

const SET: &str = "lock";
/// What a caller must be allowed to do with objects, as it stands in a message.
const RIGHTS: &str = "s3:PutObjectRetention` and `s3:GetObjectRetention";

/// What came of a request to lock a file.
enum Put {
    Done,
    Gone,
    Refused(StoreError),
}
