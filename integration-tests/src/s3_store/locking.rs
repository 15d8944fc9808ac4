//! Object lock in front of `s3s-fs`, which knows neither that nor versions: as much of it as S3 promises to somebody who
//! locks objects, and to somebody who wants them gone.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CopyObjectInput, CopyObjectOutput, CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteBucketInput, DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput,
    DeleteObjectsInput, DeleteObjectsOutput, GetBucketLocationInput, GetBucketLocationOutput, GetObjectInput,
    GetObjectLockConfigurationInput, GetObjectLockConfigurationOutput, GetObjectOutput, GetObjectRetentionInput,
    GetObjectRetentionOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput,
    ListBucketsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, ListPartsInput,
    ListPartsOutput, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetention, PutObjectInput, PutObjectOutput,
    PutObjectRetentionInput, PutObjectRetentionOutput, TimestampFormat, UploadPartCopyInput, UploadPartCopyOutput,
    UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;

use super::Manner;

/// Whether buckets lock what they keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Locking {
    /// The server does not know such requests.
    #[default]
    Unknown,
    /// It does, and the bucket was made without.
    NotHere,
    /// It does, and lets the caller not know.
    Secret,
    /// The bucket locks.
    On,
    /// The same, and a lock's mode cannot be made stricter by somebody who may not take it away, as on some servers.
    OnAndModesStay,
}

/// A lock on the current version of an object, or on an older one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectLock {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: String,
    /// Until when.
    pub until: Timestamp,
}

/// Locks, older versions, and what was asked.
#[derive(Default)]
pub(super) struct Locks {
    /// Of current versions, by `bucket/key`.
    current: BTreeMap<String, ObjectLock>,
    /// Locked versions that were deleted or overwritten, oldest first.
    older: Vec<(String, Vec<u8>, ObjectLock)>,
    /// Requests about object lock.
    requests: u64,
    /// How many more requests to lock are granted, where that is limited.
    granted: Option<u64>,
    /// How many more requests about locks fail for a passing reason.
    failing: u64,
}

/// The buckets below a directory.
pub(super) struct Buckets {
    files: FileSystem,
    root: PathBuf,
    manner: Manner,
    locks: Arc<Mutex<Locks>>,
}

impl Locks {
    pub(super) fn current(&self) -> &BTreeMap<String, ObjectLock> {
        &self.current
    }

    pub(super) const fn requests(&self) -> u64 {
        self.requests
    }

    pub(super) const fn grant(&mut self, requests: Option<u64>) {
        self.granted = requests;
    }

    pub(super) const fn fail(&mut self, requests: u64) {
        self.failing = requests;
    }

    pub(super) fn set(&mut self, object: &str, lock: Option<ObjectLock>) {
        match lock {
            Some(lock) => self.current.insert(object.to_owned(), lock),
            None => self.current.remove(object),
        };
    }

    /// What becomes of the current version when the object is deleted or overwritten.
    fn supersede(&mut self, root: &Path, object: &str) -> io::Result<()> {
        let Some(lock) = self.current.remove(object) else { return Ok(()) };
        if lock.until > now() {
            self.older.push((object.to_owned(), std::fs::read(root.join(object))?, lock));
        }
        Ok(())
    }

