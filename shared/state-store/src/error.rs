//! What can go wrong, one enum per boundary.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A failure of the database below the store.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The file system said no.
    #[error("cannot {step}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The database answered with an error of its own.
    #[error("the database failed to {step}")]
    Database {
        /// What was tried.
        step: &'static str,
        /// What it said.
        #[source]
        source: sled::Error,
    },
    /// The database panicked.
    #[error("the database panicked while trying to {step}: {message}")]
    Panicked {
        /// What was tried.
        step: &'static str,
        /// The panic's message.
        message: String,
    },
}

/// Why the store did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A commit or a barrier failed; nothing more is acknowledged.
    #[error("state `{store}` can no longer be made durable; mend the disk, then restart the service")]
    Failed {
        /// The directory, or `in memory`.
        store: String,
        /// The first failure.
        #[source]
        source: Arc<BackendError>,
    },
    /// A row cannot be read.
    #[error("table `{table}` cannot be read")]
    Read {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: Arc<BackendError>,
    },
    /// A row is not what was written.
    #[error("row `{key}` of table `{table}` is damaged: {problem}; restart the service to restore the newest export")]
    Damaged {
        /// The table.
        table: String,
        /// The key, escaped.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An intact row does not fit its type.
    #[error(
        "row `{key}` of table `{table}`, version {version}, does not fit its type: {problem}; run the version of holdfast that wrote it"
    )]
    Decode {
        /// The table.
        table: String,
        /// The key, escaped.
        key: String,
        /// Version of the row.
        version: u8,
        /// What does not fit.
        problem: String,
    },
    /// A value cannot be written as JSON.
    #[error("row `{key}` for table `{table}` cannot be encoded")]
    Encode {
        /// The table.
        table: String,
        /// The key, escaped.
        key: String,
        /// Why.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// A row is too large.
    #[error(
        "row `{key}` for table `{table}` has {bytes} bytes, at most {limit} are stored; keep bulk data in the vault"
    )]
    TooLarge {
        /// The table.
        table: String,
        /// The key, escaped.
        key: String,
        /// Its size, encoded.
        bytes: usize,
        /// [`crate::ROW_BYTES_MAX`].
        limit: usize,
    },
    /// A key is empty or too long.
    #[error("a key for table `{table}` has {bytes} bytes; use 1 to {limit}")]
    KeySize {
        /// The table.
        table: String,
        /// Its size.
        bytes: usize,
        /// [`crate::KEY_BYTES_MAX`].
        limit: usize,
    },
    /// A table name that the store keeps for itself or cannot store.
    #[error("`{table}` is no table name; use lower-case letters, digits and `-`, beginning with a letter")]
    TableName {
        /// The name.
        table: String,
    },
    /// The store was closed.
    #[error("state `{store}` is closed; the service is stopping")]
    Closed {
        /// The directory, or `in memory`.
        store: String,
    },
}

/// Why a transaction changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum TransactError<E> {
    /// The closure said no.
    #[error(transparent)]
    Refused(E),
    /// The store could not do it. Whether it is durable is unknown when the store failed after the commit.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this one, has it.
    #[error("state directory `{}` is in use by another process; stop that one, or give this one a `state_dir` of its own", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The file system said no.
    #[error("cannot {step} `{}`; check that it is on a local disk with free space and belongs to this user", path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Opening made no progress.
    #[error("opening state directory `{}` made no progress for {} s; check the disk, or move the directory away to start from the newest export", dir.display(), waited.as_secs())]
    Stalled {
        /// The directory.
        dir: PathBuf,
        /// How long it was watched.
        waited: Duration,
    },
    /// What was created or restored a moment ago cannot be opened.
    #[error("state directory `{}` is unusable right after it was made: {problem}; check the disk", dir.display())]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The directory was written by a newer version.
    #[error("state directory `{}` has format {found}, this version knows {known}; run the version that wrote it", dir.display())]
    Format {
        /// The directory.
        dir: PathBuf,
        /// Format found.
        found: u64,
        /// Newest format known.
        known: u64,
    },
    /// No database of this kind is here.
    #[error("`{}` holds files but no state of holdfast; give an empty or missing directory", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
}

/// Why an export was not made.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file system said no.
    #[error("cannot {step} `{}`", path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A store in memory has nowhere to export to.
    #[error("a store in memory has no export directory; open it with a directory")]
    NoDirectory,
}

/// Why an export was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file system said no.
    #[error("cannot {step} `{}`", path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The file is no export, cut or changed.
    #[error("`{}` is not a whole export: {problem}; take an older one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is state already.
    #[error("`{}` holds state already; move it away first", dir.display())]
    Occupied {
        /// The directory.
        dir: PathBuf,
    },
    /// The target cannot be opened.
    #[error("cannot prepare the target")]
    Open(#[source] Box<OpenError>),
    /// The database failed.
    #[error("cannot write the rows of `{}`", path.display())]
    Backend {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BackendError,
    },
}
