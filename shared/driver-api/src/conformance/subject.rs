//! What a driver's tests provide, and the bench the cases run on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use job_model::{FindingKind, OverwritePolicy, Progress};
use parking_lot::Mutex;
use vault_format::{Id, NodeKind};

use super::{MemorySnapshot, MemoryVault};
use crate::{
    Capture, CaptureRequest, Check, CheckRequest, Control, Driver, DriverError, NoControl, ParentPoint, QuiesceOutcome,
    RestoreRequest, Restored, SnapshotReader, file_location,
};

/// One way to spoil what was restored.
#[derive(Clone, Copy)]
pub struct Damage {
    /// For the message of the test that fails.
    pub name: &'static str,
    /// Spoils the restored thing.
    pub apply: fn(&Path),
    /// What the check must find, as a failure.
    pub finding: FindingKind,
}

impl std::fmt::Debug for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A driver and a small resource of its kind: at least a megabyte of content that does not compress or repeat, and
/// something of everything that the driver cares about.
pub trait Subject {
    /// The driver.
    fn driver(&self) -> &dyn Driver;

    /// Makes the resource at a path that does not exist.
    fn build(&self, place: &Path);

    /// Changes a small part of it and returns how many bytes that may make an incremental capture store at most.
    fn change(&self, place: &Path) -> u64;

    /// Whether an incremental capture reads only what changed; false for drivers that read and hash everything.
    fn skips_unchanged(&self) -> bool;

    /// How two of them differ, judged without the driver; none when they are equal in all that must be restored.
    fn difference(&self, left: &Path, right: &Path) -> Option<String>;

    /// Ways to spoil a restored one: a flipped byte, something missing, something extra, changed metadata.
    fn damages(&self) -> Vec<Damage>;

    /// Whether the tests run with the rights to restore everything.
    fn privileged(&self) -> bool;
}

/// A vault, a directory to work in and the clock.
#[derive(Debug)]
pub struct Bench {
    /// The vault.
    pub vault: MemoryVault,
    directory: tempfile::TempDir,
    begin: Instant,
}

/// What a capture made, committed.
#[derive(Debug)]
pub struct Point {
    /// What the driver said.
    pub capture: Capture,
    /// The snapshot.
    pub snapshot: MemorySnapshot,
    /// As the service would write it.
    pub description: serde_json::Value,
}

