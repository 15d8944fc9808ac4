//! The low-level API: the server is told that a backup begins, its files are read in parallel, and it is told that the
//! backup ended: <https://www.postgresql.org/docs/15/continuous-archiving.html#BACKUP-LOWLEVEL-BASE-BACKUP>.

use std::path::Path;
use std::sync::atomic::Ordering;

use driver_api::{Capture, DriverError, Reading};
use job_model::{FailureCode, Progress};

use super::files::{self, Listed};
use super::manifest::{self, WalRange};
use super::online::{self, Online};
use super::read::{self, ReadFile};
use super::{Attributes, Store, checkpoint};
use crate::connection::{Connection, Mode};
use crate::error::PgError;
use crate::io_error;
use crate::server::LogFrom;
use crate::settings::{Checkpoint, PostgresSettings};
use crate::wal::{Lsn, SegmentSize};

pub(super) fn run(
    settings: &PostgresSettings,
    store: Store<'_>,
    mut online: Online<'_>,
    data: &Path,
    reading: Reading,
) -> Result<Capture, DriverError> {
    let location = online.location;
    online.facts.start_time = Some(online.now()?);
    let _kept = keep_log(&online)?;
    // Asked only for what the server does not have any more; whoever follows it says when the directory is not known.
    let archive = settings.archive_dir(&location.profile).ok().filter(|_| location.log == LogFrom::Archive);
    // The connection must stay open until the backup has ended: the server gives it up when its session ends.
    let fast = settings.checkpoint == Checkpoint::Fast;
    online.queries.send(&format!("SELECT pg_backup_start('holdfast', fast => {fast})"))?;
    let (server, credentials) = (&location.server, &online.credentials);
    let first = checkpoint::wait(&mut online.queries, server, credentials, store.request.control)?;
    let start: Lsn = online.queries.rows_from(first)?.parse(0, 0)?;
    store.since.store(start.0, Ordering::Relaxed);
    let mut listing = files::list(data)?;
    let control = take_control_file(&mut listing.files);
    store.request.control.advance(Progress {
        bytes_total: Some(listing.files.iter().map(|file| file.bytes).sum()),
        items_total: Some((listing.files.len() + listing.directories.len()) as u64),
        ..Progress::default()
    });
    for (path, attributes) in &listing.directories {
        store.directory(path, *attributes);
    }
    let mut read = read::read(&store, &listing.files, true)?;
    // The control file is the last, so that it never promises more than the files before it have.
    read.extend(read::read(&store, &control, false)?);
    let mut taker = online::begin_census(settings, location, &online.credentials);
    let stopped = online.queries.query("SELECT lsn, labelfile FROM pg_backup_stop(wait_for_archive => false)")?;
    let stop: Lsn = stopped.parse(0, 0)?;
    let label: String = stopped.parse(0, 1)?;
    online.facts.stop_time = Some(online.now()?);
    let root = files::attributes(&data.metadata().map_err(|e| io_error("look at", data.display().to_string(), e))?);
    let mtime = online.facts.stop_time.unwrap_or(root.mtime);
    let made = Attributes { mode: 0o600, mtime, ..root };
    store.made_file("backup_label", label.as_bytes(), made)?;
    read.insert(
        "backup_label".to_owned(),
        ReadFile { bytes: label.len() as u64, crc: crc32c::crc32c(label.as_bytes()), mtime },
    );
    let timeline = label_timeline(&label).unwrap_or(online.facts.timeline);
    online.facts.timeline = timeline;
    let range = WalRange { timeline, start, end: stop };
    let text = manifest::write(&read, Some(range), online.facts.manifest_system());
    store.made_file(manifest::NAME, text.as_bytes(), made)?;
    read::read(&store, &needed_log(data, archive.as_deref(), online.facts.wal_segment_bytes, range)?, false)?;
    if let Some(taker) = &mut taker {
        taker.count(store.request.control);
    }
    let census = online::end_census(taker, stop, store.request.control);
    store.stop_if_told()?;
    let mut facts = online.facts;
    facts.start_lsn = Some(start.to_string());
    facts.stop_lsn = Some(stop.to_string());
    facts.tablespaces = listing.tablespaces;
    store.finish(settings, root, facts, census, reading)
}

