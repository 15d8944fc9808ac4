//! Chunk, deduplicate, compress, encrypt, pack, index, read, copy, check and prune vaults.
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
//! # Streams
//!
//! What a driver receives continuously is kept in `holdfast/streams`, where restic and rustic do not look, until
//! it is part of a snapshot: one sealed file for each piece, durable when it is acknowledged. The snapshot of a stream is
//! replaced by the next one, which holds all of it; a follower of a higher epoch is the only one that may replace or
//! remove.
//!
//! # Object lock
//!
//! Where a bucket of S3 locks objects, a recovery point that a vault's lock, a hold or a minimum retention protects locks what it
//! needs there before its commit is acknowledged, and so does a protection that is added for what it concerns. A lock is only ever prolonged. What
//! was set stands in `holdfast/retention`; a check looks at some of it in the store, and prolongs what ends too early. A prune locks what
//! it packed anew before the old packs leave the index. Pieces of streams are not locked.
//!
//! # Memory
//!
//! | what | bytes |
//! |---|---|
//! | index of an open vault | 48 for each blob, about 80 for each pack; twice as much for a moment while it is loaded |
//! | blobs that a writer stores | about 80 for each, until it ends |
//! | a writer | 5 packs of 16 to 24 MiB: two that are filled, two that are sent, one that waits |
//! | each thread that cuts content | 128 KiB for small files, up to 12 MiB for large ones, and room for one chunk of at most 8 MiB compressed |
//! | each thread of a fetch or a copy | one range of at most 4 MiB, of a vault in a directory 512 KiB (or one blob), and two blobs; a fetch has two threads for each processor, at most 8 |
//! | trees that a reader keeps | those of 4 MiB of JSON |
//! | a fetch | 100 for each span that is asked for |
//! | a copy | 33 for each blob of the snapshot, and 64 for each that is transferred |
//! | a check | up to 180 for each blob in the index; with reading, one pack for each of at most 4 threads, of a vault in a directory 512 KiB and two blobs |
//! | locking what is protected | about 100 for each pack that is locked, 60 for each tree that differs from the snapshot before, and 512 trees |
//! | a prune | 70 for each blob that snapshots need and 50 for each in the index; with packing anew also what a writer and a copy take |
//!
//! # Which operations go together
//!
//! Every operation but listing holds a restic lock that is not exclusive, renews it every 5 minutes and commits nothing
//! once it could not for 25, or once somebody removed it. A lock of a process of this machine that is dead is removed, and
//! one older than 30 minutes by the store's clock as well as by ours.
//!
//! A prune never removes what it has just found unused. It takes such packs out of the index, looks for snapshots and
//! locks that came meanwhile, and notes in `holdfast/marks/` which packs had no index then and who was working. A later run
//! removes the packs that are still in no index when the grace period is over by the store's clock and by ours, and when
//! all who worked at the mark have ended. A writer looks at the index before and after it has written its snapshot, and
//! names the packs again that it relied on. So of two that meet at least one sees the other. Where the one that should have
//! seen it died, the packs of a snapshot are in the store and in no index: a restore, a copy, a check, a repeated attempt and
//! a prune name them again, by the packs' own headers (`tests/vaults/unnamed.rs`).
//!
//! Each cell names what makes the pair safe and, after the arrow, the test in `tests/vaults` that shows it.
//!
//! | | capture, copy into | restore, copy from | check | forget | prune |
//! |---|---|---|---|---|---|
//! | **capture, copy into** | files are only added, under names that are their digests; both may store the same blob → `captures_forgets_and_prunes_in_a_heap_lose_nothing_that_was_committed` | a reader knows the index of when it began → `copies_go_on_beside_a_prune_of_either_vault` | what has no index yet is unreferenced, not damaged → `packs_of_an_attempt_that_died_are_no_damage_and_are_used_by_the_next_when_indexed` | no data is removed, so a parent's blobs stay → `an_unchanged_subtree_that_was_never_written_again_is_kept_too` | `a_writer_that_began_before_the_mark_keeps_what_it_relied_on`, `a_writer_that_begins_after_the_mark_relies_on_nothing_that_is_marked`, `packs_of_a_writer_that_works_are_not_taken_for_leftovers` |
//! | **restore, copy from** | | both only read → `copies_go_on_beside_a_prune_of_either_vault` | both only read → `a_check_beside_a_prune_finds_nothing` | what is read stays until its reader has ended → `a_restore_reads_to_its_end_what_is_forgotten_and_pruned_meanwhile` | the same |
//! | **check** | | | both only read → `a_check_beside_a_prune_finds_nothing` | a snapshot that goes meanwhile is passed over → `captures_forgets_and_prunes_in_a_heap_lose_nothing_that_was_committed` | new index files are there before the old ones go → `a_check_beside_a_prune_finds_nothing` |
//! | **forget** (also of what was moved) | | | | removing what is gone is no error → `a_forgotten_snapshot_is_gone_and_forgetting_it_again_is_no_error`, `a_moved_snapshot_goes_once_it_is_whole_in_the_other_repository` | needs are only ever overestimated → `captures_forgets_and_prunes_in_a_heap_lose_nothing_that_was_committed` |
//! | **prune** | | | | | the second one is refused → `of_two_prunes_one_waits_outside` |
//! | **restic backup** | both only add → `restic_does_not_prune_while_we_write` | as a capture | as a capture | as a capture | nothing leaves the index while its lock is there; when it comes at that very moment all is put back → `nothing_leaves_the_index_while_a_restic_works` |
//! | **restic prune, forget** | its lock is exclusive → `restic_does_not_prune_while_we_write`, `an_exclusive_lock_keeps_us_and_restic_out_and_says_whose_it_is` | the same | the same | the same | the same, and in turn → `restic_prunes_a_vault_with_marks_of_ours_and_we_go_on` |
//! | **rustic** (no locks) | both only add → `we_read_and_prune_what_rustic_wrote_and_pruned_in_turn_with_it` | as a capture | as a capture | as a capture | the grace period alone, as among its own; what it relied on comes back with the next run → `what_others_without_a_lock_relied_on_comes_back`, `rustic_and_we_prune_in_turn` |

