//! Chunk, deduplicate, compress, encrypt, pack, index, read, copy and check vaults.
//!
//! A vault is a restic repository of format version 2 in a directory (`file://`), in an object store (`s3://` and what
//! else `object_store` knows by URL) or, for tests, in this process (`memory://name`). This crate knows stores, locks and
//! the order in which things become durable; the bytes are `vault-format`'s, and what a snapshot means is the drivers'.
//! All calls block and bring their own threads.
//!
//! # What survives
//!
//! A snapshot is written last: packs, barrier, index, barrier, snapshot, barrier. In a directory files appear by rename
//! and a barrier is `syncfs`; in an object store an upload that is acknowledged is durable. Whatever a crash cuts short
//! leaves packs that nobody refers to (and, in a directory, files in `tmp`, which go a day later); when their index was written, which happens at
//! least every 256 packs or 10 minutes, the next attempt uses them instead of sending them again.
//!
//! A blob is taken for known only if its pack is in the store with the length that its blobs make, so what is lost is
//! stored anew as soon as a source has it. Every blob that is read is verified against its id. A damaged index or
//! snapshot file is reported and passed over; the packs that only a damaged index names are found by their own headers.
//!
//! # Memory
//!
//! | what | bytes |
//! |---|---|
//! | index of an open vault | 48 for each blob, about 80 for each pack; twice as much for a moment while it is loaded |
//! | blobs that a writer stores | about 80 for each, until it ends |
//! | a writer | 5 packs of 16 to 24 MiB: two that are filled, two that are sent, one that waits |
//! | each thread that cuts content | 128 KiB for small files, up to 12 MiB for large ones, and a chunk of at most 8 MiB, compressed and sealed |
//! | each thread of a fetch or a copy | one range of at most 8 MiB (or one blob) and one blob |
//! | trees that a reader keeps | those of 16 MiB of JSON |
//! | a fetch | 100 for each span that is asked for |
//! | a copy | 33 for each blob of the snapshot, and 64 for each that is transferred |
//! | a check | up to 180 for each blob in the index; with reading, one pack for each of at most 4 threads |
//!
//! # Which operations go together
//!
//! Every operation but listing holds a restic lock that is not exclusive, renews it every 5 minutes and commits nothing
//! once it could not for 25. A lock of a process of this machine that is dead, or older than 30 minutes, is removed.
//!
//! | | capture, copy into | restore, copy from | check | forget | restic `prune`, `forget` |
//! |---|---|---|---|---|---|
//! | **capture, copy into** | safe: files are only added, under names that are their digests; both may store the same blob once each | safe: a reader knows the index of when it began, and nothing is removed | safe: what has no index yet counts as unreferenced, not as damage | safe: no data is removed, so a parent's blobs stay | kept apart by the locks |
//! | **restore, copy from** | | safe: both only read | safe | safe: a snapshot that is being read is in memory | kept apart by the locks |
//! | **check** | | | safe: both only read | safe: a snapshot that goes meanwhile is passed over | kept apart by the locks |
//! | **forget** | | | | safe: removing what is gone is no error | kept apart by the locks |
//!
//! Removing data that no snapshot needs is left to `restic prune` for now.

mod check;
mod copy;
mod description;
mod error;
mod index;
mod locks;
mod profiles;
mod ranges;
mod reader;
mod store;
mod surroundings;
mod vault;
mod writer;

pub use check::{CheckFinding, CheckFindingKind, CheckOptions, CheckReport};
pub use copy::{Copied, CopyRequest, copy_snapshot};
pub use description::{DESCRIPTION_SCHEMA, RecoveryPointDescription, read_description, snapshot_root};
pub use error::VaultError;
pub use profiles::{KeyProfile, Profiles, StoreProfile};
pub use reader::Reader;
pub use store::StoreError;
pub use surroundings::Surroundings;
pub use vault::{DamagedFile, SnapshotListing, SnapshotSummary, Vault, recovery_point_tag};
pub use writer::{Committed, SnapshotInput, WriteStats, Writer};
