//! Which entries there are: one job for each directory and each file to read, and each directory stored when all in it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use driver_api::DriverError;
use file_clones::{ABSENT_SUBVOLUME_INODE, CLONES_DIRECTORY};
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use vault_format::{Id, Node, NodeKind, Tree};

use super::instant::{Instant, LARGE_BYTES};
use super::parent::ParentTree;
use super::{Entry, Walk};
use crate::inode::{self, Place, Stat};
use crate::sidecar::Attributes;
use crate::{display, join};

pub(super) enum Job {
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
pub(super) struct Directory {
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
    pub(super) fn work(&self, job: Job, jobs: &mut Vec<Job>) -> Result<(), DriverError> {
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

    /// One entry of a directory is stored, or could not be.
    pub(super) fn complete(&self, directory: Arc<Directory>, node: Option<Node>) -> Result<(), DriverError> {
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
}

/// Whether a file is worth a clone, or a comparison of its extents. One with several names is read once for all of them.
pub(super) fn is_large(stat: &Stat) -> bool {
    stat.size >= LARGE_BYTES && stat.links == 1
}

/// Opens for reading without following a link, without waiting for a writer of a pipe, and without touching the time of
/// the last access where the file's owner or root asks.
pub(super) fn open_quietly(directory: BorrowedFd<'_>, name: &[u8], extra: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | extra;
    match rustix::fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(directory, name, flags, Mode::empty()),
        other => other,
    }
}
