//! A disk that is captured again and again, and each recovery point compared with it.

use std::path::PathBuf;
use std::process::Command;

use driver_api::conformance::{CountingControl, Keeper, MemoryVault, Point};
use driver_api::{
    CaptureRequest, Driver, DriverError, NoControl, ParentPoint, QuiesceOutcome, RestoreRequest, TrackingSettings,
};
use driver_qemu::{QemuProfile, QemuSettings, ServedVolumeDriver};
use job_model::{ChangeMethod, OverwritePolicy, SourceView};

use crate::daemon::Daemon;

pub(crate) fn driver(daemon: &Daemon) -> ServedVolumeDriver {
    let scratch_directory = daemon.path("scratch");
    std::fs::create_dir_all(&scratch_directory).unwrap();
    let profile = QemuProfile {
        qmp_socket: daemon.path("qmp"),
        nbd_socket: daemon.path("nbd"),
        scratch_directory,
        scratch_min_free_percent: 25,
        timeout_seconds: 10,
    };
    ServedVolumeDriver::new(QemuSettings { profiles: [("vm".to_owned(), profile)].into() })
}

/// A disk that is captured again and again.
pub(crate) struct Chain {
    pub(crate) daemon: Daemon,
    vault: MemoryVault,
    pub(crate) newest: Option<Point>,
    number: u32,
}

pub(crate) struct Seen {
    pub(crate) method: ChangeMethod,
    pub(crate) read: u64,
    pub(crate) fallback: Option<String>,
}

impl Chain {
    pub(crate) fn new(format: &'static str) -> Self {
        Self::of(Daemon::new(format, true))
    }

    pub(crate) fn of(daemon: Daemon) -> Self {
        Self { daemon, vault: MemoryVault::new(), newest: None, number: 0 }
    }

    pub(crate) fn try_capture(
        &mut self,
        on_taken: &(dyn Fn() -> Result<(), DriverError> + Sync),
    ) -> Result<Seen, (DriverError, Option<serde_json::Value>)> {
        self.number += 1;
        let settings = TrackingSettings { directories: Vec::new(), min_free_percent: 1 };
        let name = format!("point-{}", self.number);
        let keeper = Keeper::new(name, self.newest.as_ref(), settings).when_taken(on_taken);
        let control = CountingControl::default();
        let driver = driver(&self.daemon);
        let captured = driver.capture(CaptureRequest {
            location: "qemu:///disk0?profile=vm",
            writer: &self.vault,
            parent: self.newest.as_ref().map(|p| ParentPoint { reader: &p.snapshot, description: &p.description }),
            quiesced: QuiesceOutcome::NotQuiesced,
            tracking: Some(&keeper),
            parallelism: 2,
            control: &control,
            now: &|| jiff::Timestamp::UNIX_EPOCH,
        });
        let capture = captured.map_err(|error| (error, keeper.intended()))?;
        let point = Point::commit(&self.vault, capture).unwrap();
        let reading = point.capture.reading.clone();
        assert_eq!(reading.view, SourceView::ServedSnapshot);
        // Committed: the parent's goes.
        let parent = self.newest.replace(point).and_then(|point| point.capture.remains);
        if let Some(parent) = parent {
            driver.discard(&parent).unwrap();
        }
        assert_eq!(self.daemon.litter(), Vec::<String>::new());
        Ok(Seen { method: reading.method, read: control.sum().bytes_read, fallback: reading.fallback })
    }

    /// Captures, restores to a raw image, and compares with the disk as it is.
    pub(crate) fn capture(&mut self) -> Seen {
        let seen = self.try_capture(&|| Ok(())).map_err(|(error, _)| error).unwrap();
        assert_eq!(self.daemon.bitmaps().len(), 1);
        assert_eq!(self.difference(), None, "capture {}", self.number);
        seen
    }

    /// The newest recovery point as a raw image.
    pub(crate) fn restored(&self) -> PathBuf {
        let point = self.newest.as_ref().unwrap();
        let target = self.daemon.path(&format!("restored-{}", self.number));
        driver(&self.daemon)
            .restore(RestoreRequest {
                reader: &point.snapshot,
                description: &point.description,
                target: &target,
                overwrite: OverwritePolicy::Refuse,
                include: &[],
                options: &std::collections::BTreeMap::new(),
                parallelism: 2,
                control: &NoControl,
                elapsed_ms: &|| 0,
            })
            .unwrap();
        target
    }

    /// How the newest recovery point differs from the disk, which nobody writes meanwhile.
    pub(crate) fn difference(&self) -> Option<String> {
        let target = self.restored();
        let before = self.daemon.copy("compared");
        let output = Command::new("qemu-img")
            .args(["compare", "-f", "raw", "-F", "raw"])
            .args([&target, &before])
            .output()
            .unwrap();
        std::fs::remove_file(&target).unwrap();
        std::fs::remove_file(&before).unwrap();
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn tracked(&mut self, most: u64) {
        let seen = self.capture();
        assert_eq!((seen.method, seen.fallback), (ChangeMethod::DirtyBitmap, None), "capture {}", self.number);
        assert!(seen.read <= most, "capture {}: {} bytes were read instead of {most}", self.number, seen.read);
    }

    pub(crate) fn fell_back(&mut self, why: &str) {
        let seen = self.capture();
        assert_eq!(seen.method, ChangeMethod::FullRead);
        let fallback = seen.fallback.unwrap_or_default();
        assert!(fallback.contains(why), "`{fallback}` does not say `{why}`");
    }
}
