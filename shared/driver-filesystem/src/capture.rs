//! Walks the tree with several threads and stores what it finds.

mod changed;
mod file;
mod instant;
mod parent;
mod remains;

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use driver_api::{Capture, CaptureRequest, Chunking, DriverError, QuiesceOutcome, Reading};
use file_clones::{ABSENT_SUBVOLUME_INODE, CLONES_DIRECTORY};
use job_model::{ChangeMethod, Consistency, ExceptionKind, Progress, ReadException, SourceView};
use parking_lot::Mutex;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use vault_format::{Id, Node, NodeKind, Tree, Xattr};

use crate::inode::{self, Place, Stat};
use crate::owners::Owners;
use crate::sidecar::{self, Attributes, SIDECAR_NAME};
use crate::{display, io_error, join, open_root};
use changed::{Comparison, Deferred};
use driver_api::{file_path, queue};
use instant::{Instant, LARGE_BYTES};
use parent::{Parent, ParentTree};
pub(crate) use remains::discard;

/// How many mount points are listed in the facts.
const MOUNT_POINTS_LISTED: usize = 100;

/// Captures the resource.
pub(crate) fn run(request: &CaptureRequest<'_>) -> Result<Capture, DriverError> {
    if request.control.is_stopped() {
        return Err(DriverError::Stopped);
    }
    let started_at = (request.now)();
    let live = open_root(request.location)?;
    let failed = |e| io_error("read the attributes of", request.location, e);
    let device = Stat::of(&live).map_err(failed)?.device;
    let taken = instant::take(request, &file_path(request.location)?, live)?;
    let root = taken.root;
    let stat = Stat::of(&root).map_err(failed)?;
    let walk = Walk {
        request,
        device: stat.device,
        shown_device: device,
        mount: stat.mount,
        owners: Owners::load(),
        parent: request.parent.as_ref().and_then(|p| Parent::open(p, device)),
        instant: taken.instant,
        comparison: Comparison::new(request, taken.fallback),
        deferred: Mutex::default(),
        found: Mutex::new(Found::default()),
        linked: Mutex::default(),
        zeros: Mutex::default(),
    };
    let parent_tree = walk.parent.as_ref().and_then(Parent::root);
    let first = Job::Directory {
        holder: None,
        opened: Some(root),
        entry: Entry { name: b"data".to_vec(), path: Vec::new(), stat },
        parent_tree,
    };
    queue::run(request.parallelism, request.control, vec![first], |job, jobs| walk.work(job, jobs))?;
    if let Instant::Clones(clones) = &walk.instant {
        // All that is small was read and all that is large was cloned: whoever was brought to rest may go on.
        clones.view_taken()?;
        let deferred = std::mem::take(&mut *walk.deferred.lock());
        queue::run(request.parallelism, request.control, deferred, |job, _jobs| walk.deferred(job))?;
    }
    walk.finish(started_at, request)
}

