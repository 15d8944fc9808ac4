//! Where the files of a repository lie: a directory, a bucket, or memory for tests.

mod local;
mod object_lock;
mod remote;

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use job_model::FailureCode;
use url::Url;

pub(crate) use self::object_lock::ObjectLock;
use crate::error::chain;
use crate::profiles::{ObjectLockUse, StoreProfile};
use crate::{Profiles, VaultError};

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No such file.
    #[error("`{path}` is not in the store")]
    NotFound {
        /// Path in the repository.
        path: String,
    },
    /// The file is shorter than it must be.
    #[error("`{path}` ends before byte {needed}")]
    Short {
        /// Path in the repository.
        path: String,
        /// Bytes it must have.
        needed: u64,
    },
    /// The file is longer than is accepted.
    #[error("`{path}` has {found} bytes, more than the {limit} that are accepted")]
    TooLarge {
        /// Path in the repository.
        path: String,
        /// Bytes it has.
        found: u64,
        /// Most that are accepted.
        limit: u64,
    },
    /// The operating system refused or failed.
    #[error("{action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The answer.
        #[source]
        source: io::Error,
    },
    /// The remote store refused or failed, after repeated tries.
    #[error("{action} `{path}`")]
    Remote {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The answer.
        #[source]
        source: Box<object_store::Error>,
    },
    /// The store does not let us lock a file against removal, or say whether it locks.
    #[error("the store refuses to {action} `{path}`: {problem}")]
    LockRefused {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The store's answer, and how to mend it.
        problem: String,
    },
    /// Locking a file against removal failed, after repeated tries where those could help.
    #[error("{action} `{path}` with the store's object lock: {problem}")]
    LockFailed {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The answer, or why there is none.
        problem: String,
    },
    /// The threads that talk to remote stores could not be started or died.
    #[error("remote stores cannot be reached from this process: {problem}")]
    Runtime {
        /// Why.
        problem: String,
    },
}

impl StoreError {
    /// Its code.
    #[must_use]
    pub fn failure_code(&self) -> FailureCode {
        match self {
            Self::NotFound { .. } | Self::Short { .. } | Self::TooLarge { .. } => FailureCode::VaultDamaged,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureCode::NoSpace,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FailureCode::PermissionDenied,
                _ => FailureCode::VaultUnreachable,
            },
            Self::Remote { source, .. } => match **source {
                object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                    FailureCode::PermissionDenied
                }
                _ if is_refused(source.as_ref()) => FailureCode::PermissionDenied,
                _ => FailureCode::VaultUnreachable,
            },
            Self::LockRefused { .. } => FailureCode::PermissionDenied,
            Self::LockFailed { .. } => FailureCode::VaultUnreachable,
            Self::Runtime { .. } => FailureCode::Internal,
        }
    }

    /// With what was tried.
    pub(crate) fn when(self, action: impl Into<String>) -> VaultError {
        VaultError::Store { action: action.into(), source: self }
    }
}

/// Whether the store answered that the caller may not. `object_store` tells so only of single objects; of a listing it
/// keeps the answer's status as text.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let text = chain(error);
    ["status code: 401", "status code: 403"].iter().any(|status| text.contains(status))
}

/// A file in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name without directories.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// When it was written, by the store's clock.
    pub(crate) modified: Timestamp,
}

/// The few operations a repository needs. Paths are relative and use `/`.
pub(crate) trait Store: Send + Sync + fmt::Debug {
    /// Writes a whole file; it is seen whole or not at all. Durable only after [`Store::settle`] or [`Store::barrier`]: a
    /// power cut before it may leave no file, and of a pack a part.
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError>;

    /// Writes a whole file that survives a power cut when this returns, without waiting for anything else.
    fn put_durable(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Like `put`, but false, with nothing changed, when the file is there already. Where the store cannot do both in
    /// one step there is a gap between them.
    fn put_new(&self, path: &str, bytes: Bytes) -> Result<bool, StoreError>;

    /// Reads a whole file of at most `limit` bytes.
    fn get(&self, path: &str, limit: u64) -> Result<Vec<u8>, StoreError>;

    /// Reads exactly this range.
    fn get_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, StoreError>;

    /// Like `get_range`, into a buffer that is used again and again; it has exactly the range afterwards.
    fn get_range_into(&self, path: &str, offset: u64, length: usize, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        *buffer = self.get_range(path, offset, length)?;
        Ok(())
    }

    /// Whether a request costs no more than the bytes it brings: then little is read at once, so that it is still in the
    /// processor's cache when it is decrypted.
    fn is_near(&self) -> bool {
        false
    }

    /// All files below a directory, in no order; none when the directory is not there.
    fn list(&self, directory: &str) -> Result<Vec<Listed>, StoreError>;

    /// Names at the top of the repository, directories included.
    fn top_level(&self) -> Result<Vec<String>, StoreError>;

    /// Removes a file; false when it was not there.
    fn delete(&self, path: &str) -> Result<bool, StoreError>;

    /// Makes the directories of a new repository, where the store has such.
    fn prepare(&self) -> Result<(), StoreError>;

    /// Removes what processes that were killed left half written, as far as it was written before that instant.
    fn remove_unfinished(&self, before: Timestamp) -> Result<(), StoreError>;

    /// Returns when everything that was written and removed through this store before it survives a power cut, and every
    /// index file that can be seen, whoever wrote it. Others who write to the same disk do not wait for it longer
    /// than they must.
    fn settle(&self) -> Result<(), StoreError> {
        self.barrier()
    }

    /// Its own lock on files, where it may have one that is to be used.
    fn object_lock(&self) -> Option<&dyn ObjectLock> {
        None
    }

    /// Returns when everything written before it survives a power cut, whoever wrote it.
    fn barrier(&self) -> Result<(), StoreError>;
}

/// Finds the store of a location.
pub(crate) fn open_store(location: &str, profile: &str, profiles: &Profiles) -> Result<Arc<dyn Store>, VaultError> {
    let bad = |problem: String| VaultError::BadLocation { location: location.to_owned(), problem };
    let url = Url::parse(location)
        .map_err(|error| bad(format!("{error}; write it like `file:///srv/vault` or `s3://bucket/prefix`")))?;
    if url.username() != "" || url.password().is_some() {
        return Err(VaultError::BadLocation {
            location: format!("{}://…", url.scheme()),
            problem: "it has credentials in it; put them into the store profile".to_owned(),
        });
    }
    match url.scheme() {
        "file" => {
            let path = url.to_file_path().map_err(|()| bad("it has a host; write `file:///path`".to_owned()))?;
            Ok(Arc::new(local::LocalStore::new(path)))
        }
        "memory" => match url.host_str() {
            Some(name) => Ok(Arc::new(remote::RemoteStore::in_memory(name))),
            None => Err(bad("it has no name; write `memory://name`".to_owned())),
        },
        _ => {
            let default = StoreProfile::default();
            let store = profiles.stores.get(profile).unwrap_or(&default);
            let retry_for = store.retry_for().map_err(bad)?;
            let lock_as = (store.object_lock == ObjectLockUse::Auto).then_some(profile);
            remote::RemoteStore::by_url(&url, store.options(profile)?, retry_for, lock_as)
                .map(|store| Arc::new(store) as Arc<dyn Store>)
                .map_err(bad)
        }
    }
}
