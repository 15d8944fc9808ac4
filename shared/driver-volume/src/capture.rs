//! Reads a volume, but for its holes and what the parent has, with several threads.

mod ahead;
mod extent;
mod incremental;
mod trees;
mod view;

use std::collections::BTreeMap;
use std::ops::Range;

use driver_api::{Capture, CaptureRequest, DriverError, QuiesceOutcome, ReadError, Reading, file_path, queue};
use job_model::{ChangeMethod, Consistency, ExceptionKind, Progress, ReadException, SourceView};
use parking_lot::Mutex;
use vault_format::{Node, NodeKind};

use crate::io_error;
use crate::layout::{EXTENT_BYTES, Facts, LEVEL_BYTES, data, node};
use crate::source::Source;
use crate::volume::{ImageFile, Kind, Volume};
use extent::{Before, Extents};
use incremental::{Parent, Stored};
pub(crate) use view::discard;

pub(crate) fn run(request: &CaptureRequest<'_>) -> Result<Capture, DriverError> {
    let path = file_path(request.location)?;
    let volume = Volume::open(&path, request.location)?;
    let failed = |error: std::io::Error| io_error("read", request.location, error);
    let before = volume.image_file().map_err(failed)?;
    let view = view::take(request, &path, volume)?;
    let extents = Extents::new(request, &view.volume);
    let tracked = view.changed.as_deref().map(|changed| (changed, ChangeMethod::ExtentComparison));
    let (stored, method, fallback) = store(&extents, tracked, view.fallback)?;
    let exception = if view.kind == SourceView::Live {
        written_meanwhile(before, view.volume.image_file().map_err(failed)?)
    } else {
        None
    };
    let facts = Facts::new(view.volume.size, view.volume.kind, stored.extents, before);
    let reading = Reading { method, view: view.kind, held_bytes: view.held_bytes, fallback };
    let captured = captured(request, &stored, &facts, reading);
    Ok(Capture { remains: view.remains, exceptions: exception.into_iter().collect(), ..captured })
}

/// A volume that somebody serves, as of one instant.
#[derive(Debug)]
pub struct Served<'a> {
    /// What it holds; it does not change.
    pub source: &'a dyn Source,
    /// All that may have changed since the parent, in order, apart, in whole chunks; none when that is not known.
    pub changed: Option<&'a [Range<u64>]>,
    /// Why it is not known although it should be.
    pub fallback: Option<String>,
    /// What is left for the next capture.
    pub remains: Option<serde_json::Value>,
}

/// Captures a volume that is no file or device of this machine. It is restored and checked as all volumes are.
///
/// # Errors
/// When it cannot be read or stored.
pub fn capture_served(request: &CaptureRequest<'_>, served: Served<'_>) -> Result<Capture, DriverError> {
    let extents = Extents::new(request, served.source);
    let tracked = served.changed.map(|changed| (changed, ChangeMethod::DirtyBitmap));
    let (stored, method, fallback) = store(&extents, tracked, served.fallback)?;
    // It has no attributes, as a device has none.
    let facts = Facts::new(served.source.size(), Kind::BlockDevice, stored.extents, None);
    let reading = Reading { method, view: SourceView::ServedSnapshot, held_bytes: None, fallback };
    Ok(Capture { remains: served.remains, ..captured(request, &stored, &facts, reading) })
}

fn captured(request: &CaptureRequest<'_>, stored: &Stored, facts: &Facts, reading: Reading) -> Capture {
    Capture {
        data: node(b"data".to_vec(), NodeKind::Dir { subtree: stored.subtree }),
        sidecars: Vec::new(),
        consistency: match request.quiesced {
            QuiesceOutcome::NotQuiesced => Consistency::Crash,
            QuiesceOutcome::Application => Consistency::Application,
            QuiesceOutcome::Filesystem => Consistency::Filesystem,
        },
        size_bytes: facts.size,
        items: stored.extents,
        change_detection: in_words(reading.method).to_owned(),
        reading,
        remains: None,
        exceptions: Vec::new(),
        // Numbers, strings and maps of them always have a JSON form.
        facts: serde_json::to_value(facts).unwrap_or_default(),
    }
}