impl Walk<'_> {
    fn finish(self, started_at: jiff::Timestamp, request: &CaptureRequest<'_>) -> Result<Capture, DriverError> {
        let mut found = self.found.into_inner();
        let Some(data) = found.root else {
            // The root was opened, so only its listing can have failed, and that leaves an empty directory.
            return Err(DriverError::NotFound { location: request.location.to_owned() });
        };
        found.exceptions.sort_by(|a, b| a.path.cmp(&b.path));
        found.mount_points.sort();
        let mut sidecars = Vec::new();
        let records = found.attributes.len();
        if let Some(bytes) = sidecar::encode(found.attributes) {
            let content = request.writer.write_content(Chunking::ContentDefined, &mut &bytes[..])?;
            sidecars.push(Node {
                name: SIDECAR_NAME.as_bytes().to_vec(),
                kind: NodeKind::File { content: content.blobs, size: content.size },
                mode: 0o600,
                links: 1,
                inode: 0,
                xattrs: Vec::new(),
                ..data.clone()
            });
        }
        let (remains, view, missed) = match &self.instant {
            Instant::Live => (None, SourceView::Live, None),
            Instant::Snapshot(remains) => (Some(remains.to_json()), SourceView::SubvolumeSnapshot, None),
            Instant::Clones(clones) => match clones.seal() {
                (Some(remains), why) => (Some(remains.to_json()), SourceView::LargeFileClones, why),
                (None, why) => (None, SourceView::Live, why),
            },
        };
        let seen = self.comparison.finish();
        let method = match (&self.parent, seen.files) {
            (None, _) => ChangeMethod::FullRead,
            (Some(_), 0) => ChangeMethod::FileMetadata,
            (Some(_), _) => ChangeMethod::ExtentComparison,
        };
        let mount_points = found.mount_points.len();
        found.mount_points.truncate(MOUNT_POINTS_LISTED);
        Ok(Capture {
            facts: serde_json::json!({
                "format": 1,
                "started_at": started_at,
                "device": self.shown_device,
                "sidecar": sidecars.first().map(|_| SIDECAR_NAME),
                "sidecar_records": records,
                "mount_points": mount_points,
                "mount_points_listed": found.mount_points,
            }),
            data,
            sidecars,
            consistency: match request.quiesced {
                QuiesceOutcome::NotQuiesced => Consistency::Crash,
                QuiesceOutcome::Application => Consistency::Application,
                QuiesceOutcome::Filesystem => Consistency::Filesystem,
            },
            size_bytes: found.bytes,
            items: found.items,
            change_detection: match method {
                ChangeMethod::FileMetadata => "file metadata (device, inode, ctime, mtime, size)".to_owned(),
                ChangeMethod::ExtentComparison => format!(
                    "file metadata (device, inode, ctime, mtime, size); of {} large files that changed, extents",
                    seen.files
                ),
                _ => "full read by hashing".to_owned(),
            },
            reading: Reading {
                method,
                view,
                held_bytes: (seen.files > 0).then_some(seen.held_bytes),
                fallback: missed.or(seen.fallback),
            },
            remains,
            exceptions: found.exceptions,
        })
    }
}

/// One walk over the resource.
struct Walk<'a> {
    request: &'a CaptureRequest<'a>,
    /// Of what is walked.
    device: u64,
    /// Of the tree itself: a snapshot of it has a number of its own, another one each time.
    shown_device: u64,
    mount: u64,
    owners: Owners,
    parent: Option<Parent<'a>>,
    instant: Instant<'a>,
    comparison: Comparison,
    /// Clones to read when nothing is read from the tree any more.
    deferred: Mutex<Vec<Deferred>>,
    found: Mutex<Found>,
    /// Files with several names, by inode: read once.
    linked: Mutex<HashMap<u64, Arc<Mutex<Option<Stored>>>>>,
    /// Ids of chunks of zeros by length.
    zeros: Mutex<HashMap<u64, Id>>,
}

#[derive(Default)]
struct Found {
    root: Option<Node>,
    exceptions: Vec<ReadException>,
    attributes: Vec<(Vec<u8>, Attributes)>,
    mount_points: Vec<String>,
    bytes: u64,
    items: u64,
    /// Inodes with several names whose bytes are counted already.
    counted: HashSet<u64>,
}

/// A stored file: its node (named after the first of its names) and what the node cannot hold.
#[derive(Clone)]
struct Stored {
    node: Node,
    attributes: Attributes,
}

/// A directory's entry as it was listed.
struct Entry {
    name: Vec<u8>,
    path: Vec<u8>,
    stat: Stat,
}

enum Job {
    Directory {
        holder: Option<(Arc<Directory>, Arc<OwnedFd>)>,
        opened: Option<OwnedFd>,
        entry: Entry,
        parent_tree: Option<Arc<ParentTree>>,
    },
    File {
        holder: (Arc<Directory>, Arc<OwnedFd>),
        entry: Entry,
        parent_tree: Option<Arc<ParentTree>>,
    },
}

/// A directory whose entries are being stored.
struct Directory {
    /// None for the root.
    holder: Option<Arc<Directory>>,
    state: Mutex<DirectoryState>,
}

