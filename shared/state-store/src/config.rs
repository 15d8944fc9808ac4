//! Where the state lies and how it is held.

use std::path::{Path, PathBuf};

/// Page cache that [`StoreConfig::new`] gives the database, in bytes: 64 MiB. sled's own default is 1 GiB.
const CACHE_BYTES: u64 = 64 << 20;

/// Settings of one store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The directory of the database. It is created when missing, and renamed when damaged, so it must not be a mount
    /// point: use a directory inside the mounted volume, on a local disk.
    pub dir: PathBuf,
    /// Where exports go; `<dir>-exports` beside the directory unless given.
    pub export_dir: Option<PathBuf>,
    /// Page cache in bytes.
    pub cache_bytes: u64,
    /// What happens when a commit or a barrier fails.
    pub on_fatal: OnFatal,
}

/// What happens when a commit or a barrier fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFatal {
    /// Log it and abort the process: nothing in it may act on state that is not durable.
    #[default]
    Abort,
    /// Answer every caller with the error and resolve [`crate::StateStore::failed`]; for tests that look at the failure.
    Report,
}

impl StoreConfig {
    /// The usual settings for a directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), export_dir: None, cache_bytes: CACHE_BYTES, on_fatal: OnFatal::Abort }
    }

    /// Where exports go.
    #[must_use]
    pub fn exports(&self) -> PathBuf {
        self.export_dir.clone().unwrap_or_else(|| beside(&self.dir, "-exports"))
    }
}

/// `<dir><suffix>`: a sibling of the directory.
pub(crate) fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    dir.with_file_name(name)
}
