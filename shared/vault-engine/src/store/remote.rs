//! A repository in an object store, reached by blocking calls.
//!
//! `object_store` repeats requests that failed for a passing reason itself, with growing pauses for up to three minutes
//! where the profile says nothing; what comes out of it here is final. An object is durable when its upload is acknowledged.
//!
//! # Writes on a condition
//!
//! Some servers take the header that says "only when there is none yet" and write all the same. So the first such write
//! through a store is preceded by two to a throw-away object: a server that lets the second pass has no conditions, and is
//! asked first from then on whether the object is there, with a gap between question and write.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    ClientConfigKey, ClientOptions, Error, ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutMode, PutPayload,
    RetryConfig, parse_url_opts,
};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::object_lock::BucketLock;
use super::{Listed, ObjectLock, Store, StoreError};

/// Written twice to learn whether conditions are kept; where repositories put what is not whole yet.
const PROBE: &str = "tmp/conditional-write";

/// See the module.
pub(super) struct RemoteStore {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Whether it writes on a condition, once that is known.
    keeps_conditions: OnceLock<bool>,
    lock: Option<BucketLock>,
}

impl RemoteStore {
    /// Any location `object_store` knows.
    ///
    /// With `lock_as`, the name of its store profile, a bucket's object lock is there to be used.
    pub(super) fn by_url(
        url: &Url,
        options: Vec<(String, String)>,
        retry_for: Duration,
        lock_as: Option<&str>,
    ) -> Result<Self, String> {
        // A client may want to spawn while it is made.
        let _inside = runtime().map_err(|error| error.to_string())?.enter();
        connect(url, options, retry_for, lock_as).map_err(|error| crate::error::chain(&error))
    }

    /// Stores of this process, by name; they end with it.
    pub(super) fn in_memory(name: &str) -> Self {
        static STORES: Mutex<BTreeMap<String, Arc<InMemory>>> = Mutex::new(BTreeMap::new());
        let objects = Arc::clone(STORES.lock().entry(name.to_owned()).or_default());
        Self { objects, prefix: Path::default(), keeps_conditions: OnceLock::new(), lock: None }
    }

    fn at(&self, path: &str) -> Path {
        path.split('/').fold(self.prefix.clone(), |full, part| full.join(part))
    }

    fn put_as(&self, path: &str, bytes: Bytes, mode: PutMode) -> Result<bool, StoreError> {
        let (objects, at) = (Arc::clone(&self.objects), self.at(path));
        let answer = block_on(async move { objects.put_opts(&at, PutPayload::from_bytes(bytes), mode.into()).await })?;
        match answer {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(failed("upload", path, error)),
        }
    }

    /// Learned once by trying. Others may try at the same time: an object that is there already was refused by a condition.
    fn keeps_conditions(&self) -> Result<bool, StoreError> {
        if let Some(known) = self.keeps_conditions.get() {
            return Ok(*known);
        }
        let try_once = || match self.put_as(PROBE, Bytes::new(), PutMode::Create) {
            Ok(written) => Ok(Tried { written, refused: !written }),
            Err(StoreError::Remote { source, .. })
                if matches!(*source, Error::NotImplemented { .. } | Error::NotSupported { .. }) =>
            {
                Ok(Tried { written: false, refused: false })
            }
            Err(error) => Err(error),
        };
        let first = try_once()?;
        let kept = first.refused || (first.written && try_once()?.refused);
        if first.written {
            self.delete(PROBE)?;
        }
        if !kept {
            tracing::warn!(store = %self.objects, "the store writes without regard to conditions; it is asked before each instead");
        }
        Ok(*self.keeps_conditions.get_or_init(|| kept))
    }

    fn exists(&self, path: &str) -> Result<bool, StoreError> {
        let (objects, at) = (Arc::clone(&self.objects), self.at(path));
        match block_on(async move { objects.head(&at).await })? {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("look at", path, error)),
        }
    }
}

/// What came of a write on a condition.
struct Tried {
    written: bool,
    /// The condition did not hold.
    refused: bool,
}

