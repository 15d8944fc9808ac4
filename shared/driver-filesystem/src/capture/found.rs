//! What a walk has found, and what it could not keep.

use std::collections::HashSet;

use job_model::{ExceptionKind, Progress, ReadException};
use rustix::io::Errno;
use vault_format::Node;

use super::{Entry, Walk};
use crate::display;
use crate::sidecar::Attributes;

#[derive(Default)]
pub(super) struct Found {
    pub(super) root: Option<Node>,
    pub(super) exceptions: Vec<ReadException>,
    pub(super) attributes: Vec<(Vec<u8>, Attributes)>,
    pub(super) mount_points: Vec<String>,
    pub(super) bytes: u64,
    pub(super) items: u64,
    /// Inodes with several names whose bytes are counted already.
    counted: HashSet<u64>,
}

impl Walk<'_> {
    /// Counts an entry and its bytes; a file with several names has its bytes once.
    pub(super) fn count(&self, entry: &Entry, bytes: u64) {
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

    pub(super) fn note_attributes(&self, path: &[u8], attributes: Attributes) {
        if !attributes.is_empty() {
            self.found.lock().attributes.push((path.to_vec(), attributes));
        }
    }

    pub(super) fn except(&self, path: &[u8], error: Errno) {
        let kind = match error {
            Errno::NOENT => ExceptionKind::Vanished,
            Errno::ACCESS | Errno::PERM => ExceptionKind::PermissionDenied,
            Errno::NOTDIR | Errno::LOOP => ExceptionKind::ChangedWhileReading,
            _ => ExceptionKind::ReadFailed,
        };
        self.except_as(path, kind, std::io::Error::from(error).to_string());
    }

    pub(super) fn except_as(&self, path: &[u8], kind: ExceptionKind, message: String) {
        self.found.lock().exceptions.push(ReadException { path: display(path), kind, message });
    }
}
