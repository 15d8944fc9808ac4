//! Physical captures: of a data directory at rest, of a running server's files, and over the replication protocol.

mod checkpoint;
mod files;
mod give_way;
mod incremental;
mod label;
mod manifest;
mod offline;
mod online;
mod pace;
mod pages;
mod read;
mod stream;
mod tree;

use std::sync::atomic::{AtomicU64, Ordering};

use driver_api::{Capture, CaptureRequest, CaptureWriter, CheckRequest, DriverError, Probe, Reading, queue};
use job_model::{ChangeMethod, Consistency, FailureCode, Progress};
use parking_lot::Mutex;
use vault_format::{Id, Node, NodeKind};

use crate::facts::PhysicalFacts;
use crate::priority::Priority;
use crate::server::{Location, Method};
use crate::settings::{DamagePolicy, PostgresSettings};
use crate::{page, selection};
use give_way::GiveWay;
use pace::Pace;
use pages::{Damage, ReadAgain};

pub(crate) use files::attributes as attributes_of;

pub(crate) use offline::{is_running, is_served};
pub(crate) use tree::{Attributes, TreeBuilder};

/// Captures whatever the location names.
pub(crate) fn run(settings: &PostgresSettings, request: &CaptureRequest<'_>) -> Result<Capture, DriverError> {
    if request.control.is_stopped() {
        return Err(DriverError::Stopped);
    }
    if request.location.starts_with("file:") {
        return offline::run(settings, request);
    }
    let location = Location::parse(request.location)?;
    if location.method == Method::Logical {
        return crate::logical::capture(settings, request, &location);
    }
    online::run(settings, request, &location)
}

/// Whether the location can be captured.
pub(crate) fn probe(settings: &PostgresSettings, location: &str) -> Result<Probe, DriverError> {
    if location.starts_with("file:") {
        return offline::probe(settings, location);
    }
    let parsed = Location::parse(location)?;
    if parsed.method == Method::Logical {
        return crate::logical::probe(settings, &parsed);
    }
    online::probe(settings, &parsed)
}

/// What every kind of capture stores into.
pub(crate) struct Store<'a> {
    request: &'a CaptureRequest<'a>,
    tree: Mutex<TreeBuilder>,
    damage: Damage,
    /// How fast files are read.
    pace: Pace,
    /// Lets a server on the same machine have its processors.
    give_way: Option<GiveWay>,
    /// Whether pages have checksums that are to be looked at.
    checks_pages: bool,
    /// Pages changed at or after this position are not judged.
    since: AtomicU64,
}

impl<'a> Store<'a> {
    pub(crate) fn new(
        request: &'a CaptureRequest<'a>,
        settings: &PostgresSettings,
        priority: Priority,
        checks_pages: bool,
        since: u64,
    ) -> Self {
        Self {
            request,
            tree: Mutex::default(),
            damage: Damage::default(),
            pace: Pace::new(settings.read_bytes_per_second_max),
            give_way: GiveWay::new(priority),
            checks_pages,
            since: AtomicU64::new(since),
        }
    }

    /// Before each piece of work that takes a few milliseconds of a processor.
    fn may_go_on(&self) -> Result<(), DriverError> {
        match &self.give_way {
            Some(give_way) => give_way.wait(self.request.control),
            None => self.stop_if_told(),
        }
    }

    pub(crate) fn stop_if_told(&self) -> Result<(), DriverError> {
        if self.request.control.is_stopped() { Err(DriverError::Stopped) } else { Ok(()) }
    }

    /// One piece of a file, cut to whole chunks but for the last of the file. Judges its pages on the way.
    pub(crate) fn piece(
        &self,
        path: &str,
        offset: u64,
        piece: &[u8],
        chunk_bytes: usize,
        read_again: ReadAgain<'_>,
    ) -> Result<Vec<Id>, DriverError> {
        self.may_go_on()?;
        if let Some(segment) = page::relation_segment(path).filter(|_| self.checks_pages) {
            // A segment has at most 131 072 pages.
            let first = u32::try_from(offset / page::PAGE_BYTES as u64).unwrap_or(u32::MAX);
            pages::inspect(path, segment, first, piece, self.since.load(Ordering::Relaxed), read_again, &self.damage);
        }
        let chunks: Vec<&[u8]> = piece.chunks(chunk_bytes).collect();
        let ids = self.request.writer.write_chunks(&chunks)?;
        let bytes = piece.len() as u64;
        self.request.control.advance(Progress { bytes_read: bytes, bytes_done: bytes, ..Progress::default() });
        Ok(ids)
    }

    /// One block that was sent for itself.
    pub(crate) fn judge_block(&self, path: &str, block: u32, bytes: &[u8], read_again: ReadAgain<'_>) {
        if let Some(segment) = page::relation_segment(path).filter(|_| self.checks_pages) {
            let since = self.since.load(Ordering::Relaxed);
            pages::inspect(path, segment, block, bytes, since, read_again, &self.damage);
        }
    }

