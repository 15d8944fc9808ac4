//! A block device: written in place, after everything needed was read from the vault once without error.

use std::fs::File;
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
use crate::layout::{CHUNK_BYTES, EXTENT_BYTES};
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
    if volume.size < work.facts.size {
        let problem = format!("it has {} bytes and needs {}", volume.size, work.facts.size);
        return Err(DriverError::BadLocation { location: shown, problem });
    }
    let (missing, zeros) = differences(work, &volume, &shown)?;
    work.fetch(&missing, &Proof)?;
    phases.end("plan");
    let file = volume.file.try_clone().map_err(|e| io_error("open", &shown, e))?;
    work.fetch_into(&missing, &Arc::new(Uncached::new(file)))?;
    let nothing = vec![0; CHUNK_BYTES as usize];
    for &(from, to) in &zeros {
        work.stop_if_told()?;
        let piece = &nothing[..(to - from) as usize];
        volume.file.write_all_at(piece, from).map_err(|e| io_error("write", &shown, e))?;
    }
    phases.end("fetch");
    volume.file.sync_all().map_err(|e| io_error("sync", &shown, e))?;
    phases.end("sync");
    Ok(())
}

/// Chunks that are not on the device, and pieces that should be zeros and are not.
type Differences = (Vec<BlobSpan>, Vec<(u64, u64)>);

fn differences(work: &Work<'_>, volume: &Volume, shown: &str) -> Result<Differences, DriverError> {
    let failed = |error| io_error("read", shown, error);
    let control = work.request.control;
    let (missing, zeros) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let offsets: Vec<u64> = (0..work.facts.size.div_ceil(EXTENT_BYTES)).map(|index| index * EXTENT_BYTES).collect();
    queue::for_each(work.request.parallelism, control, &offsets, |&offset| {
        let mut buffer = Vec::new();
        if let Ok(index) = work.extents.binary_search_by_key(&offset, |extent| extent.offset) {
            for span in &work.extents[index].spans {
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
        let end = (offset + EXTENT_BYTES).min(work.facts.size);
        let mut position = offset;
        while position < end {
            work.stop_if_told()?;
            let to = (position + CHUNK_BYTES).min(end);
            if volume.first_not_zero(position, to, || true).map_err(failed)?.is_some() {
                zeros.lock().push((position, to));
            }
            position = to;
        }
        control.advance(Progress { bytes_done: end - offset, ..Progress::default() });
        Ok(())
    })?;
    let mut missing = missing.into_inner();
    missing.sort_by_key(|span| span.offset);
    Ok((missing, zeros.into_inner()))
}

/// Takes content and drops it: what could be fetched once is known to be whole.
struct Proof;

impl ContentSink for Proof {
    fn write_at(&self, _file: usize, _offset: u64, _bytes: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}
