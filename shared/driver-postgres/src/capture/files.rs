//! Lists the files of a data directory.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use driver_api::DriverError;
use jiff::Timestamp;

use super::tree::Attributes;
use crate::facts::Tablespace;
use crate::{io_error, selection};

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
