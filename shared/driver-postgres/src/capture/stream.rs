//! A base backup over the replication protocol:
//! <https://www.postgresql.org/docs/15/protocol-replication.html#PROTOCOL-REPLICATION-BASE-BACKUP>. The server sends a tar
//! archive for its data directory and one for each tablespace, the log in between included, then a manifest.

mod pieces;
mod source;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};

use bytes::Bytes;
use driver_api::{Capture, CaptureRequest, DriverError, Reading};
use jiff::Timestamp;
use job_model::Progress;
use parking_lot::Mutex;

use super::incremental::{self, Base, Header};
use super::manifest;
use super::online::{self, Online};
use super::read::ReadFile;
use super::tree::Attributes;
use super::{Store, checkpoint};
use crate::census::Taker;
use crate::connection::{Connection, Event, Mode};
use crate::error::PgError;
use crate::page::PAGE_BYTES;
use crate::selection;
use crate::settings::PostgresSettings;
use crate::wal::Lsn;
use pieces::{Content, PageReader, Piece, Stored, store_pieces};
use source::{Next, Source, Summed};

/// Bytes handed to a thread at once: whole chunks of every size.
const PIECE_BYTES: usize = 256 << 10;

/// A server with less is counted at the beginning of its backup: all of it can be on its way at once.
const SMALL_BYTES: u64 = 256 << 20;

/// Pieces that wait for a thread, for each of them.
const QUEUED_PIECES: usize = 8;

/// A backup that the server has begun to send.
pub(super) struct Begun<'a> {
    stream: Connection,
    start: Start,
    /// What the blocks that are not sent are taken from; none when all is sent.
    base: Option<Base<'a>>,
}

/// What is asked for. The pages' checksums are judged here: the server would end the backup for one that is wrong.
fn wanted(settings: &PostgresSettings) -> String {
    let checkpoint = settings.checkpoint.word();
    // The server counts in KiB.
    let rate = settings.read_bytes_per_second_max.map(|bytes| format!(", MAX_RATE {}", bytes >> 10));
    format!(
        "LABEL 'holdfast', PROGRESS, CHECKPOINT '{checkpoint}', WAL, WAIT false, MANIFEST 'yes', \
         MANIFEST_CHECKSUMS 'CRC32C', VERIFY_CHECKSUMS false{}",
        rate.unwrap_or_default()
    )
}

/// Asks for a backup of everything.
pub(super) fn begin_full<'a>(
    settings: &PostgresSettings,
    request: &CaptureRequest<'_>,
    online: &mut Online<'_>,
) -> Result<Begun<'a>, DriverError> {
    let mut stream = connect(online)?;
    stream.send(&format!("BASE_BACKUP ({})", wanted(settings)))?;
    let first = checkpoint::wait(&mut stream, &online.location.server, &online.credentials, request.control)??;
    Ok(Begun { start: begin(&mut stream, first)?, stream, base: None })
}