mod check;
mod copy;
mod description;
mod documents;
mod error;
mod index;
mod index_files;
mod keep;
mod keys;
mod locks;
mod moved;
mod profiles;
mod prune;
mod ranges;
mod reader;
mod retention;
mod store;
mod stream;
mod surroundings;
#[cfg(test)]
#[path = "../tests/sweeps/sweeps.rs"]
mod sweeps;
mod vault;
mod writer;

pub use check::{CheckFinding, CheckFindingKind, CheckOptions, CheckReport, ScrubOptions, ScrubReport};
pub use copy::{Copied, CopyRequest, copy_snapshot};
pub use description::{DESCRIPTION_SCHEMA, RecoveryPointDescription, read_description, snapshot_root};
pub use error::VaultError;
pub use keep::{Hold, Keep, KeepEntry, KeepReason, VaultLockEntry};
pub use keys::KeyInfo;
pub use moved::MovedSnapshot;
pub use profiles::{KeyProfile, ObjectLockUse, Profiles, StoreProfile};
pub use prune::{
    PRUNE_SCHEMA, PlannedPack, PruneOptions, PrunePlan, PruneReport, RepackedPack, WaitingPack, WaitingReason,
};
pub use reader::Reader;
pub use retention::{RetentionReport, ShortLock};
pub use store::StoreError;
pub use stream::{Stream, StreamParts, StreamReader, StreamSubject, stream_base_tag};
pub use surroundings::Surroundings;
pub use vault::{DamagedFile, SnapshotListing, SnapshotSummary, Vault, recovery_point_tag};
pub use writer::{Committed, DamageMet, SnapshotInput, TouchedSnapshot, WriteStats, Writer};