impl Store for RemoteStore {
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.put_as(path, bytes, PutMode::Overwrite).map(drop)
    }

    /// An upload that is acknowledged is durable.
    fn put_durable(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.put(path, Bytes::copy_from_slice(bytes))
    }

    fn put_new(&self, path: &str, bytes: Bytes) -> Result<bool, StoreError> {
        if self.keeps_conditions()? {
            return self.put_as(path, bytes, PutMode::Create);
        }
        if self.exists(path)? {
            return Ok(false);
        }
        self.put(path, bytes.clone())?;
        // Whoever wrote at the same time and later has it.
        match self.get(path, bytes.len() as u64) {
            Err(StoreError::TooLarge { .. }) => Ok(false),
            found => Ok(found? == bytes),
        }
    }

    fn get(&self, path: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let (objects, at, named) = (Arc::clone(&self.objects), self.at(path), path.to_owned());
        block_on(async move {
            let answer = objects.get(&at).await.map_err(|error| failed("download", &named, error))?;
            if answer.meta.size > limit {
                return Err(StoreError::TooLarge { path: named, found: answer.meta.size, limit });
            }
            let bytes = answer.bytes().await.map_err(|error| failed("download", &named, error))?;
            Ok(bytes.into())
        })?
    }

    fn get_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        let (objects, at) = (Arc::clone(&self.objects), self.at(path));
        let range = offset..offset + length as u64;
        let bytes = block_on(async move { objects.get_range(&at, range).await })?
            .map_err(|error| failed("download", path, error))?;
        if bytes.len() == length {
            Ok(bytes.into())
        } else {
            Err(StoreError::Short { path: path.to_owned(), needed: offset + length as u64 })
        }
    }

    fn list(&self, directory: &str) -> Result<Vec<Listed>, StoreError> {
        let (objects, at) = (Arc::clone(&self.objects), self.at(directory));
        let metadata = block_on(async move { objects.list(Some(&at)).try_collect::<Vec<_>>().await })?
            .map_err(|error| failed("list", directory, error))?;
        let named = metadata.into_iter().filter_map(|object| {
            let modified = Timestamp::from_millisecond(object.last_modified.timestamp_millis());
            Some(Listed {
                name: object.location.filename()?.to_owned(),
                size: object.size,
                // One that cannot be told makes it look new, which keeps it.
                modified: modified.unwrap_or(Timestamp::MAX),
            })
        });
        Ok(named.collect())
    }

    fn top_level(&self) -> Result<Vec<String>, StoreError> {
        let (objects, at) = (Arc::clone(&self.objects), self.prefix.clone());
        let found = block_on(async move { objects.list_with_delimiter(Some(&at)).await })?
            .map_err(|error| failed("list", "/", error))?;
        let files = found.objects.iter().map(|object| &object.location);
        Ok(files.chain(&found.common_prefixes).filter_map(|path| path.filename()).map(str::to_owned).collect())
    }

    fn delete(&self, path: &str) -> Result<bool, StoreError> {
        let (objects, at) = (Arc::clone(&self.objects), self.at(path));
        // Many stores acknowledge the removal of what is not there.
        let there = self.exists(path)?;
        match block_on(async move { objects.delete(&at).await })? {
            Ok(()) => Ok(there),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("remove", path, error)),
        }
    }

    fn prepare(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// An upload that is cut short leaves nothing that has a name.
    fn remove_unfinished(&self, _before: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    fn object_lock(&self) -> Option<&dyn ObjectLock> {
        self.lock.as_ref().map(|lock| lock as &dyn ObjectLock)
    }

    fn barrier(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteStore({} {})", self.objects, self.prefix)
    }
}

/// As `object_store::parse_url_opts`, which has no say in how long requests are repeated. Options that a store does not
/// know are passed over there as well.
fn connect(
    url: &Url,
    options: Vec<(String, String)>,
    retry_for: Duration,
    lock_as: Option<&str>,
) -> Result<RemoteStore, object_store::Error> {
    let retry = RetryConfig { retry_timeout: retry_for, ..RetryConfig::default() };
    let (scheme, path) = ObjectStoreScheme::parse(url)?;
    let prefix = Path::parse(path)?;
    let mut lock = None;
    macro_rules! build {
        ($builder:ident) => {{
            let mut builder = $builder::new().with_url(url.as_str()).with_retry(retry);
            for (name, value) in options {
                if let Ok(key) = name.parse() {
                    builder = builder.with_config(key, value);
                }
            }
            Arc::new(builder.build()?)
        }};
    }
    let objects: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::AmazonS3 => {
            let client = lock_as.map(|_| client(&options)).transpose()?;
            let endpoint = options.iter().find(|(name, _)| name == "endpoint").map_or("", |(_, value)| value.as_str());
            let place = format!("{} {url}", endpoint.trim_end_matches('/'));
            let bucket = build!(AmazonS3Builder);
            lock = lock_as.zip(client).map(|(profile, client)| {
                BucketLock::new(Arc::clone(&bucket), client, (prefix.clone(), place), profile, retry_for)
            });
            bucket
        }
        ObjectStoreScheme::GoogleCloudStorage => build!(GoogleCloudStorageBuilder),
        ObjectStoreScheme::MicrosoftAzure => build!(MicrosoftAzureBuilder),
        _ => parse_url_opts(url, options)?.0.into(),
    };
    Ok(RemoteStore { objects, prefix, keeps_conditions: OnceLock::new(), lock })
}

/// A client for requests that `object_store` has no calls for, with the same settings.
fn client(options: &[(String, String)]) -> Result<HttpClient, object_store::Error> {
    let known = options.iter().filter_map(|(name, value)| Some((name.parse::<ClientConfigKey>().ok()?, value)));
    let settings = known.fold(ClientOptions::new(), |settings, (key, value)| settings.with_config(key, value));
    ReqwestConnector::default().connect(&settings)
}

fn failed(action: &'static str, path: &str, source: Error) -> StoreError {
    match source {
        Error::NotFound { .. } => StoreError::NotFound { path: path.to_owned() },
        source => StoreError::Remote { action, path: path.to_owned(), source: Box::new(source) },
    }
}

/// Runs it on the engine's own threads while the caller waits; works on a thread of any other runtime too.
pub(super) fn block_on<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, StoreError> {
    let (answer, answered) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Nobody waits any more only when the waiting thread is gone.
        let _ = answer.send(work.await);
    });
    answered.recv().map_err(|_| StoreError::Runtime { problem: "a request died".to_owned() })
}

/// One for the process and never dropped, as a runtime must not be dropped on another runtime's thread.
fn runtime() -> Result<&'static Runtime, StoreError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        let built = Builder::new_multi_thread().worker_threads(2).thread_name("vault-store").enable_all().build();
        built.map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|problem| StoreError::Runtime { problem: problem.clone() })
}
