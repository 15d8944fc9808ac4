//! A data directory at rest: `file:///var/lib/postgresql/15/main`.

use std::io;
use std::path::{Path, PathBuf};

use driver_api::{Capture, CaptureRequest, DriverError, Probe, Reading, file_path};
use job_model::{ChangeMethod, FailureCode, Progress};

use super::files::{self, Listed};
use super::{Store, manifest, read};
use crate::control_data::ControlData;
use crate::facts::{FORMAT, PhysicalFacts, Source};
use crate::page::PAGE_BYTES;
use crate::priority::Priority;
use crate::settings::PostgresSettings;
use crate::{io_error, selection, tool};

/// A data directory that may be captured.
struct AtRest {
    data: PathBuf,
    major_version: u32,
    control: ControlData,
}

pub(super) fn run(settings: &PostgresSettings, request: &CaptureRequest<'_>) -> Result<Capture, DriverError> {
    let at_rest = open(settings, request.location)?;
    let control = &at_rest.control;
    let mut listing = files::list(&at_rest.data)?;
    listing.files.extend(needed_log(&at_rest)?);
    request.control.advance(Progress {
        bytes_total: Some(listing.files.iter().map(|file| file.bytes).sum()),
        items_total: Some((listing.files.len() + listing.directories.len()) as u64),
        ..Progress::default()
    });
    let has_checksums = control.has_checksums()?;
    let store = Store::new(request, settings, Priority::Normal, has_checksums, u64::MAX);
    for (path, attributes) in &listing.directories {
        store.directory(path, *attributes);
    }
    let read = read::read(&store, &listing.files, false)?;
    // The server may have been started meanwhile.
    let after = open(settings, request.location)?;
    if after.control != at_rest.control {
        return Err(running(request.location));
    }
    let metadata = at_rest.data.metadata().map_err(|e| io_error("look at", request.location, e))?;
    let root = files::attributes(&metadata);
    let pg_control = read.get("global/pg_control").map_or(root.mtime, |file| file.mtime);
    let facts = PhysicalFacts {
        format: FORMAT,
        engine: "postgresql".to_owned(),
        kind: "physical".to_owned(),
        source: Source::Offline,
        major_version: at_rest.major_version,
        server_version: None,
        system_identifier: control.system_identifier()?.to_owned(),
        timeline: control.timeline()?,
        start_lsn: None,
        stop_lsn: None,
        start_time: None,
        stop_time: None,
        wal_segment_bytes: control.segment_bytes()?,
        data_checksums: has_checksums,
        damaged_pages: 0,
        tablespaces: listing.tablespaces,
        settings: std::collections::BTreeMap::new(),
        superuser: None,
        census: None,
    };
    let text = manifest::write(&read, None, facts.manifest_system());
    store.made_file(manifest::NAME, text.as_bytes(), super::Attributes { mode: 0o600, mtime: pg_control, ..root })?;
    store.finish(settings, root, facts, None, Reading::live(ChangeMethod::FullRead))
}

/// Whether a data directory can be captured.
pub(crate) fn probe(settings: &PostgresSettings, location: &str) -> Result<Probe, DriverError> {
    let at_rest = open(settings, location)?;
    let mut warnings = Vec::new();
    if !at_rest.control.has_checksums()? {
        warnings.push(no_checksums());
    }
    let size_bytes = files::list(&at_rest.data)?.files.iter().map(|file| file.bytes).sum();
    Ok(Probe { size_bytes: Some(size_bytes), warnings })
}

pub(super) fn no_checksums() -> String {
    "pages have no checksums, so damage at the source is not noticed; turn them on with `pg_checksums --enable`"
        .to_owned()
}

fn open(settings: &PostgresSettings, location: &str) -> Result<AtRest, DriverError> {
    let data = file_path(location)?;
    let bad = |problem: String| DriverError::BadLocation { location: location.to_owned(), problem };
    let version = match std::fs::read_to_string(data.join("PG_VERSION")) {
        Ok(version) => version,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !data.exists() => {
            return Err(DriverError::NotFound { location: location.to_owned() });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(bad("it is no data directory of PostgreSQL: it has no `PG_VERSION`".to_owned()));
        }
        Err(error) => return Err(io_error("read", data.join("PG_VERSION").display().to_string(), error)),
    };
    let major_version =
        version.trim().parse().map_err(|_| bad(format!("its `PG_VERSION` says `{}`", version.trim())))?;
    if is_running(&data) {
        return Err(running(location));
    }
    let bin_dir = tool::bin_dir(settings.bin_dir.as_deref(), major_version)?;
    let control = ControlData::read(&bin_dir, &data)?;
    if !control.is_shut_down()? {
        return Err(DriverError::Service {
            code: FailureCode::ServerNotReady,
            problem: format!(
                "the data directory `{}` is `{}`; start the server and stop it, or register it as `postgresql://…`",
                data.display(),
                control.state()?
            ),
            source: None,
        });
    }
    if control.page_bytes()? != PAGE_BYTES as u64 {
        return Err(bad(format!("its pages have {} bytes instead of {PAGE_BYTES}", control.page_bytes()?)));
    }
    Ok(AtRest { data, major_version, control })
}

/// Whether a process that is alive holds the directory.
pub(crate) fn is_running(data: &Path) -> bool {
    holder(data).is_some_and(|process| process.exists())
}

/// Whether moreover that process is a server: after a restart of the machine any program may have its number.
pub(crate) fn is_served(data: &Path) -> bool {
    let name = holder(data).and_then(|process| std::fs::read_to_string(process.join("comm")).ok());
    name.is_some_and(|name| name.contains("postgres") || name.contains("postmaster"))
}

/// Where the process shows that the directory's lock names, if it is alive.
fn holder(data: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    // One that serves a single user writes it with a minus.
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    Some(PathBuf::from(format!("/proc/{}", pid.unsigned_abs())))
}

fn running(location: &str) -> DriverError {
    DriverError::Service {
        code: FailureCode::ServerNotReady,
        problem: format!("a server runs on `{location}`; stop it, or register it as `postgresql://…`"),
        source: None,
    }
}

/// The segment the next start reads from, later ones, and the histories of timelines.
fn needed_log(at_rest: &AtRest) -> Result<Vec<Listed>, DriverError> {
    let first = at_rest.control.first_segment()?;
    let directory = at_rest.data.join("pg_wal");
    let failed = |error| io_error("list", directory.display().to_string(), error);
    let mut needed = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Segments made in advance have later names and old content.
        let wanted = name == first || name.ends_with(".history");
        if wanted {
            let bytes = entry.metadata().map_err(failed)?.len();
            needed.push(Listed { path: format!("pg_wal/{name}"), place: entry.path(), bytes });
        }
    }
    if !needed.iter().any(|file| file.path.ends_with(first)) {
        return Err(DriverError::Service {
            code: FailureCode::SourceReadFailed,
            problem: format!("segment `{first}` is missing from `{}`; without it nothing starts", directory.display()),
            source: None,
        });
    }
    debug_assert!(selection::is_segment(first));
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_a_single_user_has_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory.path().join("postmaster.pid");
        assert!(!is_running(directory.path()));
        std::fs::write(&lock, format!("-{}\n", std::process::id())).unwrap();
        assert!(is_running(directory.path()));
    }
}