    /// A chunk of which so many bytes were read at the source, and the others were known.
    pub(crate) fn chunk(&self, chunk: &[u8], bytes_read: u64) -> Result<Id, DriverError> {
        self.may_go_on()?;
        let (id, _) = self.request.writer.write_chunk(chunk)?;
        let bytes_done = chunk.len() as u64;
        self.request.control.advance(Progress { bytes_read, bytes_done, ..Progress::default() });
        Ok(id)
    }

    pub(crate) fn directory(&self, path: &str, attributes: Attributes) {
        let mut tree = self.tree.lock();
        let before = tree.items;
        tree.directory(path, attributes);
        let items_done = tree.items - before;
        drop(tree);
        self.request.control.advance(Progress { items_done, ..Progress::default() });
    }

    /// A file whose pieces are stored.
    pub(crate) fn file(&self, path: &str, content: Vec<Id>, size: u64, attributes: Attributes) {
        self.tree.lock().file(path, content, size, attributes);
        self.request.control.advance(Progress { items_done: 1, ..Progress::default() });
    }

    /// A small file that is made here.
    pub(crate) fn made_file(&self, path: &str, bytes: &[u8], attributes: Attributes) -> Result<(), DriverError> {
        let ids = self.piece(path, 0, bytes, selection::chunk_bytes(path, bytes.len() as u64), &|_, _| None)?;
        self.file(path, ids, bytes.len() as u64, attributes);
        Ok(())
    }

    /// Puts the result together. `facts` get what was counted here.
    pub(crate) fn finish(
        self,
        settings: &PostgresSettings,
        root: Attributes,
        mut facts: PhysicalFacts,
        census: Option<Vec<u8>>,
        reading: Reading,
    ) -> Result<Capture, DriverError> {
        let (damaged, exceptions) = self.damage.into_parts();
        if damaged > 0 && settings.on_damaged_page == DamagePolicy::Fail {
            let first = exceptions.first().map(|e| format!("`{}`: {}", e.path, e.message)).unwrap_or_default();
            return Err(DriverError::Service {
                code: FailureCode::SourceReadFailed,
                problem: format!("{damaged} pages are damaged at the source, and the policy is to fail; {first}"),
                source: None,
            });
        }
        facts.damaged_pages = damaged;
        let tree = self.tree.into_inner();
        let (items, size_bytes) = (tree.items, tree.bytes);
        let data = tree.store(self.request.writer, root)?;
        let mut sidecars = Vec::new();
        if let Some(bytes) = census {
            facts.census = Some(crate::census::FILE_NAME.to_owned());
            sidecars.push(sidecar(self.request.writer, crate::census::FILE_NAME, &bytes, root)?);
        }
        Ok(Capture {
            data,
            sidecars,
            consistency: Consistency::Database,
            size_bytes,
            items,
            change_detection: match reading.method {
                ChangeMethod::LogSummary => "blocks that the server's summaries of its log name",
                _ => "full read by hashing, page by page",
            }
            .to_owned(),
            exceptions,
            // Strings, numbers and maps of them always have a JSON form.
            facts: serde_json::to_value(facts).unwrap_or_default(),
            reading,
            remains: None,
        })
    }
}

/// A file beside `recovery-point.json`.
pub(crate) fn sidecar(
    writer: &dyn CaptureWriter,
    name: &str,
    bytes: &[u8],
    attributes: Attributes,
) -> Result<Node, DriverError> {
    let content = writer.write_content(driver_api::Chunking::ContentDefined, &mut &bytes[..])?;
    let kind = NodeKind::File { content: content.blobs, size: content.size };
    Ok(tree::node(name, kind, Attributes { mode: 0o600, ..attributes }))
}

/// Pages of a data directory at rest whose checksums are wrong, as path and message.
pub(crate) fn damaged_pages(request: &CheckRequest<'_>) -> Result<Vec<(String, String)>, DriverError> {
    let listing = files::list(request.restored)?;
    let damage = Damage::default();
    queue::for_each(request.parallelism, request.control, &listing.files, |listed| {
        let Some(segment) = page::relation_segment(&listed.path) else { return Ok(()) };
        let failed = |error| crate::io_error("read", listed.place.display().to_string(), error);
        let mut file = std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(&listed.place).map_err(failed)?);
        let mut bytes = vec![0; page::PAGE_BYTES];
        let mut number = 0;
        while std::io::Read::read_exact(&mut file, &mut bytes).is_ok() {
            if request.control.is_stopped() {
                return Err(DriverError::Stopped);
            }
            let same = bytes.clone();
            pages::inspect(&listed.path, segment, number, &bytes, u64::MAX, &|_, _| Some(same.clone()), &damage);
            number += 1;
        }
        Ok(())
    })?;
    let (_, listed) = damage.into_parts();
    Ok(listed.into_iter().map(|exception| (exception.path, exception.message.replace(" at the source", ""))).collect())
}
