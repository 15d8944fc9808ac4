//! Compares a restored tree with the recovery point: everything that was kept, and nothing more.

mod metadata;
mod names;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use driver_api::{Check, CheckRequest, DriverError};
use job_model::{Finding, FindingKind, Progress, Severity};
use parking_lot::Mutex;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::content::Content;
use crate::inode::{self, Stat};
use crate::plan::{Directory, Entry, Kind, Plan, Window};
use crate::restore::{Target, open_beneath};
use crate::{display, io_error, join};
use driver_api::compare::ZeroChunks;
use driver_api::queue;
use names::Names;

/// Entries of a window that are there with the right type, by their numbers.
type Present = HashMap<usize, Place>;

/// Which file an entry is at the target.
#[derive(Clone, Copy)]
struct Place {
    /// Device and inode.
    file: (u64, u64),
    /// How many names it has there.
    links: u64,
}

/// Compares and lists all differences, with windows of so many bytes.
pub(crate) fn run(request: &CheckRequest<'_>, window_bytes: usize) -> Result<Check, DriverError> {
    let plan = Plan::load(request.reader, request.description, &[], window_bytes)?;
    compare(request, &plan, false)
}

/// Whether there is no difference that matters; looks no further than the first.
pub(crate) fn is_equal(
    request: &CheckRequest<'_>,
    include: &[String],
    window_bytes: usize,
) -> Result<bool, DriverError> {
    let plan = Plan::load(request.reader, request.description, include, window_bytes)?;
    let check = compare(request, &plan, true)?;
    Ok(check.findings.iter().all(|finding| finding.severity < Severity::Failure))
}

fn compare(request: &CheckRequest<'_>, plan: &Plan<'_>, until_first: bool) -> Result<Check, DriverError> {
    if request.control.is_stopped() {
        return Err(DriverError::Stopped);
    }
    let shown = request.restored.display().to_string();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = match rustix::fs::openat(CWD, request.restored, flags, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT | Errno::NOTDIR) => {
            let findings = vec![Finding {
                kind: FindingKind::EntryMissing,
                severity: Severity::Failure,
                subject: String::new(),
                message: format!("there is no directory at `{shown}`"),
            }];
            return Ok(Check { findings, ..Check::default() });
        }
        Err(error) => return Err(io_error("open", shown, error)),
    };
    let comparison = Comparison {
        request,
        plan,
        target: Target::new(root),
        until_first,
        findings: Mutex::default(),
        first_correct_read_ms: Mutex::default(),
        bytes: Mutex::new(0),
        zeros: ZeroChunks::default(),
    };
    comparison.root()?;
    let mut names = Names::default();
    plan.windows(|window| {
        if comparison.enough() {
            return Ok(());
        }
        let present = comparison.structure(window)?;
        names.compare(&comparison, window, &present);
        comparison.content(window, &present)
    })?;
    let mut findings = comparison.findings.into_inner();
    findings.sort_by(|a, b| (&a.subject, &a.message).cmp(&(&b.subject, &b.message)));
    let mut first_correct_read_ms = comparison.first_correct_read_ms.into_inner();
    if plan.bytes == 0 && findings.is_empty() {
        // Nothing has content, so a listing that is right is the first correct read.
        first_correct_read_ms = Some((request.elapsed_ms)());
    }
    let items = plan.entries as u64 - 1;
    Ok(Check { findings, first_correct_read_ms, bytes: comparison.bytes.into_inner(), items, ..Check::default() })
}

struct Comparison<'a> {
    request: &'a CheckRequest<'a>,
    plan: &'a Plan<'a>,
    target: Target,
    until_first: bool,
    findings: Mutex<Vec<Finding>>,
    first_correct_read_ms: Mutex<Option<u64>>,
    bytes: Mutex<u64>,
    zeros: ZeroChunks,
}