/// Asks for a backup of what changed since the parent, or says why there is none.
pub(super) fn begin_incremental<'a>(
    settings: &PostgresSettings,
    request: &CaptureRequest<'a>,
    online: &mut Online<'_>,
) -> Result<Result<Begun<'a>, String>, DriverError> {
    let base = match Base::load(request, &online.facts)? {
        Ok(base) => base,
        Err(why) => return Ok(Err(why)),
    };
    let mut stream = connect(online)?;
    let sent = stream
        .upload("UPLOAD_MANIFEST", base.manifest.as_bytes())
        .and_then(|()| stream.send(&format!("BASE_BACKUP (INCREMENTAL, {})", wanted(settings))));
    let first = match sent {
        Ok(()) => checkpoint::wait(&mut stream, &online.location.server, &online.credentials, request.control)?,
        Err(error) => Err(error),
    };
    match first.and_then(|first| begin(&mut stream, first)) {
        Ok(start) => Ok(Ok(Begun { stream, start, base: Some(base) })),
        // A summary is missing, or the server has another history by now.
        Err(PgError::Server(error)) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn connect(online: &mut Online<'_>) -> Result<Connection, PgError> {
    online.facts.start_time = Some(online.now()?);
    Connection::open(&online.location.server, &online.credentials, Mode::Replication)
}

pub(super) fn run(
    settings: &PostgresSettings,
    store: Store<'_>,
    mut online: Online<'_>,
    begun: Begun<'_>,
    reading: Reading,
) -> Result<Capture, DriverError> {
    let Begun { mut stream, start, base } = begun;
    let location = online.location;
    online.facts.tablespaces = online.tablespaces()?;
    store.since.store(start.lsn.0, Ordering::Relaxed);
    store.request.control.advance(Progress { bytes_total: Some(start.bytes), ..Progress::default() });
    let threads = store.request.parallelism.max(1);
    let (sender, receiver) = sync_channel(threads * QUEUED_PIECES);
    let shared = Mutex::new(receiver);
    let pages = Mutex::new(PageReader { online: &mut online, usable: true });
    let stored: Mutex<Stored> = Mutex::default();
    let census: Mutex<Option<Taker>> = Mutex::default();
    let profile = settings.credentials(&location.profile)?;
    let arrived = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| store_pieces(&store, &shared, &stored, &pages));
        }
        let mut count = || {
            if let Some(mut taker) = online::begin_census(settings, location, &profile) {
                let (census, control) = (&census, store.request.control);
                scope.spawn(move || {
                    taker.count(control);
                    *census.lock() = Some(taker);
                });
            }
        };
        let mut receiving = Receiving {
            store: &store,
            sender: Some(sender),
            stored: &stored,
            arrived: Vec::new(),
            manifest: Vec::new(),
            base: base.as_ref(),
            roots: BTreeMap::new(),
            received: 0,
        };
        let received = receiving.all(&mut stream, &start, &mut count);
        receiving.sender = None;
        received.map(|()| (receiving.arrived, receiving.manifest, receiving.roots))
    });
    let mut stored = stored.into_inner();
    if let Some(error) = stored.failed.take() {
        return Err(error);
    }
    let (arrived, manifest_text, roots) = arrived?;
    let manifest_text = String::from_utf8(manifest_text)
        .map_err(|_| PgError::Unexpected { problem: "the manifest is not UTF-8".to_owned() })?;
    let (mut read, mut whole) = (BTreeMap::new(), BTreeMap::new());
    for (number, file) in arrived.into_iter().enumerate() {
        let mut content = stored.pieces.remove(&number).unwrap_or_default();
        content.sort_by_key(|(offset, _)| *offset);
        let content = content.into_iter().flat_map(|(_, ids)| ids).collect();
        let (path, bytes, crc) = match file.whole {
            Some(Whole { path, bytes, crc }) => (path, bytes, crc ^ stored.changes.remove(&number).unwrap_or(0)),
            None => (file.path.clone(), file.bytes, file.crc),
        };
        store.file(&path, content, bytes, file.attributes);
        let mtime = file.attributes.mtime;
        read.insert(file.path, ReadFile { bytes: file.bytes, crc: file.crc, mtime });
        whole.insert(path, ReadFile { bytes, crc, mtime });
    }
    let range = manifest::verify(&manifest_text, &read)?;
    let manifest_text = match base {
        Some(_) => manifest::write(&whole, Some(range), online.facts.manifest_system()),
        None => manifest_text,
    };
    online.facts.stop_time = Some(online.now()?);
    let root = roots
        .get("")
        .copied()
        .ok_or_else(|| PgError::Unexpected { problem: "the backup has no data directory".to_owned() })?;
    let mtime = online.facts.stop_time.unwrap_or(root.mtime);
    store.made_file(manifest::NAME, manifest_text.as_bytes(), Attributes { mode: 0o600, mtime, ..root })?;
    let census = online::end_census(census.into_inner(), range.end, store.request.control);
    store.stop_if_told()?;
    let mut facts = online.facts;
    facts.timeline = range.timeline;
    facts.start_lsn = Some(range.start.to_string());
    facts.stop_lsn = Some(range.end.to_string());
    store.finish(settings, root, facts, census, reading)
}

struct Start {
    lsn: Lsn,
    bytes: u64,
}

/// The two results before the data: where the log must be replayed from, and the tablespaces with their sizes in KiB.
fn begin(stream: &mut Connection, first: Event) -> Result<Start, PgError> {
    let (mut lsn, mut bytes) = (None, 0_u64);
    let mut event = first;
    loop {
        match event {
            Event::Row(row) => match lsn {
                None => lsn = row.first().and_then(|text| text.as_deref()?.parse().ok()),
                Some(_) => {
                    let kib: u64 = row.get(2).and_then(|text| text.as_deref()?.parse().ok()).unwrap_or(0);
                    bytes += kib * 1024;
                }
            },
            Event::CopyOut => break,
            Event::Ready => return Err(PgError::Unexpected { problem: "the server sent no backup".to_owned() }),
            _ => {}
        }
        event = stream.next()?;
    }
    let lsn = lsn.ok_or_else(|| PgError::Unexpected { problem: "the server named no start".to_owned() })?;
    Ok(Start { lsn, bytes })
}

struct Arrived {
    path: String,
    bytes: u64,
    crc: u32,
    attributes: Attributes,
    /// What it becomes, where only blocks of it were sent, or where it is changed here.
    whole: Option<Whole>,
}

struct Whole {
    path: String,
    bytes: u64,
    /// Before the changes.
    crc: u32,
}

