//! Reads the files of a data directory, in parallel.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use driver_api::{DriverError, queue};
use jiff::Timestamp;
use job_model::Progress;
use parking_lot::Mutex;

use super::Store;
use super::tree::Attributes;
use crate::facts::Tablespace;
use crate::page::PAGE_BYTES;
use crate::{io_error, selection};

/// Bytes read at once: whole chunks of every size.
const READ_BYTES: usize = 1 << 20;

/// A file that was listed.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// Below the data directory.
    pub(super) path: String,
    /// Where it really lies.
    pub(super) place: PathBuf,
    pub(super) bytes: u64,
}

/// A data directory's files and tablespaces.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<Listed>,
    pub(super) directories: Vec<(String, Attributes)>,
    pub(super) tablespaces: Vec<Tablespace>,
}

/// What is in a file, for a manifest.
#[derive(Clone, Debug)]
pub(super) struct ReadFile {
    pub(super) bytes: u64,
    pub(super) crc: u32,
    pub(super) mtime: Timestamp,
}

pub(crate) fn attributes(metadata: &Metadata) -> Attributes {
    let seconds = jiff::SignedDuration::new(metadata.mtime(), i32::try_from(metadata.mtime_nsec()).unwrap_or(0));
    Attributes {
        mode: metadata.mode(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: Timestamp::from_duration(seconds).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

/// Lists everything that belongs into a capture but what is in `pg_wal`, whose directories are listed.
pub(super) fn list(data: &Path) -> Result<Listing, DriverError> {
    let mut listing = Listing::default();
    walk(data, "", &mut listing)?;
    // The largest first, so that the last thread to end ends soon.
    listing.files.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    Ok(listing)
}

fn walk(place: &Path, path: &str, listing: &mut Listing) -> Result<(), DriverError> {
    let shown = || place.display().to_string();
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        // Relations and databases come and go; the log has what matters.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_empty() => return Ok(()),
        Err(error) => return Err(io_error("list", shown(), error)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| io_error("list", shown(), e))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        if selection::is_left_out(&path) {
            continue;
        }
        let mut place = entry.path();
        let mut metadata = match place.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error("look at", place.display().to_string(), error)),
        };
        if metadata.is_symlink() {
            match link(&path, &place, listing)? {
                Some(target) => place = target,
                None => continue,
            }
            metadata = place.metadata().map_err(|e| io_error("look at", place.display().to_string(), e))?;
        }
        if metadata.is_dir() {
            listing.directories.push((path.clone(), attributes(&metadata)));
            walk(&place, &path, listing)?;
        } else if metadata.is_file() && !path.starts_with("pg_wal/") {
            listing.files.push(Listed { path, place, bytes: metadata.len() });
        }
    }
    Ok(())
}

/// Where a link of the server's own leads: `pg_wal`, and tablespaces. All others are no part of the cluster.
fn link(path: &str, place: &Path, listing: &mut Listing) -> Result<Option<PathBuf>, DriverError> {
    let target = std::fs::read_link(place).map_err(|e| io_error("read the link", place.display().to_string(), e))?;
    if path == "pg_wal" {
        return Ok(Some(place.parent().unwrap_or(place).join(target)));
    }
    let Some(oid) = path.strip_prefix("pg_tblspc/").and_then(|oid| oid.parse().ok()) else {
        tracing::debug!(path, "a link that is no part of the cluster is left out");
        return Ok(None);
    };
    if !target.is_dir() {
        return Err(DriverError::Service {
            code: job_model::FailureCode::ServerNotReady,
            problem: format!(
                "tablespace {oid} should lie in `{}` and that is no directory; mount it again, or drop the tablespace",
                target.display()
            ),
            source: None,
        });
    }
    listing.tablespaces.push(Tablespace { oid, location: target.display().to_string() });
    Ok(Some(target))
}

/// Reads and stores files; gives back what was in each that was still there. `is_live` is for a server that runs: there
/// a file may be gone by now, and a page that does not add up is read again.
pub(super) fn read(
    store: &Store<'_>,
    files: &[Listed],
    is_live: bool,
) -> Result<BTreeMap<String, ReadFile>, DriverError> {
    let done = Mutex::new(BTreeMap::new());
    queue::for_each(store.request.parallelism, store.request.control, files, |listed| {
        if let Some(read) = read_one(store, listed, is_live)? {
            done.lock().insert(listed.path.clone(), read);
        }
        Ok(())
    })?;
    Ok(done.into_inner())
}

fn read_one(store: &Store<'_>, listed: &Listed, is_live: bool) -> Result<Option<ReadFile>, DriverError> {
    let failed = |error| io_error("read", listed.place.display().to_string(), error);
    let mut file = match File::open(&listed.place) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_live => {
            store.request.control.advance(Progress { bytes_done: 0, ..Progress::default() });
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    let again = file.try_clone().map_err(failed)?;
    let read_again = |_: &str, page: u32| {
        let mut bytes = vec![0; PAGE_BYTES];
        let offset = u64::from(page) * PAGE_BYTES as u64;
        again.read_exact_at(&mut bytes, offset).ok().map(|()| bytes)
    };
    let chunk_bytes = selection::chunk_bytes(&listed.path, listed.bytes);
    let (mut content, mut bytes, mut crc) = (Vec::new(), 0, 0);
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(listed.bytes).unwrap_or(READ_BYTES).max(PAGE_BYTES))];
    // Whole chunks at any size of buffer.
    let step = buffer.len().next_multiple_of(chunk_bytes);
    buffer.resize(step, 0);
    loop {
        let left = listed.bytes.saturating_sub(bytes).max(PAGE_BYTES as u64);
        store.pace.wait(left.min(step as u64), store.request.control)?;
        let filled = fill(&mut file, &mut buffer).map_err(failed)?;
        if filled == 0 {
            break;
        }
        let piece = &buffer[..filled];
        content.extend(store.piece(&listed.path, bytes, piece, chunk_bytes, &read_again)?);
        crc = crc32c::crc32c_append(crc, piece);
        bytes += filled as u64;
        if filled < step {
            break;
        }
    }
    let attributes = attributes(&metadata);
    store.file(&listed.path, content, bytes, attributes);
    Ok(Some(ReadFile { bytes, crc, mtime: attributes.mtime }))
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