impl Bench {
    /// An empty vault and an empty directory.
    ///
    /// # Panics
    /// When there is no place for temporary files.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without a place to work in has failed")]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("make a temporary directory");
        Self { vault: MemoryVault::new(), directory, begin: Instant::now() }
    }

    /// A path below the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Waits until the clock has moved so far that files changed before can be told from files changed later.
    pub fn settle(&self) {
        let begin = Instant::now();
        while begin.elapsed().as_millis() < 60 {
            std::thread::yield_now();
        }
    }

    /// Captures what lies at `source`.
    ///
    /// # Errors
    /// The driver's.
    pub fn capture_with(
        &self,
        subject: &dyn Subject,
        source: &Path,
        parent: Option<&Point>,
        control: &dyn Control,
    ) -> Result<Point, DriverError> {
        let location = file_location(source).ok_or_else(|| DriverError::BadLocation {
            location: source.display().to_string(),
            problem: "not absolute".to_owned(),
        })?;
        let capture = subject.driver().capture(CaptureRequest {
            location: &location,
            writer: &self.vault,
            parent: parent.map(|p| ParentPoint { reader: &p.snapshot, description: &p.description }),
            quiesced: QuiesceOutcome::NotQuiesced,
            tracking: None,
            parallelism: 3,
            control,
            now: &now,
        })?;
        Ok(Point::commit(&self.vault, capture)?)
    }

    /// Captures without anybody watching.
    ///
    /// # Panics
    /// When the capture fails or has exceptions.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test whose capture fails has failed")]
    pub fn capture(&self, subject: &dyn Subject, source: &Path, parent: Option<&Point>) -> Point {
        let point = self.capture_with(subject, source, parent, &NoControl).expect("capture");
        assert_eq!(point.capture.exceptions, [], "the capture of a resource at rest has no exceptions");
        point
    }

    /// Restores to `target`.
    ///
    /// # Errors
    /// The driver's.
    pub fn restore_with(
        &self,
        subject: &dyn Subject,
        point: &Point,
        target: &Path,
        overwrite: OverwritePolicy,
        control: &dyn Control,
    ) -> Result<Restored, DriverError> {
        subject.driver().restore(RestoreRequest {
            reader: &point.snapshot,
            description: &point.description,
            target,
            overwrite,
            include: &[],
            options: &BTreeMap::new(),
            parallelism: 3,
            control,
            elapsed_ms: &|| self.elapsed_ms(),
        })
    }

    /// Where the driver says that such a restore builds.
    #[must_use]
    pub fn staging(&self, subject: &dyn Subject, point: &Point, target: &Path) -> PathBuf {
        subject.driver().staging(&RestoreRequest {
            reader: &point.snapshot,
            description: &point.description,
            target,
            overwrite: OverwritePolicy::Refuse,
            include: &[],
            options: &BTreeMap::new(),
            parallelism: 1,
            control: &crate::NoControl,
            elapsed_ms: &|| self.elapsed_ms(),
        })
    }

    /// Restores without anybody watching.
    ///
    /// # Errors
    /// The driver's.
    pub fn restore(
        &self,
        subject: &dyn Subject,
        point: &Point,
        target: &Path,
        overwrite: OverwritePolicy,
    ) -> Result<Restored, DriverError> {
        self.restore_with(subject, point, target, overwrite, &NoControl)
    }

    /// Checks what was restored.
    ///
    /// # Errors
    /// The driver's.
    pub fn check(&self, subject: &dyn Subject, point: &Point, restored: &Path) -> Result<Check, DriverError> {
        self.check_with(subject, point, restored, &NoControl)
    }

    /// Checks what was restored.
    ///
    /// # Errors
    /// The driver's.
    pub fn check_with(
        &self,
        subject: &dyn Subject,
        point: &Point,
        restored: &Path,
        control: &dyn Control,
    ) -> Result<Check, DriverError> {
        subject.driver().check(CheckRequest {
            reader: &point.snapshot,
            description: &point.description,
            restored,
            options: &BTreeMap::new(),
            privileged: subject.privileged(),
            parallelism: 3,
            control,
            elapsed_ms: &|| self.elapsed_ms(),
        })
    }

    /// The content blobs below `data`, without those of the sidecars.
    ///
    /// # Panics
    /// When a tree is not in the vault.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test whose vault has lost a tree by itself has failed")]
    pub fn data_blobs(&self, point: &Point) -> Vec<Id> {
        let mut found = Vec::new();
        let mut nodes = vec![point.capture.data.clone()];
        while let Some(node) = nodes.pop() {
            match node.kind {
                NodeKind::Dir { subtree } => nodes.extend(point.snapshot.tree(&subtree).expect("read a tree").nodes),
                NodeKind::File { content, .. } => found.extend(content),
                _ => {}
            }
        }
        found.sort_by_key(|id| std::cmp::Reverse(point.snapshot.blob_length(id).unwrap_or(0)));
        found
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::disallowed_methods, reason = "the suite compares with times that the kernel gives to files")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Counts what a driver reports.
#[derive(Debug, Default)]
pub struct CountingControl {
    sum: Mutex<Progress>,
}

impl CountingControl {
    /// The sum of all that was reported.
    #[must_use]
    pub fn sum(&self) -> Progress {
        *self.sum.lock()
    }
}

impl Control for CountingControl {
    fn is_stopped(&self) -> bool {
        false
    }

    fn advance(&self, difference: Progress) {
        let mut sum = self.sum.lock();
        sum.bytes_done += difference.bytes_done;
        sum.bytes_read += difference.bytes_read;
        sum.items_done += difference.items_done;
    }
}

/// Tells a driver to stop after it has asked so many times.
#[derive(Debug)]
pub struct StoppingControl {
    left: AtomicI64,
    used: AtomicBool,
}

impl StoppingControl {
    /// Stops after `questions` questions.
    #[must_use]
    pub const fn after(questions: i64) -> Self {
        Self { left: AtomicI64::new(questions), used: AtomicBool::new(false) }
    }

    /// Whether the driver has been told to stop.
    #[must_use]
    pub fn was_used(&self) -> bool {
        self.used.load(Ordering::SeqCst)
    }
}

impl Control for StoppingControl {
    fn is_stopped(&self) -> bool {
        let stopped = self.left.fetch_sub(1, Ordering::SeqCst) <= 0;
        if stopped {
            self.used.store(true, Ordering::SeqCst);
        }
        stopped
    }

    fn advance(&self, _difference: Progress) {}
}