    /// Deletes every object, and every version for good that is not locked: what somebody can do who has all rights but
    /// to pass over locks.
    pub(super) fn empty(&mut self, root: &Path) -> io::Result<()> {
        let mut open = vec![root.to_owned()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory)? {
                let path = entry?.path();
                let object = path.strip_prefix(root).map_err(io::Error::other)?.to_string_lossy().into_owned();
                if path.is_dir() {
                    open.push(path);
                } else if object.contains('/') {
                    self.supersede(root, &object)?;
                    std::fs::remove_file(path)?;
                }
            }
        }
        self.older.retain(|(_, _, lock)| lock.until > now());
        Ok(())
    }

    /// Brings the newest locked version of every object back, as removing what lies over it does.
    pub(super) fn bring_back(&mut self, root: &Path) -> io::Result<()> {
        for (object, bytes, lock) in std::mem::take(&mut self.older) {
            let path = root.join(&object);
            std::fs::create_dir_all(path.parent().unwrap_or(root))?;
            std::fs::write(path, bytes)?;
            self.current.insert(object, lock);
        }
        Ok(())
    }

    fn put(&mut self, root: &Path, object: &str, wanted: ObjectLock, modes_stay: bool) -> S3Result<()> {
        if !root.join(object).is_file() {
            return Err(S3Error::new(S3ErrorCode::NoSuchKey));
        }
        if wanted.until <= now() {
            return Err(S3Error::with_message(S3ErrorCode::InvalidArgument, "The date must be in the future"));
        }
        if self.granted == Some(0) {
            return Err(denied());
        }
        self.granted = self.granted.map(|granted| granted - 1);
        if let Some(there) = self.current.get(object).filter(|there| there.until > now()) {
            // COMPLIANCE comes before GOVERNANCE.
            let is_weaker = wanted.mode > there.mode || wanted.until < there.until;
            if is_weaker || (modes_stay && wanted.mode != there.mode) {
                return Err(denied());
            }
        }
        self.current.insert(object.to_owned(), wanted);
        Ok(())
    }
}

impl Buckets {
    pub(super) fn new(files: FileSystem, root: &Path, manner: Manner, locks: Arc<Mutex<Locks>>) -> Self {
        Self { files, root: root.to_owned(), manner, locks }
    }

    fn locks(&self) -> MutexGuard<'_, Locks> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The locks, for a request about them.
    fn asked(&self) -> S3Result<MutexGuard<'_, Locks>> {
        let mut locks = self.locks();
        locks.requests += 1;
        if locks.failing > 0 {
            locks.failing -= 1;
            return Err(S3Error::new(S3ErrorCode::SlowDown));
        }
        match self.manner.locking {
            Locking::Unknown => Err(S3Error::new(S3ErrorCode::NotImplemented)),
            Locking::NotHere => Err(S3Error::new(S3ErrorCode::ObjectLockConfigurationNotFoundError)),
            Locking::Secret => Err(denied()),
            Locking::On | Locking::OnAndModesStay => Ok(locks),
        }
    }

    fn supersede(&self, bucket: &str, key: &str) -> S3Result<()> {
        self.locks().supersede(&self.root, &format!("{bucket}/{key}")).map_err(S3Error::internal_error)
    }
}

/// Passes calls on that have nothing to do with locks.
macro_rules! buckets {
    ({ $($own:tt)* } $($call:ident($input:ident) -> $output:ident;)*) => {
        #[async_trait]
        impl S3 for Buckets {
            $($own)*
            $(async fn $call(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                S3::$call(&self.files, request).await
            })*
        }
    };
}