impl Comparison<'_> {
    fn find(&self, kind: FindingKind, severity: Severity, subject: String, message: String) {
        self.findings.lock().push(Finding { kind, severity, subject, message });
    }

    fn enough(&self) -> bool {
        self.until_first && self.findings.lock().iter().any(|finding| finding.severity == Severity::Failure)
    }

    fn root(&self) -> Result<(), DriverError> {
        let root = &self.plan.root;
        let stat = Stat::of(self.target.root()).map_err(|e| io_error("look at", root.display(), e))?;
        if root.whole { self.metadata(root, &stat, self.target.root(), None) } else { Ok(()) }
    }

    /// Types, metadata, what is missing and what is too much.
    fn structure(&self, window: &Window) -> Result<Present, DriverError> {
        let present: Mutex<Present> = Mutex::default();
        let directories = &window.directories;
        queue::for_each(self.request.parallelism, self.request.control, directories, |directory| {
            if self.enough() { Ok(()) } else { self.directory(window, directory, &present) }
        })?;
        Ok(present.into_inner())
    }

    fn directory(&self, window: &Window, directory: &Directory, present: &Mutex<Present>) -> Result<(), DriverError> {
        let fd = match self.target.directory(&directory.path) {
            Ok(fd) => fd,
            // It or one above is missing or something else, which is found where it is listed.
            Err(DriverError::Io { source, .. }) if matches!(source.raw_os_error(), Some(code) if [Errno::NOENT, Errno::NOTDIR].map(Errno::raw_os_error).contains(&code)) =>
            {
                return Ok(());
            }
            Err(DriverError::Escape { .. }) => return Ok(()),
            Err(error) => {
                let message = format!("it cannot be opened: {error}");
                self.find(FindingKind::CheckFailed, Severity::Failure, display(&directory.path), message);
                return Ok(());
            }
        };
        if directory.whole {
            self.extra(window, directory, &fd)?;
        }
        for entry in window.children(directory) {
            if self.request.control.is_stopped() {
                return Err(DriverError::Stopped);
            }
            self.entry(entry, &fd, present)?;
        }
        Ok(())
    }

    fn extra(&self, window: &Window, directory: &Directory, fd: &OwnedFd) -> Result<(), DriverError> {
        let names = inode::list(fd).map_err(|e| io_error("list", display(&directory.path), e))?;
        let known: HashSet<&[u8]> = window.children(directory).iter().map(Entry::name).collect();
        for name in names.iter().filter(|name| !known.contains(&name[..])) {
            let message = "it was not captured".to_owned();
            let subject = display(&join(&directory.path, name));
            self.find(FindingKind::EntryUnexpected, Severity::Failure, subject, message);
        }
        Ok(())
    }

    fn entry(&self, entry: &Entry, holder: &OwnedFd, present: &Mutex<Present>) -> Result<(), DriverError> {
        let stat = match Stat::at(holder, entry.name()) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                let device = matches!(entry.kind, Kind::BlockDevice { .. } | Kind::CharDevice { .. });
                let severity = if device && !self.request.privileged { Severity::Note } else { Severity::Failure };
                self.find(FindingKind::EntryMissing, severity, entry.display(), "it is missing".to_owned());
                return Ok(());
            }
            Err(error) => {
                let message = format!("it cannot be looked at: {}", std::io::Error::from(error));
                self.find(FindingKind::CheckFailed, Severity::Failure, entry.display(), message);
                return Ok(());
            }
        };
        if !metadata::same_type(&entry.kind, &stat) {
            let message = format!("it is now {:?}", stat.kind);
            self.find(FindingKind::MetadataDiffers, Severity::Failure, entry.display(), message);
            return Ok(());
        }
        present.lock().insert(entry.number, Place { file: (stat.device, stat.inode), links: stat.links });
        if entry.whole { self.metadata(entry, &stat, holder, Some(entry.name())) } else { Ok(()) }
    }

    fn content(&self, window: &Window, present: &Present) -> Result<(), DriverError> {
        let is_compared = |entry: &&Entry| {
            entry.is_file()
                && entry.leader.is_none_or(|leader| leader == entry.number)
                && present.contains_key(&entry.number)
        };
        let files: Vec<&Entry> = window.below_root().iter().filter(is_compared).collect();
        queue::for_each(self.request.parallelism, self.request.control, &files, |entry| {
            if self.enough() { Ok(()) } else { self.file(entry) }
        })
    }

    fn file(&self, entry: &Entry) -> Result<(), DriverError> {
        let holder = self.target.directory(entry.holder_path())?;
        let unreadable = |error: std::io::Error| {
            let message = format!("it cannot be read: {error}");
            self.find(FindingKind::CheckFailed, Severity::Failure, entry.display(), message);
        };
        let file = match open_beneath(&holder, entry.name(), OFlags::RDONLY) {
            Ok(fd) => File::from(fd),
            Err(error) => {
                unreadable(error.into());
                return Ok(());
            }
        };
        match Stat::of(&file) {
            Ok(stat) if stat.size != entry.size() => {
                let message = format!("it has {} bytes instead of {}", stat.size, entry.size());
                self.find(FindingKind::ContentDiffers, Severity::Failure, entry.display(), message);
                return Ok(());
            }
            Ok(_) => {}
            Err(error) => unreadable(error.into()),
        }
        let content = match Content::of(&file, &self.zeros) {
            Ok(content) => content,
            Err(error) => {
                unreadable(error);
                return Ok(());
            }
        };
        let mut buffer = Vec::new();
        for span in entry.spans() {
            if self.request.control.is_stopped() {
                return Err(DriverError::Stopped);
            }
            match content.has(&span, &mut buffer) {
                Ok(true) => {
                    self.first_correct_read_ms.lock().get_or_insert_with(|| (self.request.elapsed_ms)());
                }
                Ok(false) => {
                    let end = span.offset + u64::from(span.length);
                    let message = format!("bytes {} to {end} are not what was captured", span.offset);
                    self.find(FindingKind::ContentDiffers, Severity::Failure, entry.display(), message);
                    return Ok(());
                }
                Err(error) => {
                    unreadable(error);
                    return Ok(());
                }
            }
            let bytes_done = u64::from(span.length);
            let bytes_read = if content.is_hole(&span) { 0 } else { bytes_done };
            *self.bytes.lock() += bytes_done;
            self.request.control.advance(Progress { bytes_done, bytes_read, ..Progress::default() });
        }
        metadata::holes(self, entry, &file);
        Ok(())
    }
}

impl Comparison<'_> {
    /// All metadata of an entry; `name` is none for the root, whose own descriptor is given then.
    fn metadata(&self, entry: &Entry, stat: &Stat, holder: &OwnedFd, name: Option<&[u8]>) -> Result<(), DriverError> {
        for (severity, message) in metadata::differences(self, entry, stat, holder.as_fd(), name) {
            self.find(FindingKind::MetadataDiffers, severity, entry.display(), message);
        }
        self.request.control.advance(Progress { items_done: u64::from(entry.number > 0), ..Progress::default() });
        Ok(())
    }
}