/// The archives as they come.
struct Receiving<'a, 'r> {
    store: &'a Store<'r>,
    sender: Option<SyncSender<Piece>>,
    stored: &'a Mutex<Stored>,
    arrived: Vec<Arrived>,
    manifest: Vec<u8>,
    base: Option<&'a Base<'r>>,
    /// Attributes of the roots of the archives by their place.
    roots: BTreeMap<String, Attributes>,
    received: u64,
}

impl Receiving<'_, '_> {
    fn all(&mut self, stream: &mut Connection, start: &Start, count: &mut dyn FnMut()) -> Result<(), DriverError> {
        let mut source = Source { stream, current: Bytes::new(), next: Next::Nothing, failed: None };
        source.advance()?;
        let mut counting = Some(count);
        loop {
            match std::mem::replace(&mut source.next, Next::Nothing) {
                Next::Archive(name) => {
                    let result = self.archive(&name, &mut source, start, &mut counting);
                    source.check(result)?;
                    let drained = source.drain();
                    source.check(drained)?;
                }
                Next::Manifest => {
                    let read = source.read_to_end(&mut self.manifest).map(drop).map_err(|e| PgError::Broken(e).into());
                    source.check(read)?;
                }
                Next::End => break,
                Next::Nothing => source.advance()?,
            }
        }
        loop {
            if matches!(source.stream.next()?, Event::Ready) {
                return Ok(());
            }
        }
    }

    fn archive(
        &mut self,
        name: &str,
        source: &mut Source<'_>,
        start: &Start,
        counting: &mut Option<&mut dyn FnMut()>,
    ) -> Result<(), DriverError> {
        let below = match name.strip_suffix(".tar") {
            Some("base") => String::new(),
            Some(oid) if oid.bytes().all(|b| b.is_ascii_digit()) => format!("pg_tblspc/{oid}"),
            _ => return Err(PgError::Unexpected { problem: format!("an archive called `{name}`") }.into()),
        };
        let mut archive = tar::Archive::new(source);
        let failed = |error: std::io::Error| PgError::Broken(error);
        let entries = archive.entries().map_err(failed)?;
        for entry in entries {
            let mut entry = entry.map_err(failed)?;
            let header = entry.header();
            let attributes = Attributes {
                mode: header.mode().map_err(failed)?,
                uid: u32::try_from(header.uid().map_err(failed)?).unwrap_or(u32::MAX),
                gid: u32::try_from(header.gid().map_err(failed)?).unwrap_or(u32::MAX),
                mtime: i64::try_from(header.mtime().map_err(failed)?)
                    .ok()
                    .and_then(|seconds| Timestamp::from_second(seconds).ok())
                    .unwrap_or(Timestamp::UNIX_EPOCH),
            };
            let inside = entry
                .path()
                .map_err(failed)?
                .to_string_lossy()
                .trim_start_matches("./")
                .trim_end_matches('/')
                .to_owned();
            let path = match (below.as_str(), inside.as_str()) {
                (_, "" | ".") => below.clone(),
                ("", inside) => inside.to_owned(),
                (below, inside) => format!("{below}/{inside}"),
            };
            judge_path(&path)?;
            // What follows the last tenth is little, and small servers send all they have at once. The control file is
            // the last before the log.
            let is_near_end = self.received * 10 >= start.bytes * 9 || path == "global/pg_control";
            if (is_near_end || start.bytes < SMALL_BYTES)
                && let Some(count) = counting.take()
            {
                count();
            }
            match entry.header().entry_type() {
                tar::EntryType::Directory => {
                    self.note_root(&below, &path, attributes);
                    self.store.directory(&path, attributes);
                }
                tar::EntryType::Regular => {
                    // The root has no entry of its own in every version; `PG_VERSION` has its owner.
                    self.roots.entry(below.clone()).or_insert(Attributes { mode: 0o700, ..attributes });
                    self.file(path, entry.size(), attributes, &mut entry)?;
                }
                // Tablespaces: each comes as an archive of its own and is kept in this place.
                tar::EntryType::Symlink if path.starts_with("pg_tblspc/") => {
                    self.store.directory(&path, Attributes { mode: 0o700, ..attributes });
                }
                other => {
                    let problem = format!("an entry `{path}` of type {other:?}");
                    return Err(PgError::Unexpected { problem }.into());
                }
            }
        }
        Ok(())
    }

    fn note_root(&mut self, below: &str, path: &str, attributes: Attributes) {
        if path == below {
            self.roots.insert(below.to_owned(), attributes);
        }
    }