struct DirectoryState {
    /// Its node; the subtree's id is not right before it is complete.
    node: Option<Node>,
    nodes: Vec<Node>,
    pending: usize,
}

impl Walk<'_> {
    fn work(&self, job: Job, jobs: &mut Vec<Job>) -> Result<(), DriverError> {
        match job {
            Job::Directory { holder, opened, entry, parent_tree } => {
                self.directory(holder, opened, entry, parent_tree, jobs)
            }
            Job::File { holder: (directory, fd), entry, parent_tree } => {
                let tree = parent_tree.as_deref();
                if let Instant::Clones(clones) = &self.instant
                    && is_large(&entry.stat)
                    && self.large(clones, (&directory, fd.as_fd()), &entry, parent_tree.as_ref())?
                {
                    return Ok(());
                }
                // What is large was not looked up in the parent before.
                let node = match self.unchanged(&entry, tree) {
                    Some(node) => Some(node),
                    None => self.file(fd.as_fd(), &entry, tree)?,
                };
                self.complete(directory, node)
            }
        }
    }

    fn directory(
        &self,
        holder: Option<(Arc<Directory>, Arc<OwnedFd>)>,
        opened: Option<OwnedFd>,
        mut entry: Entry,
        parent_tree: Option<Arc<ParentTree>>,
        jobs: &mut Vec<Job>,
    ) -> Result<(), DriverError> {
        let is_root = holder.is_none();
        let (holder, holder_fd) = holder.unzip();
        let fd = match (opened, &holder_fd) {
            (Some(fd), _) => fd,
            (None, Some(holder_fd)) => match open_quietly(holder_fd.as_fd(), &entry.name, OFlags::DIRECTORY) {
                Ok(fd) => fd,
                Err(error) => {
                    self.except(&entry.path, error);
                    // What can be said about it without opening it is kept; gone is gone.
                    let node = match error {
                        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => None,
                        _ => Some(self.empty_directory(holder_fd.as_fd(), &entry)?),
                    };
                    return holder.map_or(Ok(()), |h| self.complete(h, node));
                }
            },
            (None, None) => return Ok(()),
        };
        match Stat::of(&fd) {
            Ok(stat) => entry.stat = stat,
            Err(error) => self.except(&entry.path, error),
        }
        let names = inode::list(&fd).unwrap_or_else(|error| {
            self.except(&entry.path, error);
            Vec::new()
        });
        let attributes = Attributes {
            flags: inode::flags(&fd).unwrap_or(0) & inode::FLAGS_KEPT,
            project: inode::project(&fd),
            data: None,
        };
        self.note_attributes(&entry.path, attributes);
        let xattrs = self.xattrs(Place::Open(fd.as_fd()), &entry.path);
        let node = self.node(&entry, xattrs, NodeKind::Dir { subtree: Id::new([0; 32]) });
        if !is_root {
            self.count(&entry, 0);
        }
        let directory = Arc::new(Directory {
            holder,
            state: Mutex::new(DirectoryState { node: Some(node), nodes: vec![], pending: 1 }),
        });
        let fd = Arc::new(fd);
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for name in names {
            let path = join(&entry.path, &name);
            let stat = match Stat::at(&*fd, &name) {
                Ok(stat) => stat,
                Err(error) => {
                    self.except(&path, error);
                    continue;
                }
            };
            if name == CLONES_DIRECTORY.as_bytes() && stat.is_dir() && stat.mode & 0o777 == 0o700 {
                // Clones of images that are captured for themselves; each would be all of its image once more.
                continue;
            }
            self.entry(
                &directory,
                &fd,
                Entry { name, path, stat },
                parent_tree.as_ref(),
                &mut files,
                &mut directories,
            )?;
        }
        directory.state.lock().pending += files.len() + directories.len();
        // Files are taken first, so that the descriptor is closed before the walk goes deeper.
        jobs.extend(directories);
        jobs.extend(files);
        self.complete_one(directory)
    }

    /// Stores what needs no reading at once and makes jobs of the rest.
    fn entry(
        &self,
        directory: &Arc<Directory>,
        fd: &Arc<OwnedFd>,
        entry: Entry,
        parent_tree: Option<&Arc<ParentTree>>,
        files: &mut Vec<Job>,
        directories: &mut Vec<Job>,
    ) -> Result<(), DriverError> {
        let elsewhere = entry.stat.device != self.device
            || entry.stat.mount != self.mount
            // In a snapshot nothing is below the places of other subvolumes.
            || (entry.stat.inode == ABSENT_SUBVOLUME_INODE && matches!(self.instant, Instant::Snapshot(_)));
        let holder = (directory.clone(), fd.clone());
        let node = if elsewhere {
            self.found.lock().mount_points.push(display(&entry.path));
            if !entry.stat.is_dir() {
                return Ok(());
            }
            self.empty_directory(fd.as_fd(), &entry)?
        } else if entry.stat.is_dir() {
            let parent_tree = parent_tree.and_then(|tree| self.parent.as_ref()?.child(tree, &entry.name));
            directories.push(Job::Directory { holder: Some(holder), opened: None, entry, parent_tree });
            return Ok(());
        } else if entry.stat.is_file() {
            let is_cloned = is_large(&entry.stat) && matches!(self.instant, Instant::Clones(_));
            let known = if is_cloned { None } else { self.unchanged(&entry, parent_tree.map(Arc::as_ref)) };
            match known {
                Some(node) => node,
                None => {
                    files.push(Job::File { holder, entry, parent_tree: parent_tree.cloned() });
                    return Ok(());
                }
            }
        } else {
            match self.special(fd.as_fd(), &entry) {
                Some(node) => node,
                None => return Ok(()),
            }
        };
        directory.state.lock().nodes.push(node);
        Ok(())
    }

    /// A file that is as the parent has it, and whose content the vault still has.
    fn unchanged(&self, entry: &Entry, parent_tree: Option<&ParentTree>) -> Option<Node> {
        let parent = self.parent.as_ref()?;
        let old = parent.unchanged(parent_tree?, &entry.name, &entry.stat)?;
        let NodeKind::File { content, .. } = &old.kind else { return None };
        if !self.request.writer.has_content(content) {
            return None;
        }
        let node = self.node(entry, old.xattrs.clone(), old.kind.clone());
        self.note_attributes(&entry.path, parent.attributes(&entry.path));
        self.count(entry, entry.stat.size);
        Some(node)
    }

    fn special(&self, directory: BorrowedFd<'_>, entry: &Entry) -> Option<Node> {
        let kind = match entry.stat.kind {
            FileType::Symlink => match rustix::fs::readlinkat(directory, &entry.name[..], Vec::new()) {
                Ok(target) => NodeKind::Symlink { target: target.into_bytes() },
                Err(error) => {
                    self.except(&entry.path, error);
                    return None;
                }
            },
            FileType::BlockDevice => NodeKind::BlockDevice { device: entry.stat.rdev },
            FileType::CharacterDevice => NodeKind::CharDevice { device: entry.stat.rdev },
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
            other => {
                let message = format!("an entry of type {other:?} cannot be kept");
                self.except_as(&entry.path, ExceptionKind::ReadFailed, message);
                return None;
            }
        };
        let xattrs = self.xattrs(Place::Entry(directory, &entry.name), &entry.path);
        self.count(entry, 0);
        Some(self.node(entry, xattrs, kind))
    }

    fn empty_directory(&self, holder: BorrowedFd<'_>, entry: &Entry) -> Result<Node, DriverError> {
        let subtree = self.request.writer.write_tree(Tree::default())?;
        let xattrs = self.xattrs(Place::Entry(holder, &entry.name), &entry.path);
        self.count(entry, 0);
        Ok(self.node(entry, xattrs, NodeKind::Dir { subtree }))
    }

    fn node(&self, entry: &Entry, xattrs: Vec<Xattr>, kind: NodeKind) -> Node {
        let stat = &entry.stat;
        if stat.time_clamped {
            let message = "its time of change lies outside of the years 0 to 9999".to_owned();
            self.except_as(&entry.path, ExceptionKind::MetadataIncomplete, message);
        }
        let has_links = !stat.is_dir() && stat.links > 1;
        Node {
            name: entry.name.clone(),
            kind,
            mode: stat.mode,
            mtime: stat.mtime,
            atime: stat.mtime,
            ctime: stat.ctime,
            uid: stat.uid,
            gid: stat.gid,
            user: self.owners.user(stat.uid),
            group: self.owners.group(stat.gid),
            inode: stat.inode,
            device_id: if has_links { self.shown_device } else { 0 },
            links: if stat.is_dir() { 1 } else { stat.links },
            xattrs,
        }
    }

    /// One entry of a directory is stored, or could not be.
    fn complete(&self, directory: Arc<Directory>, node: Option<Node>) -> Result<(), DriverError> {
        directory.state.lock().nodes.extend(node);
        self.complete_one(directory)
    }

    /// Stores the directory when nothing of it is pending, then the one that holds it, and so on.
    fn complete_one(&self, mut directory: Arc<Directory>) -> Result<(), DriverError> {
        loop {
            let (nodes, node) = {
                let mut state = directory.state.lock();
                state.pending -= 1;
                if state.pending > 0 {
                    return Ok(());
                }
                (std::mem::take(&mut state.nodes), state.node.take())
            };
            let subtree = self.request.writer.write_tree(Tree { nodes })?;
            let Some(node) = node else { return Ok(()) };
            let node = Node { kind: NodeKind::Dir { subtree }, ..node };
            match &directory.holder {
                None => {
                    self.found.lock().root = Some(node);
                    return Ok(());
                }
                Some(holder) => {
                    let holder = holder.clone();
                    holder.state.lock().nodes.push(node);
                    directory = holder;
                }
            }
        }
    }

    fn xattrs(&self, place: Place<'_>, path: &[u8]) -> Vec<Xattr> {
        place.xattrs().unwrap_or_else(|error| {
            self.except_as(path, ExceptionKind::MetadataIncomplete, format!("extended attributes: {error}"));
            Vec::new()
        })
    }

    /// Counts an entry and its bytes; a file with several names has its bytes once.
    fn count(&self, entry: &Entry, bytes: u64) {
        let mut found = self.found.lock();
        found.items += 1;
        let bytes = if entry.stat.links > 1 && !entry.stat.is_dir() && !found.counted.insert(entry.stat.inode) {
            0
        } else {
            bytes
        };
        found.bytes += bytes;
        drop(found);
        self.request.control.advance(Progress { items_done: 1, bytes_done: bytes, ..Progress::default() });
    }

    fn note_attributes(&self, path: &[u8], attributes: Attributes) {
        if !attributes.is_empty() {
            self.found.lock().attributes.push((path.to_vec(), attributes));
        }
    }

    fn except(&self, path: &[u8], error: Errno) {
        let kind = match error {
            Errno::NOENT => ExceptionKind::Vanished,
            Errno::ACCESS | Errno::PERM => ExceptionKind::PermissionDenied,
            Errno::NOTDIR | Errno::LOOP => ExceptionKind::ChangedWhileReading,
            _ => ExceptionKind::ReadFailed,
        };
        self.except_as(path, kind, std::io::Error::from(error).to_string());
    }

    fn except_as(&self, path: &[u8], kind: ExceptionKind, message: String) {
        self.found.lock().exceptions.push(ReadException { path: display(path), kind, message });
    }
}

/// Whether a file is worth a clone, or a comparison of its extents. One with several names is read once for all of them.
fn is_large(stat: &Stat) -> bool {
    stat.size >= LARGE_BYTES && stat.links == 1
}

/// Opens for reading without following a link, without waiting for a writer of a pipe, and without touching the time of
/// the last access where the file's owner or root asks.
fn open_quietly(directory: BorrowedFd<'_>, name: &[u8], extra: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | extra;
    match rustix::fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(directory, name, flags, Mode::empty()),
        other => other,
    }
}