const fn in_words(method: ChangeMethod) -> &'static str {
    match method {
        ChangeMethod::ExtentComparison => "extents compared with the parent's clone; only what differs is read",
        ChangeMethod::DirtyBitmap => "a bitmap of what was written since the parent; only that is read",
        ChangeMethod::FullRead | ChangeMethod::FileMetadata | ChangeMethod::LogSummary => {
            "full read by hashing; holes are not read"
        }
    }
}

/// An image file tells by its times that it was written; a device does not.
fn written_meanwhile(before: Option<ImageFile>, after: Option<ImageFile>) -> Option<ReadException> {
    (before.map(|file| file.mtime) != after.map(|file| file.mtime)).then(|| ReadException {
        path: String::new(),
        kind: ExceptionKind::ChangedWhileReading,
        message: "the image was written while it was read; quiesce whoever writes it, or capture a snapshot".to_owned(),
    })
}

/// Stores what changed where that is known and the parent can be used, else everything.
fn store(
    extents: &Extents<'_>,
    tracked: Option<(&[Range<u64>], ChangeMethod)>,
    fallback: Option<String>,
) -> Result<(Stored, ChangeMethod, Option<String>), DriverError> {
    let full = |fallback| Ok((everything(extents)?, ChangeMethod::FullRead, fallback));
    let (Some((changed, method)), Some(parent)) = (tracked, &extents.request.parent) else { return full(fallback) };
    let facts = match Facts::read(parent.description) {
        Ok(facts) => facts,
        Err(error) => return full(Some(format!("the parent cannot be compared with: {error}"))),
    };
    let (true, Some(count)) = (facts.is_newest(), facts.extents) else {
        return full(Some("the parent has the layout of an older version".to_owned()));
    };
    announce(extents, count);
    let stored = data(parent.reader).and_then(|data| {
        let parent = Parent { reader: parent.reader, data, size: facts.size, extents: count };
        incremental::store(extents, &parent, changed)
    });
    match stored {
        Ok(stored) => Ok((stored, method, fallback)),
        Err(
            error @ (DriverError::NotOurs { .. }
            | DriverError::Read(ReadError::Missing { .. } | ReadError::Damaged { .. })),
        ) => full(Some(format!("the parent recovery point is damaged: {error}"))),
        Err(error) => Err(error),
    }
}

fn announce(extents: &Extents<'_>, items: u64) {
    extents.request.control.advance(Progress {
        bytes_total: Some(extents.source.size()),
        items_total: Some(items),
        ..Progress::default()
    });
}

/// Stores the whole volume, section by section.
fn everything(extents: &Extents<'_>) -> Result<Stored, DriverError> {
    let (request, size) = (extents.request, extents.source.size());
    let offsets = offsets_with_data(extents.source).map_err(|e| io_error("read", request.location, e))?;
    announce(extents, offsets.len() as u64);
    let holes = size - offsets.iter().map(|offset| EXTENT_BYTES.min(size - offset)).sum::<u64>();
    request.control.advance(Progress { bytes_done: holes, ..Progress::default() });
    let mut sections: BTreeMap<u64, Node> = BTreeMap::new();
    let mut count = 0;
    let section_of = |offset: u64| offset / LEVEL_BYTES[0];
    for section in offsets.chunk_by(|a, b| section_of(*a) == section_of(*b)) {
        let nodes = Mutex::new(BTreeMap::new());
        queue::for_each(request.parallelism, request.control, section, |&offset| {
            if let Some(node) = extents.store(offset, Before::Unknown)? {
                nodes.lock().insert(offset, node);
            }
            Ok(())
        })?;
        let nodes = nodes.into_inner();
        count += nodes.len() as u64;
        sections.extend(trees::above(request.writer, nodes)?);
    }
    Ok(Stored { subtree: trees::directory(request.writer, sections)?, extents: count })
}

/// Offsets of the extents that are not all hole.
fn offsets_with_data(source: &dyn Source) -> std::io::Result<Vec<u64>> {
    let mut offsets = Vec::new();
    let mut position = 0;
    while let Some((start, _)) = source.data_from(position)? {
        let offset = start / EXTENT_BYTES * EXTENT_BYTES;
        offsets.push(offset);
        position = offset + EXTENT_BYTES;
    }
    Ok(offsets)
}
