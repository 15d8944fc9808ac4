//! Reads one file, twice if it changes meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use driver_api::{Chunking, Control, DriverError, FileContent, WriteError};
use file_clones::Identity;
use job_model::{ExceptionKind, Progress};
use rustix::fs::OFlags;
use vault_format::{Node, NodeKind};

use super::instant::Instant;
use super::parent::ParentTree;
use super::walk::{is_large, open_quietly};
use super::{Entry, Stored, Walk};
use crate::extents::{Extent, Piece, ZERO_CHUNK_BYTES, data_extents, pieces};
use crate::inode::{self, Place, Stat};
use crate::sidecar::Attributes;

/// What one reading of a file gave.
enum Reading {
    Whole(Stored),
    /// It changed meanwhile; what was read is a mixture.
    Mixture(Stored),
    /// It could not be read, and that is noted.
    Nothing,
}

/// What was read of a file: its content, and its extents where it has holes.
pub(super) type ReadContent = (FileContent, Option<Vec<Extent>>);

impl Walk<'_> {
    /// Stores a file; none when it could not be read, which is then noted as an exception.
    pub(super) fn file(
        &self,
        directory: BorrowedFd<'_>,
        entry: &Entry,
        tree: Option<&ParentTree>,
    ) -> Result<Option<Node>, DriverError> {
        if entry.stat.links < 2 {
            return Ok(self.read(directory, entry, tree)?.map(|stored| self.keep(entry, stored)));
        }
        // Other names of the same file wait for the first.
        let slot = Arc::clone(self.linked.lock().entry(entry.stat.inode).or_default());
        let mut slot = slot.lock();
        if slot.is_none() {
            *slot = self.read(directory, entry, None)?;
        }
        Ok(slot.clone().map(|stored| self.keep(entry, stored)))
    }

    pub(super) fn keep(&self, entry: &Entry, stored: Stored) -> Node {
        let size = match stored.node.kind {
            NodeKind::File { size, .. } => size,
            _ => 0,
        };
        self.note_attributes(&entry.path, stored.attributes);
        self.count(entry, size);
        Node { name: entry.name.clone(), ..stored.node }
    }

    fn read(
        &self,
        directory: BorrowedFd<'_>,
        entry: &Entry,
        tree: Option<&ParentTree>,
    ) -> Result<Option<Stored>, DriverError> {
        let first = self.read_once(directory, entry, tree)?;
        let reading =
            if matches!(first, Reading::Mixture(_)) { self.read_once(directory, entry, None)? } else { first };
        Ok(match reading {
            Reading::Whole(stored) => Some(stored),
            Reading::Mixture(stored) => {
                let message = "it changed both times it was read; its content is a mixture".to_owned();
                self.except_as(&entry.path, ExceptionKind::ChangedWhileReading, message);
                Some(stored)
            }
            Reading::Nothing => None,
        })
    }

    fn read_once(
        &self,
        directory: BorrowedFd<'_>,
        entry: &Entry,
        tree: Option<&ParentTree>,
    ) -> Result<Reading, DriverError> {
        let opened = open_quietly(directory, &entry.name, OFlags::empty()).and_then(|fd| Ok((Stat::of(&fd)?, fd)));
        let (before, fd) = match opened {
            Ok((stat, fd)) => (stat, fd),
            Err(error) => {
                self.except(&entry.path, error);
                return Ok(Reading::Nothing);
            }
        };
        if !before.is_file() {
            let message = format!("it was a file when it was listed and is now {:?}", before.kind);
            self.except_as(&entry.path, ExceptionKind::ChangedWhileReading, message);
            return Ok(Reading::Nothing);
        }
        let file = File::from(fd);
        // Only what nobody writes can be compared.
        let is_still = matches!(self.instant, Instant::Snapshot(_));
        let same_file = if is_still && is_large(&before) { Identity::of(&file).ok() } else { None };
        let Some((content, extents)) = self.content(&file, before.size, entry, same_file, tree)? else {
            return Ok(Reading::Nothing);
        };
        let attributes = Attributes {
            flags: inode::flags(&file).unwrap_or(0) & inode::FLAGS_KEPT,
            project: inode::project(&file),
            // A file that was cut meanwhile has no extents beyond its new end.
            data: extents.filter(|_| content.size == before.size),
        };
        let xattrs = self.xattrs(Place::Open(file.as_fd()), &entry.path);
        let as_read = Entry { name: entry.name.clone(), path: entry.path.clone(), stat: before };
        let kind = NodeKind::File { content: content.blobs, size: content.size };
        let stored = Stored { node: self.node(&as_read, xattrs, kind), attributes };
        let same = Stat::of(&file).is_ok_and(|after| after.same_state(&before)) && content.size == before.size;
        Ok(if same { Reading::Whole(stored) } else { Reading::Mixture(stored) })
    }

    /// Stores what a file holds: what changed of it, where the parent's instant of it can be compared with, else all. Gives
    /// its extents too. None when it could not be read, which is then noted. `identity` is the file's if it is at rest.
    pub(super) fn content(
        &self,
        file: &File,
        size: u64,
        entry: &Entry,
        identity: Option<Identity>,
        tree: Option<&ParentTree>,
    ) -> Result<Option<ReadContent>, DriverError> {
        let read = data_extents(file, size).map_err(WriteError::Source).and_then(|extents| {
            let known = identity.and_then(|identity| self.compare(file, entry, &identity, tree));
            let content = match known {
                Some(known) => self.store_changed(file, size, extents.as_deref(), &known)?,
                None => self.store(file, &pieces(size, extents.as_deref()))?,
            };
            Ok((content, extents))
        });
        // Nobody else reads it.
        if identity.is_some() {
            file_clones::forget(file, 0..size);
        }
        match read {
            Ok(read) => Ok(Some(read)),
            Err(_) if self.request.control.is_stopped() => Err(DriverError::Stopped),
            Err(WriteError::Source(error)) => {
                let denied = error.kind() == io::ErrorKind::PermissionDenied;
                let kind = if denied { ExceptionKind::PermissionDenied } else { ExceptionKind::ReadFailed };
                self.except_as(&entry.path, kind, error.to_string());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn store(&self, file: &File, pieces: &[Piece]) -> Result<FileContent, WriteError> {
        let mut content = FileContent::default();
        for piece in pieces {
            match *piece {
                Piece::Data(start, end) => {
                    let mut source = Range { file, position: start, end, control: self.request.control };
                    let part = self.request.writer.write_content(Chunking::ContentDefined, &mut source)?;
                    content.blobs.extend(part.blobs);
                    content.size += part.size;
                    if part.size < end - start {
                        // Cut by somebody meanwhile: nothing that follows would be at its place.
                        break;
                    }
                }
                Piece::Hole(length) => {
                    let mut rest = length;
                    while rest > 0 {
                        let chunk = rest.min(ZERO_CHUNK_BYTES);
                        content.blobs.push(self.zero_chunk(chunk)?);
                        rest -= chunk;
                    }
                    content.size += length;
                }
            }
        }
        Ok(content)
    }

    fn zero_chunk(&self, length: u64) -> Result<vault_format::Id, WriteError> {
        if let Some(id) = self.zeros.lock().get(&length) {
            return Ok(*id);
        }
        // At most 4 MiB.
        let zeros = vec![0; usize::try_from(length).map_err(|e| WriteError::Source(io::Error::other(e)))?];
        let (id, _new) = self.request.writer.write_chunk(&zeros)?;
        self.zeros.lock().insert(length, id);
        Ok(id)
    }
}

/// A part of a file; ends when the work is to stop.
struct Range<'a> {
    file: &'a File,
    position: u64,
    end: u64,
    control: &'a dyn Control,
}

impl Read for Range<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.control.is_stopped() {
            return Err(io::Error::other("stopped on request"));
        }
        let wanted = usize::try_from(self.end - self.position).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.position)?;
        self.position += count as u64;
        self.control.advance(Progress { bytes_read: count as u64, ..Progress::default() });
        Ok(count)
    }
}
