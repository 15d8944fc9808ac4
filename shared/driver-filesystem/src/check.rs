//! Compares a restored tree with the recovery point: everything that was kept, and nothing more.

mod metadata;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use driver_api::{Check, CheckRequest, DriverError};
use job_model::{Finding, FindingKind, Progress, Severity};
use parking_lot::Mutex;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use vault_format::NodeKind;

use crate::content::Content;
use crate::inode::{self, Stat};
use crate::plan::{Entry, Plan};
use crate::restore::{Target, open_beneath};
use crate::{display, io_error, join};
use driver_api::compare::ZeroChunks;
use driver_api::queue;

/// Compares and lists all differences.
pub(crate) fn run(request: &CheckRequest<'_>) -> Result<Check, DriverError> {
    let plan = Plan::load(request.reader, request.description, &[])?;
    compare(request, &plan, false)
}

/// Whether there is no difference that matters; looks no further than the first.
pub(crate) fn is_equal(request: &CheckRequest<'_>, include: &[String]) -> Result<bool, DriverError> {
    let plan = Plan::load(request.reader, request.description, include)?;
    let check = compare(request, &plan, true)?;
    Ok(check.findings.iter().all(|finding| finding.severity < Severity::Failure))
}

fn compare(request: &CheckRequest<'_>, plan: &Plan, until_first: bool) -> Result<Check, DriverError> {
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
        present: Mutex::default(),
        first_correct_read_ms: Mutex::default(),
        bytes: Mutex::new(0),
        zeros: ZeroChunks::default(),
    };
    comparison.structure()?;
    comparison.names();
    comparison.content()?;
    let mut findings = comparison.findings.into_inner();
    findings.sort_by(|a, b| (&a.subject, &a.message).cmp(&(&b.subject, &b.message)));
    let mut first_correct_read_ms = comparison.first_correct_read_ms.into_inner();
    let has_content = plan.entries.iter().any(|entry| entry.size() > 0);
    if !has_content && findings.is_empty() {
        // Nothing has content, so a listing that is right is the first correct read.
        first_correct_read_ms = Some((request.elapsed_ms)());
    }
    let items = plan.below_root().len() as u64;
    Ok(Check { findings, first_correct_read_ms, bytes: comparison.bytes.into_inner(), items, ..Check::default() })
}

