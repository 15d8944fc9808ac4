//! An image file: built beside its place, renamed when it is whole.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use driver_api::compare::{ZeroChunks, has_span};
use driver_api::{BlobSpan, DriverError, Uncached, queue, reserve, write_back_while};
use job_model::{Finding, Progress};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::{Phases, Work, exists, key, warning};
use crate::io_error;
use crate::layout::Extent;

/// Between two times that what was written is brought to the disk.
const WRITE_BACK_PAUSE: Duration = Duration::from_millis(150);

pub(super) fn build(work: &Work<'_>, replaces: bool, phases: &mut Phases<'_>) -> Result<Vec<Finding>, DriverError> {
    let target = work.request.target;
    let shown = target.display().to_string();
    let Some(name) = target.file_name() else {
        let problem = "it has no name; write the path of an image file or block device".to_owned();
        return Err(DriverError::BadLocation { location: shown, problem });
    };
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::openat(CWD, parent, flags, Mode::empty())
        .map_err(|e| io_error("open the parent directory of", &shown, e))?;
    let part = part(&key(work.request));
    let (file, is_new) = open_part(&parent, &part).map_err(|e| io_error("make a file beside", &shown, e))?;
    file.set_len(work.facts().size).map_err(|e| io_error("set the size of the file beside", &shown, e))?;
    let zeros = ZeroChunks::default();
    // A lack of room shows before anything is written.
    for window in work.layout.windows() {
        let wanted: Vec<BlobSpan> =
            window?.extents.into_iter().flat_map(|extent| extent.spans).filter(|span| !zeros.is_zero(span)).collect();
        for row in wanted.chunk_by(|a, b| a.offset + u64::from(a.length) == b.offset) {
            let length = row.iter().map(|span| u64::from(span.length)).sum();
            reserve(&file, row[0].offset, length).map_err(|e| io_error("reserve room for", &shown, e))?;
        }
    }
    work.request.control.advance(Progress { bytes_done: work.zeros, ..Progress::default() });
    let file = Arc::new(Uncached::new(file));
    // What goes past the page cache leaves nothing to write back.
    let write_back = || if file.is_direct() { Ok(()) } else { file.file().sync_data() };
    let fetch = || {
        work.layout.windows().try_for_each(|window| {
            let zeros = is_new.then_some(&zeros);
            work.fetch_into(missing(work, &window?.extents, file.file(), zeros)?, &file)
        })
    };
    write_back_while(WRITE_BACK_PAUSE, write_back, fetch).map_err(|e| io_error("sync", &shown, e))??;
    work.stop_if_told()?;
    phases.end("fetch");
    let file = file.file();
    let findings = set_attributes(work, file, &shown)?;
    phases.end("metadata");
    file.sync_all().map_err(|e| io_error("sync", &shown, e))?;
    let rename = if replaces { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match rustix::fs::renameat_with(&parent, &part, &parent, name, rename) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(exists(&shown)),
        Err(error) => return Err(io_error("put in place", shown, error)),
    }
    rustix::fs::fsync(&parent).map_err(|e| io_error("sync the parent directory of", &shown, e))?;
    phases.end("sync");
    Ok(findings)
}

/// Name of the file that is built.
pub(super) fn part(key: &str) -> String {
    format!(".holdfast-{key}")
}

/// Opens the file beside the target, and says whether it is new. One that somebody else put there is replaced.
fn open_part(parent: &OwnedFd, name: &str) -> std::io::Result<(File, bool)> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let create = || {
        rustix::fs::openat(parent, name, flags | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)
            .map(|fd| (File::from(fd), true))
    };
    match create() {
        Err(Errno::EXIST) => {}
        other => return Ok(other?),
    }
    if let Ok(fd) = rustix::fs::openat(parent, name, flags, Mode::empty()) {
        let file = File::from(fd);
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.nlink() == 1 {
            return Ok((file, false));
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
    Ok(create()?)
}

/// What the file lacks of these extents. Chunks of zeros are holes in a new one, for which they are given.
fn missing(
    work: &Work<'_>,
    extents: &[Extent],
    file: &File,
    zeros: Option<&ZeroChunks>,
) -> Result<Vec<BlobSpan>, DriverError> {
    let missing = Mutex::new(Vec::new());
    let control = work.request.control;
    queue::for_each(work.request.parallelism, control, extents, |extent| {
        let mut buffer = Vec::new();
        let mut lacking = Vec::new();
        for span in &extent.spans {
            work.stop_if_told()?;
            let present = match zeros {
                Some(zeros) => zeros.is_zero(span),
                None => has_span(file, span, &mut buffer).map_err(|e| io_error("read the file beside", "", e))?,
            };
            if present {
                control.advance(Progress { bytes_done: u64::from(span.length), ..Progress::default() });
            } else {
                lacking.push(*span);
            }
        }
        control.advance(Progress { items_done: 1, ..Progress::default() });
        missing.lock().extend(lacking);
        Ok(())
    })?;
    let mut missing = missing.into_inner();
    missing.sort_by_key(|span| span.offset);
    Ok(missing)
}

/// Owner, mode and time of the image file that was captured, where it was one.
fn set_attributes(work: &Work<'_>, file: &File, shown: &str) -> Result<Vec<Finding>, DriverError> {
    let Some(wanted) = work.facts().image_file else { return Ok(Vec::new()) };
    let mut findings = Vec::new();
    let current = file.metadata().map_err(|e| io_error("look at", shown, e))?;
    let mut mode = wanted.mode;
    if (current.uid(), current.gid()) != (wanted.uid, wanted.gid) {
        let owner = (Some(Uid::from_raw(wanted.uid)), Some(Gid::from_raw(wanted.gid)));
        match rustix::fs::fchown(file, owner.0, owner.1) {
            Ok(()) => {}
            Err(error @ (Errno::PERM | Errno::INVAL)) => {
                mode &= !0o6000;
                findings.push(warning(format!("could not set the owner: {}", std::io::Error::from(error))));
            }
            Err(error) => return Err(io_error("set the owner of", shown, error)),
        }
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).map_err(|e| io_error("set the mode of", shown, e))?;
    let nanoseconds = wanted.mtime.as_nanosecond();
    // A timestamp's seconds fit 64 bits by its range; the remainder is below a billion.
    #[expect(clippy::cast_possible_truncation, reason = "see above")]
    let time = Timespec {
        tv_sec: nanoseconds.div_euclid(1_000_000_000) as i64,
        tv_nsec: nanoseconds.rem_euclid(1_000_000_000) as _,
    };
    rustix::fs::futimens(file.as_fd(), &Timestamps { last_access: time, last_modification: time })
        .map_err(|e| io_error("set the time of", shown, e))?;
    Ok(findings)
}
