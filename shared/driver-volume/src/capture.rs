//! Reads a volume, but for its holes, with several threads.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use driver_api::{Capture, CaptureRequest, DriverError, QuiesceOutcome, file_path, queue};
use job_model::{Consistency, ExceptionKind, Progress, ReadException};
use parking_lot::Mutex;
use vault_format::{Id, Node, NodeKind, Tree};

use crate::io_error;
use crate::layout::{CHUNK_BYTES, EXTENT_BYTES, Facts, group_of, name, node};
use crate::volume::{ImageFile, Volume};

pub(crate) fn run(request: &CaptureRequest<'_>) -> Result<Capture, DriverError> {
    let volume = Volume::open(&file_path(request.location)?, request.location)?;
    let failed = |error: std::io::Error| io_error("read", request.location, error);
    let before = volume.image_file().map_err(failed)?;
    let offsets = offsets_with_data(&volume).map_err(|e| failed(e.into()))?;
    request.control.advance(Progress {
        bytes_total: Some(volume.size),
        items_total: Some(offsets.len() as u64),
        ..Progress::default()
    });
    let reading = Reading { request, volume: &volume, zeros: Mutex::default() };
    let nodes = Mutex::new(BTreeMap::new());
    queue::for_each(request.parallelism, request.control, &offsets, |&offset| {
        let node = reading.extent(offset)?;
        nodes.lock().insert(offset, node);
        Ok(())
    })?;
    let nodes = nodes.into_inner();
    let items = nodes.len() as u64;
    let stored: u64 = nodes.keys().map(|offset| EXTENT_BYTES.min(volume.size - offset)).sum();
    request.control.advance(Progress { bytes_done: volume.size - stored, ..Progress::default() });
    let mut groups: BTreeMap<u64, Vec<Node>> = BTreeMap::new();
    for (offset, node) in nodes {
        groups.entry(group_of(offset)).or_default().push(node);
    }
    let mut data = Vec::new();
    for (offset, nodes) in groups {
        let subtree = request.writer.write_tree(Tree { nodes })?;
        data.push(node(name(offset), NodeKind::Dir { subtree }));
    }
    let subtree = request.writer.write_tree(Tree { nodes: data })?;
    let after = volume.image_file().map_err(failed)?;
    let facts = Facts::new(volume.size, volume.kind, before);
    Ok(Capture {
        data: node(b"data".to_vec(), NodeKind::Dir { subtree }),
        sidecars: Vec::new(),
        consistency: match request.quiesced {
            QuiesceOutcome::NotQuiesced => Consistency::Crash,
            QuiesceOutcome::Application => Consistency::Application,
            QuiesceOutcome::Filesystem => Consistency::Filesystem,
        },
        size_bytes: volume.size,
        items,
        change_detection: "full read by hashing; holes are not read".to_owned(),
        exceptions: written_meanwhile(before, after).into_iter().collect(),
        // Numbers, strings and maps of them always have a JSON form.
        facts: serde_json::to_value(facts).unwrap_or_default(),
    })
}

/// An image file tells by its times that it was written; a device does not.
fn written_meanwhile(before: Option<ImageFile>, after: Option<ImageFile>) -> Option<ReadException> {
    (before.map(|file| file.mtime) != after.map(|file| file.mtime)).then(|| ReadException {
        path: String::new(),
        kind: ExceptionKind::ChangedWhileReading,
        message: "the image was written while it was read; quiesce whoever writes it, or capture a snapshot".to_owned(),
    })
}

/// Offsets of the extents that are not all hole.
fn offsets_with_data(volume: &Volume) -> rustix::io::Result<Vec<u64>> {
    let mut offsets = Vec::new();
    let mut position = 0;
    while let Some((start, _)) = volume.data_from(position)? {
        let offset = start / EXTENT_BYTES * EXTENT_BYTES;
        offsets.push(offset);
        position = offset + EXTENT_BYTES;
    }
    Ok(offsets)
}

struct Reading<'a> {
    request: &'a CaptureRequest<'a>,
    volume: &'a Volume,
    /// Ids of chunks of zeros by length.
    zeros: Mutex<BTreeMap<usize, Id>>,
}

impl Reading<'_> {
    fn extent(&self, offset: u64) -> Result<Node, DriverError> {
        let failed = |error: std::io::Error| io_error("read", self.request.location, error);
        let end = (offset + EXTENT_BYTES).min(self.volume.size);
        let mut content = Vec::new();
        let mut buffer = vec![0; CHUNK_BYTES as usize];
        let mut position = offset;
        // The next part of the volume with data, looked for only when the last one is passed.
        let mut data = Some((offset, offset));
        while position < end {
            if self.request.control.is_stopped() {
                return Err(DriverError::Stopped);
            }
            if data.is_some_and(|(_, data_end)| data_end <= position) {
                data = self.volume.data_from(position).map_err(|e| failed(e.into()))?;
            }
            let chunk_end = (position + CHUNK_BYTES).min(end);
            let chunk = &mut buffer[..(chunk_end - position) as usize];
            let bytes = chunk.len() as u64;
            if data.is_some_and(|(start, _)| start < chunk_end) {
                self.volume.file.read_exact_at(chunk, position).map_err(failed)?;
                self.request.control.advance(Progress { bytes_read: bytes, bytes_done: bytes, ..Progress::default() });
                content.push(self.request.writer.write_chunk(chunk)?.0);
            } else {
                content.push(self.zeros(chunk.len())?);
                self.request.control.advance(Progress { bytes_done: bytes, ..Progress::default() });
            }
            position = chunk_end;
        }
        self.request.control.advance(Progress { items_done: 1, ..Progress::default() });
        Ok(node(name(offset), NodeKind::File { content, size: end - offset }))
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