struct Comparison<'a> {
    request: &'a CheckRequest<'a>,
    plan: &'a Plan,
    target: Target,
    until_first: bool,
    findings: Mutex<Vec<Finding>>,
    /// Entries that are there with the right type, with their device and inode.
    present: Mutex<HashMap<usize, (u64, u64)>>,
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

    /// Types, metadata, what is missing and what is too much.
    fn structure(&self) -> Result<(), DriverError> {
        let root = &self.plan.entries[0];
        let stat = Stat::of(self.target.root()).map_err(|e| io_error("look at", root.display(), e))?;
        if root.whole {
            self.metadata(0, &stat, self.target.root(), None)?;
        }
        let directories: Vec<usize> = (0..self.plan.entries.len()).filter(|i| self.plan.entries[*i].is_dir()).collect();
        queue::for_each(self.request.parallelism, self.request.control, &directories, |&index| {
            if self.enough() { Ok(()) } else { self.directory(&self.plan.entries[index]) }
        })
    }

    fn directory(&self, directory: &Entry) -> Result<(), DriverError> {
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
                self.find(FindingKind::CheckFailed, Severity::Failure, directory.display(), message);
                return Ok(());
            }
        };
        if directory.whole {
            self.extra(directory, &fd)?;
        }
        for index in directory.children.clone() {
            if self.request.control.is_stopped() {
                return Err(DriverError::Stopped);
            }
            self.entry(index, &fd)?;
        }
        Ok(())
    }

    fn extra(&self, directory: &Entry, fd: &OwnedFd) -> Result<(), DriverError> {
        let names = inode::list(fd).map_err(|e| io_error("list", directory.display(), e))?;
        let known: HashSet<&[u8]> =
            directory.children.clone().map(|child| &self.plan.entries[child].node.name[..]).collect();
        for name in names.iter().filter(|name| !known.contains(&name[..])) {
            let message = "it was not captured".to_owned();
            let subject = display(&join(&directory.path, name));
            self.find(FindingKind::EntryUnexpected, Severity::Failure, subject, message);
        }
        Ok(())
    }

    fn entry(&self, index: usize, holder: &OwnedFd) -> Result<(), DriverError> {
        let entry = &self.plan.entries[index];
        let stat = match Stat::at(holder, &entry.node.name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                let device = matches!(entry.node.kind, NodeKind::BlockDevice { .. } | NodeKind::CharDevice { .. });
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
        if !metadata::same_type(&entry.node.kind, &stat) {
            let message = format!("it is now {:?}", stat.kind);
            self.find(FindingKind::MetadataDiffers, Severity::Failure, entry.display(), message);
            return Ok(());
        }
        self.present.lock().insert(index, (stat.device, stat.inode));
        if entry.whole { self.metadata(index, &stat, holder, Some(&entry.node.name)) } else { Ok(()) }
    }

    /// Further names must lead to the same file, and to no other.
    fn names(&self) {
        let present = self.present.lock();
        let mut seen: HashMap<(u64, u64), usize> = HashMap::new();
        for index in self.plan.below_root() {
            let entry = &self.plan.entries[index];
            let Some(place) = present.get(&index).filter(|_| !entry.is_dir()) else { continue };
            let first = *seen.entry(*place).or_insert(index);
            let same = match (self.plan.entries[first].leader, entry.leader) {
                (Some(a), Some(b)) => a == b,
                _ => first == index,
            };
            if !same {
                let message = format!("it is the same file as `{}`", self.plan.entries[first].display());
                self.find(FindingKind::MetadataDiffers, Severity::Failure, entry.display(), message);
            }
        }
        for (leader, group) in &self.plan.groups {
            let Some(place) = present.get(leader) else { continue };
            for index in group.iter().filter(|index| present.get(*index).is_some_and(|other| other != place)) {
                let message = format!("it is no longer the same file as `{}`", self.plan.entries[*leader].display());
                self.find(
                    FindingKind::MetadataDiffers,
                    Severity::Failure,
                    self.plan.entries[*index].display(),
                    message,
                );
            }
        }
    }

    fn content(&self) -> Result<(), DriverError> {
        let present = self.present.lock().clone();
        let files: Vec<usize> = self
            .plan
            .below_root()
            .filter(|index| {
                let entry = &self.plan.entries[*index];
                entry.is_file() && entry.leader.is_none_or(|leader| leader == *index) && present.contains_key(index)
            })
            .collect();
        queue::for_each(self.request.parallelism, self.request.control, &files, |&index| {
            if self.enough() { Ok(()) } else { self.file(&self.plan.entries[index]) }
        })
    }

    fn file(&self, entry: &Entry) -> Result<(), DriverError> {
        let holder = self.target.directory(&self.plan.entries[entry.holder].path)?;
        let unreadable = |error: std::io::Error| {
            let message = format!("it cannot be read: {error}");
            self.find(FindingKind::CheckFailed, Severity::Failure, entry.display(), message);
        };
        let file = match open_beneath(&holder, &entry.node.name, OFlags::RDONLY) {
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
        for span in &entry.spans {
            if self.request.control.is_stopped() {
                return Err(DriverError::Stopped);
            }
            match content.has(span, &mut buffer) {
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
            let bytes_read = if content.is_hole(span) { 0 } else { bytes_done };
            *self.bytes.lock() += bytes_done;
            self.request.control.advance(Progress { bytes_done, bytes_read, ..Progress::default() });
        }
        metadata::holes(self, entry, &file);
        Ok(())
    }
}

impl Comparison<'_> {
    /// All metadata of an entry; `name` is none for the root, whose own descriptor is given then.
    fn metadata(&self, index: usize, stat: &Stat, holder: &OwnedFd, name: Option<&[u8]>) -> Result<(), DriverError> {
        let differences = metadata::differences(self, index, stat, holder.as_fd(), name);
        let entry = &self.plan.entries[index];
        for (severity, message) in differences {
            self.find(FindingKind::MetadataDiffers, severity, entry.display(), message);
        }
        self.request.control.advance(Progress { items_done: u64::from(index > 0), ..Progress::default() });
        Ok(())
    }
}