/// A slot that lives as long as its connection: without it a long backup can outlive the log it began in.
fn keep_log(online: &Online<'_>) -> Result<Option<Connection>, PgError> {
    let mut connection = match Connection::open(&online.location.server, &online.credentials, Mode::Replication) {
        Ok(connection) => connection,
        Err(error) if error.sql_state() == Some("53300") => {
            tracing::warn!("no connection is free for a slot; a long backup may outlive the log it began in");
            return Ok(None);
        }
        // It archives because it does not let itself be streamed from: no right, no line in pg_hba.conf.
        Err(error) if online.location.log == LogFrom::Archive => {
            tracing::info!(error = &error as &dyn std::error::Error, "no slot; the log is in the archive");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let pid = std::process::id();
    let unique = online.facts.start_time.map_or(0, jiff::Timestamp::as_microsecond);
    let name = format!("holdfast_backup_{pid}_{:x}", unique ^ i64::from(online.location.server.port));
    match connection.query(&format!("CREATE_REPLICATION_SLOT {name} TEMPORARY PHYSICAL RESERVE_WAL")) {
        Ok(_) => Ok(Some(connection)),
        // None is free, or the server may have none at all.
        Err(error) if matches!(error.sql_state(), Some("53400" | "55000")) => {
            tracing::warn!("no slot is free; a long backup may outlive the log it began in");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn take_control_file(files: &mut Vec<Listed>) -> Vec<Listed> {
    let (control, others) = std::mem::take(files).into_iter().partition(|file| file.path == "global/pg_control");
    *files = others;
    control
}

/// `START TIMELINE: 1`.
fn label_timeline(label: &str) -> Option<u32> {
    label.lines().find_map(|line| line.strip_prefix("START TIMELINE:")?.trim().parse().ok())
}

/// The segments between the backup's ends, and the histories of timelines.
///
/// What the server has removed by now may lie in its archive still.
pub(super) fn needed_log(
    data: &Path,
    archive: Option<&Path>,
    segment_bytes: u64,
    range: WalRange,
) -> Result<Vec<Listed>, DriverError> {
    let size = SegmentSize::try_from(segment_bytes).map_err(|e| PgError::Unexpected { problem: e.to_string() })?;
    let directory = data.join("pg_wal");
    let mut needed = Vec::new();
    let mut segment = size.segment_at(range.timeline, range.start);
    // A position at a segment's end is the first byte that is not needed any more.
    let last = size.segment_at(range.timeline, Lsn(range.end.0.saturating_sub(1).max(range.start.0)));
    while segment.number <= last.number {
        let name = segment.name(size);
        let mut place = directory.join(&name);
        if let Some(archive) = archive
            && !place.exists()
        {
            place = archive.join(&name);
        }
        let bytes = match place.metadata() {
            Ok(metadata) => metadata.len(),
            Err(source) => {
                return Err(DriverError::Service {
                    code: FailureCode::SourceReadFailed,
                    problem: format!(
                        "segment `{name}` was removed by the server before the backup had ended; raise `wal_keep_size`, or \
                         free a replication slot"
                    ),
                    source: Some(Box::new(source)),
                });
            }
        };
        needed.push(Listed { path: format!("pg_wal/{name}"), place, bytes });
        segment.number += 1;
    }
    if let Ok(entries) = std::fs::read_dir(&directory) {
        for entry in entries.flatten() {
            if let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata())
                && name.ends_with(".history")
            {
                needed.push(Listed { path: format!("pg_wal/{name}"), place: entry.path(), bytes: metadata.len() });
            }
        }
    }
    Ok(needed)
}