buckets! {
    {
        async fn get_object_lock_configuration(
            &self,
            _request: S3Request<GetObjectLockConfigurationInput>,
        ) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
            drop(self.asked()?);
            let enabled = ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED);
            let configuration = ObjectLockConfiguration { object_lock_enabled: Some(enabled), rule: None };
            Ok(S3Response::new(GetObjectLockConfigurationOutput { object_lock_configuration: Some(configuration) }))
        }

        async fn put_object_retention(
            &self,
            request: S3Request<PutObjectRetentionInput>,
        ) -> S3Result<S3Response<PutObjectRetentionOutput>> {
            let mut locks = self.asked()?;
            has_checksum(&request)?;
            let PutObjectRetentionInput { bucket, key, retention, bypass_governance_retention, .. } = request.input;
            if bypass_governance_retention == Some(true) {
                return Err(denied());
            }
            let wanted = retention.and_then(|lock| Some((lock.mode?, moment(&lock.retain_until_date?)?)));
            let (mode, until) = wanted.ok_or_else(|| S3Error::new(S3ErrorCode::MalformedXML))?;
            let wanted = ObjectLock { mode: mode.as_str().to_owned(), until };
            let modes_stay = self.manner.locking == Locking::OnAndModesStay;
            locks.put(&self.root, &format!("{bucket}/{key}"), wanted, modes_stay)?;
            Ok(S3Response::new(PutObjectRetentionOutput::default()))
        }

        async fn get_object_retention(
            &self,
            request: S3Request<GetObjectRetentionInput>,
        ) -> S3Result<S3Response<GetObjectRetentionOutput>> {
            let locks = self.asked()?;
            let object = format!("{}/{}", request.input.bucket, request.input.key);
            if !self.root.join(&object).is_file() {
                return Err(S3Error::new(S3ErrorCode::NoSuchKey));
            }
            let lock = locks.current.get(&object).ok_or_else(|| S3Error::new(S3ErrorCode::NoSuchObjectLockConfiguration))?;
            let until = s3s::dto::Timestamp::parse(TimestampFormat::DateTime, &lock.until.to_string());
            let retention = ObjectLockRetention {
                mode: Some(lock.mode.clone().into()),
                retain_until_date: Some(until.map_err(S3Error::internal_error)?),
            };
            Ok(S3Response::new(GetObjectRetentionOutput { retention: Some(retention) }))
        }

        async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
            let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
            let is_new = request.input.if_none_match.is_some() && self.root.join(format!("{bucket}/{key}")).exists();
            if !is_new {
                self.supersede(&bucket, &key)?;
            }
            S3::put_object(&self.files, request).await
        }

        async fn delete_object(
            &self,
            request: S3Request<DeleteObjectInput>,
        ) -> S3Result<S3Response<DeleteObjectOutput>> {
            self.supersede(&request.input.bucket, &request.input.key)?;
            S3::delete_object(&self.files, request).await
        }

        async fn delete_objects(
            &self,
            request: S3Request<DeleteObjectsInput>,
        ) -> S3Result<S3Response<DeleteObjectsOutput>> {
            for object in &request.input.delete.objects {
                self.supersede(&request.input.bucket, &object.key)?;
            }
            S3::delete_objects(&self.files, request).await
        }
    }
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
    copy_object(CopyObjectInput) -> CopyObjectOutput;
    create_bucket(CreateBucketInput) -> CreateBucketOutput;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
    get_object(GetObjectInput) -> GetObjectOutput;
    head_bucket(HeadBucketInput) -> HeadBucketOutput;
    head_object(HeadObjectInput) -> HeadObjectOutput;
    list_buckets(ListBucketsInput) -> ListBucketsOutput;
    list_objects(ListObjectsInput) -> ListObjectsOutput;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
    list_parts(ListPartsInput) -> ListPartsOutput;
    upload_part(UploadPartInput) -> UploadPartOutput;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
}

/// As S3 demands it of each change of a lock, and that it is right: the signature has the same digest in another form.
fn has_checksum(request: &S3Request<PutObjectRetentionInput>) -> S3Result<()> {
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let digest = header("x-amz-content-sha256").unwrap_or_default();
    let digits = (0..digest.len()).step_by(2).map(|at| digest.get(at..at + 2));
    let digest: Option<Vec<u8>> = digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    match (header("x-amz-checksum-sha256"), digest) {
        (Some(checksum), Some(digest)) if checksum == STANDARD.encode(&digest) => Ok(()),
        (Some(_), _) => Err(S3Error::new(S3ErrorCode::BadDigest)),
        (None, _) => Err(S3Error::with_message(S3ErrorCode::InvalidRequest, "Content-MD5 or a checksum is required")),
    }
}

fn moment(timestamp: &s3s::dto::Timestamp) -> Option<Timestamp> {
    let mut text = Vec::new();
    timestamp.format(TimestampFormat::DateTime, &mut text).ok()?;
    std::str::from_utf8(&text).ok()?.parse().ok()
}

fn denied() -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied")
}

#[expect(clippy::disallowed_methods, reason = "files have the time of the real clock")]
fn now() -> Timestamp {
    Timestamp::now()
}
