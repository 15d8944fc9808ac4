//! Which entries of a data directory belong into a physical capture, and how its files are cut: pure.
//!
//! The list is that of PostgreSQL's own base backup (`src/backend/backup/basebackup.c`): what it leaves out, a server
//! makes anew when it starts.

use driver_api::Chunking;

use crate::page::PAGE_BYTES;

/// Directories whose content is made anew; they themselves must be there or the server does not start.
const EMPTIED: &[&str] =
    &["pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"];

/// Files that belong to the running server or to another backup.
const LEFT_OUT: &[&str] = &[
    "backup_label",
    "backup_label.old",
    "backup_manifest",
    "current_logfiles.tmp",
    "postgresql.auto.conf.tmp",
    "postmaster.opts",
    "postmaster.pid",
    "tablespace_map",
];

/// Files that a restore adds to a data directory: which recovery point it is of, and the log of the server's first start.
pub(crate) const OURS: &[&str] = &["holdfast.restored", "holdfast-start.log"];

/// Segments of the log have this many characters in their names.
const SEGMENT_NAME_CHARS: usize = 24;

/// Whether the entry at this path below the data directory is left out of a capture by the server's own rules. What is
/// in `pg_wal` is decided by whoever knows which segments are needed.
#[must_use]
pub fn is_left_out(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    if LEFT_OUT.contains(&path) || name.starts_with("pgsql_tmp") || name.starts_with("pg_internal.init") {
        return true;
    }
    // What a restore left while it was interrupted, and what it wrote of its own.
    if name.starts_with(".holdfast-") || OURS.contains(&path) {
        return true;
    }
    // Temporary relations: `t3_16384`, with forks and segments.
    if crate::page::relation_segment(path).is_none() && is_temporary_relation(path, name) {
        return true;
    }
    EMPTIED.iter().any(|directory| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')))
}

fn is_temporary_relation(path: &str, name: &str) -> bool {
    let in_database = path.starts_with("base/") || path.starts_with("pg_tblspc/");
    let digits_then_underscore = |rest: &str| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && rest.as_bytes().get(digits) == Some(&b'_')
    };
    in_database && name.strip_prefix('t').is_some_and(digits_then_underscore)
}

/// Whether a name is that of a segment of the log.
#[must_use]
pub fn is_segment(name: &str) -> bool {
    name.len() == SEGMENT_NAME_CHARS && name.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}

/// How a file is cut. Chunks are whole pages at their places, so that a changed page changes one chunk; larger files have
/// larger chunks, or a vault's index would grow with the square of nothing but patience. The log is never overwritten.
#[must_use]
pub fn chunk_bytes(path: &str, size: u64) -> usize {
    if path.starts_with("pg_wal/") {
        return 1 << 20;
    }
    match size {
        0..=0x00FF_FFFF => PAGE_BYTES,
        0x0100_0000..=0x07FF_FFFF => 2 * PAGE_BYTES,
        _ => 4 * PAGE_BYTES,
    }
}

/// [`chunk_bytes`] as a vault's writer takes it.
#[must_use]
pub fn chunking(path: &str, size: u64) -> Chunking {
    Chunking::Fixed(u32::try_from(chunk_bytes(path, size)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_makes_anew_is_left_out() {
        for path in [
            "postmaster.pid",
            "pg_notify/0000",
            "pg_replslot/slot/state",
            "base/pgsql_tmp",
            "base/5/pg_internal.init",
            "global/pg_internal.init.123",
            "base/5/t3_16384",
            "base/5/t3_16384_fsm.1",
            "pg_tblspc/1/PG_15_2/5/t12_99",
        ] {
            assert!(is_left_out(path), "{path}");
        }
        for path in [
            "pg_notify",
            "base/5/1259",
            "base/5/1259_vm",
            "global/pg_control",
            "pg_twophase/00000001",
            "pg_wal",
            "log/t1_x",
        ] {
            assert!(!is_left_out(path), "{path}");
        }
    }

    #[test]
    fn chunks_are_whole_pages() {
        for size in [0, 8192, 16 << 20, 128 << 20, 1 << 30] {
            assert_eq!(chunk_bytes("base/5/1", size) % PAGE_BYTES, 0);
        }
        assert_eq!(chunk_bytes("base/5/1", 8 << 20), PAGE_BYTES);
    }
}
