//! An open volume.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use driver_api::DriverError;
use jiff::Timestamp;
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::io_error;

/// What a volume lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Image,
    BlockDevice,
}

#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) file: File,
    pub(crate) kind: Kind,
    /// In bytes.
    pub(crate) size: u64,
    /// Whether it is a clone that nobody else reads.
    is_clone: bool,
}

/// Attributes of an image file, kept with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageFile {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
}

impl Volume {
    /// Opens a volume for reading; links are followed, as those below `/dev` are meant to be.
    pub(crate) fn open(path: &Path, location: &str) -> Result<Self, DriverError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(rustix::fs::CWD, path, flags, rustix::fs::Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Err(DriverError::NotFound { location: location.to_owned() }),
            Err(error) => return Err(io_error("open", location, error)),
        };
        Self::of(file, location)
    }

    pub(crate) fn of(file: File, location: &str) -> Result<Self, DriverError> {
        let metadata = file.metadata().map_err(|e| io_error("look at", location, e))?;
        let kind = if metadata.is_file() {
            Kind::Image
        } else if metadata.file_type().is_block_device() {
            Kind::BlockDevice
        } else {
            return Err(DriverError::BadLocation {
                location: location.to_owned(),
                problem: "it is neither an image file nor a block device".to_owned(),
            });
        };
        // A device's metadata has no size.
        let size = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|e| io_error("find the size of", location, e))?;
        Ok(Self { file, kind, size, is_clone: false })
    }

    /// A clone of an image, made for one capture.
    pub(crate) fn of_clone(file: File, location: &str) -> Result<Self, DriverError> {
        Ok(Self { is_clone: true, ..Self::of(file, location)? })
    }

    /// This range will not be read again.
    pub(crate) fn forget(&self, range: Range<u64>) {
        // What is cached of a live volume may be what its own reader needs next.
        if self.is_clone {
            file_clones::forget(&self.file, range);
        }
    }

    /// The first extent with data at or after an offset: where it starts and ends. Everything is data where the system
    /// cannot tell.
    pub(crate) fn data_from(&self, offset: u64) -> rustix::io::Result<Option<(u64, u64)>> {
        if offset >= self.size {
            return Ok(None);
        }
        let fd = self.file.as_fd();
        let start = match rustix::fs::seek(fd, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL) => return Ok(Some((offset, self.size))),
            Err(error) => return Err(error),
        };
        let end = match rustix::fs::seek(fd, SeekFrom::Hole(start)) {
            Ok(end) => end,
            Err(Errno::NXIO | Errno::INVAL) => self.size,
            Err(error) => return Err(error),
        };
        Ok((start < self.size).then(|| (start, end.clamp(start + 1, self.size))))
    }

    /// An image file's attributes; none for a device, which has its own.
    pub(crate) fn image_file(&self) -> std::io::Result<Option<ImageFile>> {
        if self.kind == Kind::BlockDevice {
            return Ok(None);
        }
        let metadata = self.file.metadata()?;
        let nanosecond = i32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        let mtime = Timestamp::new(metadata.mtime(), nanosecond).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Some(ImageFile { mode: metadata.mode() & 0o7777, uid: metadata.uid(), gid: metadata.gid(), mtime }))
    }

    /// Where a range that should be zeros is not: the offset of the piece in which that is so.
    pub(crate) fn first_not_zero(
        &self,
        from: u64,
        to: u64,
        mut go_on: impl FnMut() -> bool,
    ) -> std::io::Result<Option<u64>> {
        let mut buffer = vec![0; 1 << 20];
        let mut position = from;
        while let Some((start, end)) = self.data_from(position)? {
            let (mut start, end) = (start.max(position), end.min(to));
            if start >= to {
                break;
            }
            while start < end {
                if !go_on() {
                    return Ok(None);
                }
                let length = usize::try_from(end - start).unwrap_or(usize::MAX).min(buffer.len());
                let piece = &mut buffer[..length];
                self.file.read_exact_at(piece, start)?;
                if piece.iter().any(|byte| *byte != 0) {
                    return Ok(Some(start));
                }
                start += length as u64;
            }
            position = end;
        }
        Ok(None)
    }
}
