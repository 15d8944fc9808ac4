//! Captures and restores raw volumes: image files and block devices.
//!
//! # How a volume is stored
//!
//! `data/<section>/<part>/<group>/<extent>`: an extent is a file with 64 MiB of the volume (the last one may be shorter), named
//! by its offset in the volume as 16 hexadecimal digits; it lies in a group of its own, 32 groups in a part and 32 parts in a
//! section, each named by the offset of its first byte. Extents are cut in chunks of 256 KiB, aligned to the volume, so that
//! overwriting in place changes few chunks and few small trees: about 35 KB of trees for each chunk, however large the volume
//! is. An extent that is all hole is absent; within an extent, chunks in holes are the chunk of zeros. Holes are never read.
//! (Recovery points of older versions have chunks of 512 KiB or 1 MiB, and larger groups in one or two levels.)
//!
//! # Rebuilding an image without Holdfast
//!
//! With the snapshot restored by `restic restore` and the volume's size from `holdfast/recovery-point.json`
//! (`.driver.size`):
//!
//! ```sh
//! truncate -s "$size" image
//! find data -type f | while read -r extent; do
//!     dd if="$extent" of=image bs=1M seek=$((0x$(basename "$extent") / 1048576)) conv=notrunc,sparse
//! done
//! ```
//!
//! # How a change is noticed
//!
//! Of an image file on a file system that shares extents (XFS with reflink, btrfs), a clone is taken in an instant and read
//! in place of the file, and kept until the next recovery point is committed. The extents of both clones say what may have
//! changed; nothing else is read, and directories in which nothing changed are taken over from the parent unread. See
//! [`file_clones`] for why that is exact. Where it cannot be done this time (the clone is gone or was changed, the image is
//! another file, …) everything is read, and the recovery point says why. What was read of a clone does not stay in the page
//! cache: nobody else reads it.
//!
//! Elsewhere, and of block devices, everything but holes is read and hashed at each capture.
//!
//! # Restores
//!
//! An image file is built beside its place and renamed when it is whole and on the disk; zeros are holes in it. Content goes
//! past the page cache where the file system can do that: what is restored is rarely read at once, and would push out what is.
//! Restores and checks know the chunks of 4 GiB at a time, not of the whole volume; that each of them is there is looked at
//! before anything is touched.
//! A block device is written in place, after everything that will be written was read from the vault once without error; what
//! is right already is neither read from the vault nor written.

mod capture;
mod check;
mod layout;
mod restore;
mod source;
mod volume;

use std::path::PathBuf;

use driver_api::{
    Capture, CaptureRequest, Check, CheckRequest, Driver, DriverError, Probe, RestoreRequest, Restored, file_path,
};
use job_model::ResourceType;

pub use capture::{Served, capture_served};
pub use layout::{CHUNK_BYTES, EXTENT_BYTES, GROUP_BYTES, LEVEL_BYTES};
pub use source::Source;

/// The driver for raw volumes.
#[derive(Clone, Copy, Debug, Default)]
pub struct VolumeDriver;

impl VolumeDriver {
    /// The driver; it has no settings.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Driver for VolumeDriver {
    fn resource_type(&self) -> ResourceType {
        ResourceType::Volume
    }

    fn probe(&self, location: &str) -> Result<Probe, DriverError> {
        let volume = volume::Volume::open(&file_path(location)?, location)?;
        let mut warnings = Vec::new();
        if volume.kind == volume::Kind::BlockDevice {
            warnings.push(
                "the device may be written while it is captured; snapshot it below, or quiesce its file system with hooks"
                    .to_owned(),
            );
        }
        Ok(Probe { size_bytes: Some(volume.size), warnings })
    }

    fn capture(&self, request: CaptureRequest<'_>) -> Result<Capture, DriverError> {
        capture::run(&request)
    }

    fn discard(&self, remains: &serde_json::Value) -> Result<(), DriverError> {
        capture::discard(remains)
    }

    fn restore(&self, request: RestoreRequest<'_>) -> Result<Restored, DriverError> {
        restore::run(&request)
    }

    fn staging(&self, request: &RestoreRequest<'_>) -> PathBuf {
        restore::staging(request)
    }

    fn check(&self, request: CheckRequest<'_>) -> Result<Check, DriverError> {
        check::run(&request)
    }
}

fn io_error(action: &'static str, path: impl Into<String>, source: impl Into<std::io::Error>) -> DriverError {
    DriverError::Io { action, path: path.into(), source: source.into() }
}
