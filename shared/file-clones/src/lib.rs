//! Instants of files on file systems that share extents (XFS with reflink, btrfs), and what differs between two of them.
//!
//! # Why equal extents are equal data
//!
//! A clone shares its extents with the file it was made of. While it exists, none of them can be freed or overwritten in
//! place: whoever writes the file gets new extents. Two clones that have the same physical extent at the same offset have
//! the same data there. The opposite does not hold (a balance, a defragmentation or a deduplication moves data without
//! changing it), so that [`changed`] may name more than what changed, never less.
//!
//! Extents whose place the kernel does not tell or does not tell exactly (not allocated yet, inline, encoded as with
//! compression or encryption) are always different. Extents that are reserved and never written are zeros, as holes are.
//! The older file is looked at before the newer one and once more after it: extents that are moved in between could
//! otherwise come to lie where the other file's were a moment ago.
//!
//! # Where clones lie
//!
//! On the same file system, in a directory that only the worker's user may enter: see [`place`].
//!
//! # Trees
//!
//! Of a btrfs subvolume there is an instant of the whole tree: see [`snapshot`]. What was said about clones holds for the
//! files in it.

mod clone;
mod compare;
mod extents;
mod identity;
mod page_cache;
mod subvolume;

pub use clone::{CLONES_DIRECTORY, clone_file, free_percent, make_directory, place, remove, remove_directory};
pub use compare::{Changes, changed};
pub use extents::exclusive_bytes;
pub use identity::Identity;
pub use page_cache::forget;
pub use subvolume::{
    ABSENT_SUBVOLUME_INODE, is_subvolume, may_share_extents, open_below, places, remove_snapshot, snapshot,
};

/// Why there is no clone or no comparison.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloneError {
    /// The file system cannot do it; nothing is wrong.
    #[error("the file system of `{path}` shares no extents")]
    Unsupported {
        /// What was to be cloned.
        path: String,
    },
    /// The directory for clones is not one that can be trusted.
    #[error("`{path}` cannot hold clones: {problem}")]
    Directory {
        /// The directory.
        path: String,
        /// What is wrong and how to mend it.
        problem: &'static str,
    },
    /// Extents were moved each time they were looked at.
    #[error("the extents of `{path}` moved while they were compared; is it being balanced or defragmented?")]
    Unsettled {
        /// Which file.
        path: String,
    },
    /// The operating system refused or failed.
    #[error("{action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl CloneError {
    fn io(action: &'static str, path: &std::path::Path, source: impl Into<std::io::Error>) -> Self {
        Self::Io { action, path: path.display().to_string(), source: source.into() }
    }
}
