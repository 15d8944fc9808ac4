//! A block device: written in place, after everything needed was read from the vault once without error.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use driver_api::compare::has_span;
use driver_api::{BlobSpan, ContentSink, DriverError, Uncached, queue};
use job_model::Progress;
use parking_lot::Mutex;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{Phases, Work};
use crate::io_error;
use crate::layout::{CHUNK_BYTES, EXTENT_BYTES, Window};
use crate::volume::Volume;

pub(super) fn write(work: &Work<'_>, phases: &mut Phases<'_>) -> Result<(), DriverError> {
    let shown = work.request.target.display().to_string();
    // Without CREATE, EXCL asks the kernel to refuse a device that is mounted or otherwise in use.
    let flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(CWD, work.request.target, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::BUSY) => {
            let problem = "it is mounted or in use; unmount it first".to_owned();
            return Err(DriverError::BadLocation { location: shown, problem });
        }
        Err(error) => return Err(io_error("open", shown, error)),
    };
    let volume = Volume::of(file, &shown)?;
    let size = work.facts().size;
    if volume.size < size {
        let problem = format!("it has {} bytes and needs {size}", volume.size);
        return Err(DriverError::BadLocation { location: shown, problem });
    }
    let (mut missing, mut zeros) = (Vec::new(), Vec::new());
    for window in work.layout.windows() {
        let (spans, not_zero) = differences(work, &volume, &window?, &shown)?;
        spans.iter().for_each(|span| add(&mut missing, span.offset..span.offset + u64::from(span.length)));
        not_zero.into_iter().for_each(|range| add(&mut zeros, range));
        work.fetch(spans, &Proof)?;
    }
    phases.end("plan");
    let file = volume.file.try_clone().map_err(|e| io_error("open", &shown, e))?;
    let file = Arc::new(Uncached::new(file));
    for window in work.layout.windows() {
        let mut spans: Vec<BlobSpan> = window?.extents.into_iter().flat_map(|extent| extent.spans).collect();
        spans.retain(|span| has(&missing, span.offset));
        work.fetch_into(spans, &file)?;
    }
    let nothing = vec![0; CHUNK_BYTES as usize];
    for range in zeros {
        for from in range.clone().step_by(CHUNK_BYTES as usize) {
            work.stop_if_told()?;
            let piece = &nothing[..CHUNK_BYTES.min(range.end - from) as usize];
            volume.file.write_all_at(piece, from).map_err(|e| io_error("write", &shown, e))?;
        }
    }
    phases.end("fetch");
    volume.file.sync_all().map_err(|e| io_error("sync", &shown, e))?;
    phases.end("sync");
    Ok(())
}

/// Adds a range that lies behind all others; one that begins where the last ends makes that one longer. All of a device may
/// differ, and chunk by chunk that would be more than memory should hold.
fn add(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

fn has(ranges: &[Range<u64>], offset: u64) -> bool {
    ranges.get(ranges.partition_point(|range| range.end <= offset)).is_some_and(|range| range.start <= offset)
}

/// Chunks of a window that are not on the device, and pieces that should be zeros and are not, both in order.
fn differences(
    work: &Work<'_>,
    volume: &Volume,
    window: &Window,
    shown: &str,
) -> Result<(Vec<BlobSpan>, Vec<Range<u64>>), DriverError> {
    let failed = |error| io_error("read", shown, error);
    let control = work.request.control;
    let (missing, zeros) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    // It begins where an extent may begin.
    let offsets: Vec<u64> = window.part.clone().step_by(EXTENT_BYTES as usize).collect();
    queue::for_each(work.request.parallelism, control, &offsets, |&offset| {
        let mut buffer = Vec::new();
        if let Ok(index) = window.extents.binary_search_by_key(&offset, |extent| extent.offset) {
            for span in &window.extents[index].spans {
                work.stop_if_told()?;
                if has_span(&volume.file, span, &mut buffer).map_err(failed)? {
                    control.advance(Progress { bytes_done: u64::from(span.length), ..Progress::default() });
                } else {
                    missing.lock().push(*span);
                }
            }
            control.advance(Progress { items_done: 1, ..Progress::default() });
            return Ok(());
        }
        let end = (offset + EXTENT_BYTES).min(window.part.end);
        let mut position = offset;
        while position < end {
            work.stop_if_told()?;
            let to = (position + CHUNK_BYTES).min(end);
            if volume.first_not_zero(position, to, || true).map_err(failed)?.is_some() {
                zeros.lock().push(position..to);
            }
            position = to;
        }
        control.advance(Progress { bytes_done: end - offset, ..Progress::default() });
        Ok(())
    })?;
    let (mut missing, mut zeros) = (missing.into_inner(), zeros.into_inner());
    missing.sort_by_key(|span| span.offset);
    zeros.sort_by_key(|range| range.start);
    Ok((missing, zeros))
}

/// Takes content and drops it: what could be fetched once is known to be whole.
struct Proof;

impl ContentSink for Proof {
    fn write_at(&self, _file: usize, _offset: u64, _bytes: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}
