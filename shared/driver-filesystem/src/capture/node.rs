//! What is stored of one entry, but for the content of files.

use std::os::fd::BorrowedFd;

use driver_api::DriverError;
use job_model::ExceptionKind;
use rustix::fs::FileType;
use vault_format::{Node, NodeKind, Tree, Xattr};

use super::parent::ParentTree;
use super::{Entry, Walk};
use crate::inode::Place;

impl Walk<'_> {
    /// A file that is as the parent has it, and whose content the vault still has.
    pub(super) fn unchanged(&self, entry: &Entry, parent_tree: Option<&ParentTree>) -> Option<Node> {
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

    pub(super) fn special(&self, directory: BorrowedFd<'_>, entry: &Entry) -> Option<Node> {
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

    pub(super) fn empty_directory(&self, holder: BorrowedFd<'_>, entry: &Entry) -> Result<Node, DriverError> {
        let subtree = self.request.writer.write_tree(Tree::default())?;
        let xattrs = self.xattrs(Place::Entry(holder, &entry.name), &entry.path);
        self.count(entry, 0);
        Ok(self.node(entry, xattrs, NodeKind::Dir { subtree }))
    }

    pub(super) fn node(&self, entry: &Entry, xattrs: Vec<Xattr>, kind: NodeKind) -> Node {
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

    pub(super) fn xattrs(&self, place: Place<'_>, path: &[u8]) -> Vec<Xattr> {
        place.xattrs().unwrap_or_else(|error| {
            self.except_as(path, ExceptionKind::MetadataIncomplete, format!("extended attributes: {error}"));
            Vec::new()
        })
    }
}
