//! An S3 server over a directory, in this process: `s3s-fs` on loopback.

mod locking;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::S3Access;
use s3s::auth::SimpleAuth;
use s3s::dto::{ListObjectsInput, ListObjectsV2Input, PutObjectInput};
use s3s::service::S3ServiceBuilder;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use self::locking::{Buckets, Locks};
pub use self::locking::{Locking, ObjectLock};

/// In what a server differs from S3, or a bucket from the usual one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// It takes `If-None-Match` and overwrites all the same, as some servers do.
    pub ignores_conditions: bool,
    /// It refuses uploads without a checksum, as S3 does for a bucket that locks what it gets.
    pub demands_checksums: bool,
    /// Whether it locks objects.
    pub locking: Locking,
}

/// Something that happens once, before a listing of what has this prefix is answered.
type Interlude = (String, Box<dyn FnOnce() + Send>);

/// A running server; it ends with all its connections when this is dropped.
pub struct S3Store {
    address: SocketAddr,
    interlude: Arc<Mutex<Option<Interlude>>>,
    root: PathBuf,
    locks: Arc<Mutex<Locks>>,
    task: JoinHandle<()>,
}

impl S3Store {
    /// Serves the buckets (directories) below `root` to the holder of the key.
    ///
    /// # Errors
    /// When the directory or the address cannot be used.
    pub async fn start(root: &Path, listen: SocketAddr, access_key: &str, secret_key: &str) -> io::Result<Self> {
        Self::start_with(root, listen, [access_key, secret_key], Manner::default()).await
    }

    /// As [`S3Store::start`], with its own manner.
    ///
    /// # Errors
    /// When the directory or the address cannot be used.
    pub async fn start_with(
        root: &Path,
        listen: SocketAddr,
        [access_key, secret_key]: [&str; 2],
        manner: Manner,
    ) -> io::Result<Self> {
        let files = s3s_fs::FileSystem::new(root).map_err(|e| io::Error::other(format!("{e:?}")))?;
        let locks: Arc<Mutex<Locks>> = Arc::default();
        let mut service = S3ServiceBuilder::new(Buckets::new(files, root, manner, Arc::clone(&locks)));
        service.set_auth(SimpleAuth::from_single(access_key.to_owned(), secret_key.to_owned()));
        let interlude = Arc::default();
        service.set_access(OnlyTheKey { manner, interlude: Arc::clone(&interlude) });
        let service = service.build();
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let http = Builder::new(TokioExecutor::new());
            // They end with this task.
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let connection = http.serve_connection(TokioIo::new(socket), service.clone()).into_owned();
                // A client that goes away in the middle of a request is its own affair.
                connections.spawn(async move { drop(connection.await) });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, interlude, root: root.to_owned(), locks, task })
    }

    /// The locks on current versions, by `bucket/key`.
    #[must_use]
    pub fn locks(&self) -> BTreeMap<String, ObjectLock> {
        self.with_locks(|locks| locks.current().clone())
    }

    /// How many requests about object lock there were.
    #[must_use]
    pub fn lock_requests(&self) -> u64 {
        self.with_locks(|locks| locks.requests())
    }

    /// Grants so many more requests to lock an object, and refuses those that come then; none for no limit.
    pub fn grant_locks(&self, requests: Option<u64>) {
        self.with_locks(|locks| locks.grant(requests));
    }

    /// Answers so many more requests about object lock with `SlowDown`.
    pub fn slow_locks_down(&self, requests: u64) {
        self.with_locks(|locks| locks.fail(requests));
    }

    /// Sets or takes away the lock of `bucket/key`, as somebody can who may pass over locks.
    pub fn set_lock(&self, object: &str, lock: Option<ObjectLock>) {
        self.with_locks(|locks| locks.set(object, lock));
    }

    /// Deletes every object of every bucket, and for good what is not locked.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn empty(&self) -> io::Result<()> {
        self.with_locks(|locks| locks.empty(&self.root))
    }

    /// Brings back the newest locked version of what was deleted or overwritten.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn bring_back(&self) -> io::Result<()> {
        self.with_locks(|locks| locks.bring_back(&self.root))
    }

    fn with_locks<T>(&self, work: impl FnOnce(&mut Locks) -> T) -> T {
        work(&mut self.locks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has something happen, once, before the next listing of what has this prefix is answered: between two steps of a
    /// client that lists in between. It may use the server.
    pub fn before_listing(&self, prefix: &str, interlude: impl FnOnce() + Send + 'static) {
        *self.interlude.lock().unwrap_or_else(PoisonError::into_inner) = Some((prefix.to_owned(), Box::new(interlude)));
    }

    /// `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until the server ends by itself, which it does not.
    pub async fn serve(mut self) {
        // An aborted task is the only error there can be, and then there is nothing left to serve.
        drop((&mut self.task).await);
    }
}

/// Lets in whoever has the key, and takes an empty delimiter for none, as stores do and restic expects.
struct OnlyTheKey {
    manner: Manner,
    interlude: Arc<Mutex<Option<Interlude>>>,
}

impl OnlyTheKey {
    async fn interrupt(&self, prefix: Option<&str>) -> S3Result<()> {
        let taken = {
            let mut interlude = self.interlude.lock().unwrap_or_else(PoisonError::into_inner);
            interlude.take_if(|(wanted, _)| prefix.is_some_and(|prefix| prefix.starts_with(wanted.as_str())))
        };
        let Some((_, interlude)) = taken else { return Ok(()) };
        tokio::task::spawn_blocking(interlude).await.map_err(S3Error::internal_error)
    }
}

#[async_trait]
impl S3Access for OnlyTheKey {
    async fn list_objects(&self, request: &mut S3Request<ListObjectsInput>) -> S3Result<()> {
        request.input.delimiter.take_if(|delimiter| delimiter.is_empty());
        Ok(())
    }

    async fn list_objects_v2(&self, request: &mut S3Request<ListObjectsV2Input>) -> S3Result<()> {
        self.interrupt(request.input.prefix.as_deref()).await?;
        request.input.delimiter.take_if(|delimiter| delimiter.is_empty());
        Ok(())
    }

    async fn put_object(&self, request: &mut S3Request<PutObjectInput>) -> S3Result<()> {
        let input = &mut request.input;
        if self.manner.ignores_conditions {
            input.if_none_match = None;
        }
        if self.manner.demands_checksums && input.content_md5.is_none() && input.checksum_sha256.is_none() {
            let why = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock";
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, why));
        }
        Ok(())
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for S3Store {
    fn drop(&mut self) {
        self.task.abort();
    }
}
