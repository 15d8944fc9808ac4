//! Stores one extent.

use std::collections::BTreeMap;
use std::ops::Range;

use driver_api::{CaptureRequest, DriverError};
use job_model::Progress;
use parking_lot::Mutex;
use vault_format::{Id, Node, NodeKind};

use crate::io_error;
use crate::layout::{CHUNK_BYTES, EXTENT_BYTES, name, node};
use crate::source::Source;

/// From so many bytes on that were read of an extent, the source is told. A few chunks may stay in the system's memory: to drop
/// them costs more than they take.
const MANY_BYTES: u64 = EXTENT_BYTES / 4;

/// What is known of an extent from the parent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Before<'a> {
    /// Nothing.
    Unknown,
    /// It was all zeros, but for what may have changed since.
    Hole { changed: &'a [Range<u64>] },
    /// It had these chunks, but for what may have changed since.
    Chunks { content: &'a [Id], changed: &'a [Range<u64>] },
}

/// Stores extents.
pub(super) struct Extents<'a> {
    pub(super) request: &'a CaptureRequest<'a>,
    pub(super) source: &'a dyn Source,
    /// Ids of chunks of zeros by length.
    zeros: Mutex<BTreeMap<usize, Id>>,
}

impl<'a> Extents<'a> {
    pub(super) fn new(request: &'a CaptureRequest<'a>, source: &'a dyn Source) -> Self {
        Self { request, source, zeros: Mutex::default() }
    }

    /// The extent at an offset; none when it is all hole.
    pub(super) fn store(&self, offset: u64, before: Before<'_>) -> Result<Option<Node>, DriverError> {
        let failed = |error: std::io::Error| io_error("read", self.request.location, error);
        let end = (offset + EXTENT_BYTES).min(self.source.size());
        // The next part of the volume with data, looked for only when the last one is passed.
        let mut data = self.source.data_from(offset).map_err(failed)?;
        if data.is_none_or(|(start, _)| start >= end) {
            return Ok(None);
        }
        let mut content = Vec::new();
        let mut batch = Batch::new();
        let mut position = offset;
        let mut read = 0;
        while position < end {
            if self.request.control.is_stopped() {
                return Err(DriverError::Stopped);
            }
            if data.is_some_and(|(_, data_end)| data_end <= position) {
                data = self.source.data_from(position).map_err(failed)?;
            }
            let chunk_end = (position + CHUNK_BYTES).min(end);
            let length = (chunk_end - position) as usize;
            let bytes = chunk_end - position;
            if let Some(id) = self.unchanged(before, offset, position..chunk_end)? {
                content.push(id);
                self.request.control.advance(Progress { bytes_done: bytes, ..Progress::default() });
            } else if data.is_some_and(|(start, _)| start < chunk_end) {
                let chunk = batch.room(length);
                self.source.read_exact_at(chunk, position).map_err(failed)?;
                read += bytes;
                self.request.control.advance(Progress { bytes_read: bytes, bytes_done: bytes, ..Progress::default() });
                if is_zero(chunk) {
                    content.push(self.zeros(length)?);
                } else {
                    // Its id comes when the batch is full.
                    content.push(Id::new([0; 32]));
                    batch.take(content.len() - 1);
                    if batch.is_full() {
                        batch.store(self.request, &mut content)?;
                    }
                }
            } else {
                content.push(self.zeros(length)?);
                self.request.control.advance(Progress { bytes_done: bytes, ..Progress::default() });
            }
            position = chunk_end;
        }
        batch.store(self.request, &mut content)?;
        if read >= MANY_BYTES {
            self.source.was_read(offset..end);
        }
        self.request.control.advance(Progress { items_done: 1, ..Progress::default() });
        Ok(Some(node(name(offset), NodeKind::File { content, size: end - offset })))
    }

    /// The id that a chunk has from the parent, if it has not changed and the vault has it still.
    fn unchanged(&self, before: Before<'_>, offset: u64, chunk: Range<u64>) -> Result<Option<Id>, DriverError> {
        let changed = match before {
            Before::Unknown => return Ok(None),
            Before::Hole { changed } | Before::Chunks { changed, .. } => changed,
        };
        let next = changed.partition_point(|range| range.end <= chunk.start);
        if changed.get(next).is_some_and(|range| range.start < chunk.end) {
            return Ok(None);
        }
        match before {
            Before::Chunks { content, .. } => {
                let id = content.get(((chunk.start - offset) / CHUNK_BYTES) as usize);
                Ok(id.copied().filter(|id| self.request.writer.has_content(&[*id])))
            }
            _ => self.zeros((chunk.end - chunk.start) as usize).map(Some),
        }
    }

    fn zeros(&self, length: usize) -> Result<Id, DriverError> {
        if let Some(id) = self.zeros.lock().get(&length) {
            return Ok(*id);
        }
        let (id, _new) = self.request.writer.write_chunk(&vec![0; length])?;
        self.zeros.lock().insert(length, id);
        Ok(id)
    }
}

/// Chunks that are stored together: their digests are then made at the same time.
struct Batch {
    chunks: Vec<Vec<u8>>,
    /// Where their ids belong.
    places: Vec<usize>,
}

impl Batch {
    fn new() -> Self {
        Self { chunks: vec![Vec::new(); Id::at_once()], places: Vec::new() }
    }

    /// Room for the next chunk.
    fn room(&mut self, length: usize) -> &mut [u8] {
        let chunk = &mut self.chunks[self.places.len()];
        chunk.resize(length, 0);
        chunk
    }

    fn is_full(&self) -> bool {
        self.places.len() == self.chunks.len()
    }

    /// The chunk in the room is one to store.
    fn take(&mut self, place: usize) {
        self.places.push(place);
    }

    fn store(&mut self, request: &CaptureRequest<'_>, content: &mut [Id]) -> Result<(), DriverError> {
        let chunks: Vec<&[u8]> = self.chunks[..self.places.len()].iter().map(Vec::as_slice).collect();
        for (place, id) in self.places.drain(..).zip(request.writer.write_chunks(&chunks)?) {
            content[place] = id;
        }
        Ok(())
    }
}

/// Whether there is nothing but zeros. Looks at a page at a time, so that it ends early where there is more.
fn is_zero(chunk: &[u8]) -> bool {
    chunk.chunks(4096).all(|page| page.iter().fold(0, |all, byte| all | byte) == 0)
}