    fn file(
        &mut self,
        path: String,
        size: u64,
        attributes: Attributes,
        source: &mut dyn Read,
    ) -> Result<(), DriverError> {
        if let Some(base) = self.base {
            if let Some(whole) = incremental::whole_path(&path) {
                return self.changed_file(base, path, whole, attributes, source);
            }
            if path == "backup_label" {
                return self.label(path, attributes, source);
            }
        }
        let number = self.arrived.len();
        let mut file = Arrived { path, bytes: 0, crc: 0, attributes, whole: None };
        let chunk_bytes = selection::chunk_bytes(&file.path, size);
        let piece_bytes = PIECE_BYTES.next_multiple_of(chunk_bytes);
        loop {
            self.store.stop_if_told()?;
            let mut bytes = Vec::with_capacity(piece_bytes.min(usize::try_from(size).unwrap_or(piece_bytes)));
            Read::take(&mut *source, piece_bytes as u64).read_to_end(&mut bytes).map_err(PgError::Broken)?;
            if bytes.is_empty() {
                break;
            }
            file.crc = crc32c::crc32c_append(file.crc, &bytes);
            let (offset, length) = (file.bytes, bytes.len());
            file.bytes += length as u64;
            self.received += length as u64;
            let content = Content::Sent { bytes, chunk_bytes };
            self.send(Piece { number, path: file.path.clone(), offset, content })?;
            if length < piece_bytes {
                break;
            }
        }
        self.arrived.push(file);
        Ok(())
    }

    fn send(&self, piece: Piece) -> Result<(), DriverError> {
        let sent = self.sender.as_ref().is_some_and(|sender| sender.send(piece).is_ok());
        match self.stored.lock().failed.take() {
            Some(error) => Err(error),
            None if sent => Ok(()),
            None => Err(DriverError::Stopped),
        }
    }

    /// A file of which only changed blocks are sent: its other chunks are those of the recovery point before.
    fn changed_file(
        &mut self,
        base: &Base<'_>,
        sent_path: String,
        path: String,
        attributes: Attributes,
        source: &mut dyn Read,
    ) -> Result<(), DriverError> {
        let number = self.arrived.len();
        let mut source = Summed { source, bytes: 0, crc: 0 };
        let header = Header::read(&mut source)?;
        let (old, size) = (base.file(&path)?, header.size());
        let chunk_bytes = selection::chunk_bytes(&path, size);
        let mut following = header.blocks.iter().copied().peekable();
        let (mut offset, mut kept) = (0, Vec::new());
        while offset < size {
            self.store.stop_if_told()?;
            // A chunk is far smaller than an address space.
            let length = (size - offset).min(chunk_bytes as u64) as usize;
            let end = offset + length as u64;
            let mut blocks = Vec::new();
            while let Some(block) = following.next_if(|block| u64::from(*block) * (PAGE_BYTES as u64) < end) {
                let mut bytes = vec![0; PAGE_BYTES];
                source.read_exact(&mut bytes).map_err(PgError::Broken)?;
                blocks.push((block, bytes));
            }
            match old.chunk(offset, length).filter(|_| blocks.is_empty()) {
                Some(id) => kept.push((offset, vec![id])),
                None => {
                    let old = old.overlapping(offset, length);
                    let content = Content::Changed { length, behind: size - end, old, blocks };
                    self.send(Piece { number, path: path.clone(), offset, content })?;
                }
            }
            offset = end;
        }
        let bytes_done = kept.len() as u64 * chunk_bytes as u64;
        self.store.request.control.advance(Progress { bytes_done, ..Progress::default() });
        self.stored.lock().pieces.entry(number).or_default().extend(kept);
        self.received += size;
        let whole = Some(Whole { crc: old.checksum_at(size)?, path, bytes: size });
        let Summed { bytes, crc, .. } = source;
        self.arrived.push(Arrived { path: sent_path, bytes, crc, attributes, whole });
        Ok(())
    }

    /// The label says that the backup is none without others; the one that is put together from it is.
    fn label(&mut self, path: String, attributes: Attributes, source: &mut dyn Read) -> Result<(), DriverError> {
        let number = self.arrived.len();
        let mut label = String::new();
        source.read_to_string(&mut label).map_err(PgError::Broken)?;
        let changed = incremental::label_of_whole(&label);
        let crc = crc32c::crc32c(changed.as_bytes());
        let whole = Some(Whole { path: path.clone(), bytes: changed.len() as u64, crc });
        let content = Content::Sent { bytes: changed.into_bytes(), chunk_bytes: PAGE_BYTES };
        self.send(Piece { number, path: path.clone(), offset: 0, content })?;
        let (bytes, crc) = (label.len() as u64, crc32c::crc32c(label.as_bytes()));
        self.arrived.push(Arrived { path, bytes, crc, attributes, whole });
        Ok(())
    }
}

/// A server that is not one could send anything.
fn judge_path(path: &str) -> Result<(), DriverError> {
    let bad = path.starts_with('/') || path.contains('\0') || path.split('/').any(|name| name == ".." || name == ".");
    if bad {
        return Err(DriverError::Escape { path: path.to_owned(), problem: "the server named it so".to_owned() });
    }
    Ok(())
}
