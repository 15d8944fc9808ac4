//! Captures volumes that QEMU serves: disks of virtual machines and of `qemu-storage-daemon`.
//!
//! # Locations
//!
//! `qemu:///NODE?profile=NAME`: the block node of a disk's format, and a process of the worker's own configuration
//! ([`QemuSettings`]). No message names a socket or a path.
//!
//! # How it is read
//!
//! An instant is taken in milliseconds, while whoever uses the disk goes on: what it overwrites is put aside in a scratch
//! file, and the disk as it was is read over NBD, but for what reads as zeros. A dirty bitmap records from that very instant
//! on; the next capture reads only what it says was written. The parent's bitmap is removed only after the new recovery point
//! is committed, and records until then. In qcow2 images bitmaps are saved when the process ends in order.
//!
//! Where the bitmap is gone, was not saved, was disabled, or has another granularity, everything is read, and the recovery
//! point says why. Where the scratch directory fills, QEMU fails the guest's write rather than
//! the instant, for which reason no capture begins without room.
//!
//! Recovery points are those of `driver-volume`, and so are restores (to a raw image or a device) and checks.

mod capture;
mod error;
mod instant;
mod location;
mod nbd;
mod qmp;
mod served;
pub mod settings;

use std::path::PathBuf;
use std::sync::Arc;

use driver_api::{Capture, CaptureRequest, Check, CheckRequest, Driver, DriverError, Probe, RestoreRequest, Restored};
use driver_volume::VolumeDriver;
use job_model::ResourceType;

pub use location::SCHEME;
pub use settings::{QemuProfile, QemuSettings};

/// The driver for volumes of all kinds: those that QEMU serves, and, by [`VolumeDriver`], image files and block devices.
#[derive(Clone, Debug, Default)]
pub struct ServedVolumeDriver {
    settings: Arc<QemuSettings>,
}

impl ServedVolumeDriver {
    /// The driver with a worker's settings.
    #[must_use]
    pub fn new(settings: QemuSettings) -> Self {
        Self { settings: Arc::new(settings) }
    }
}

impl Driver for ServedVolumeDriver {
    fn resource_type(&self) -> ResourceType {
        ResourceType::Volume
    }

    fn probe(&self, location: &str) -> Result<Probe, DriverError> {
        if location::is_served(location) {
            capture::probe(&self.settings, location)
        } else {
            VolumeDriver.probe(location)
        }
    }

    fn capture(&self, request: CaptureRequest<'_>) -> Result<Capture, DriverError> {
        if location::is_served(request.location) {
            capture::run(&self.settings, &request)
        } else {
            VolumeDriver.capture(request)
        }
    }

    fn discard(&self, remains: &serde_json::Value) -> Result<(), DriverError> {
        if !instant::is_ours(remains) {
            return VolumeDriver.discard(remains);
        }
        instant::remove(&self.settings, remains).map_err(|problem| DriverError::Io {
            action: "remove what QEMU keeps",
            path: "for an earlier capture".to_owned(),
            source: std::io::Error::other(problem),
        })
    }

    fn restore(&self, request: RestoreRequest<'_>) -> Result<Restored, DriverError> {
        VolumeDriver.restore(request)
    }

    fn staging(&self, request: &RestoreRequest<'_>) -> PathBuf {
        VolumeDriver.staging(request)
    }

    fn check(&self, request: CheckRequest<'_>) -> Result<Check, DriverError> {
        VolumeDriver.check(request)
    }
}
