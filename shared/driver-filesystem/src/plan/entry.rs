//! An entry of a recovery point, with no more than a restore or a comparison needs of it.

use driver_api::{BlobSpan, DriverError, ReadError, SnapshotReader};
use jiff::Timestamp;
use vault_format::{Id, Node, NodeKind, Xattr};

use crate::display;
use crate::extents::Extent;
use crate::sidecar::Attributes;

/// What an entry takes in the heap beside itself and the bytes it points to, for each thing that it points to.
const ALLOCATION_BYTES: usize = 16;

/// An entry that is to be restored or compared.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The same in every walk through the recovery point.
    pub(crate) number: usize,
    /// The directory that holds it; the root's is itself.
    pub(crate) holder: usize,
    path: Box<[u8]>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    pub(crate) xattrs: Box<[Xattr]>,
    /// None for the many that have none.
    attributes: Option<Box<Attributes>>,
    /// The first name of the same file, for names of a file that has several.
    pub(crate) leader: Option<usize>,
    /// False for a directory that only leads to what is to be restored.
    pub(crate) whole: bool,
}

/// What it is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File { size: u64, chunks: Box<[Chunk]> },
    Dir,
    Symlink { target: Box<[u8]> },
    BlockDevice { device: u64 },
    CharDevice { device: u64 },
    Fifo,
    Socket,
}

/// A part of a file's content; its place is behind all that come before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    pub(crate) id: Id,
    pub(crate) length: u32,
}

impl Entry {
    pub(super) fn new(
        (number, holder): (usize, usize),
        path: Vec<u8>,
        node: &Node,
        attributes: Option<&Attributes>,
        whole: bool,
        reader: &dyn SnapshotReader,
    ) -> Result<Self, DriverError> {
        let kind = match &node.kind {
            NodeKind::File { content, size } => {
                Kind::File { size: *size, chunks: chunks(reader, &path, content, *size)? }
            }
            NodeKind::Dir { .. } => Kind::Dir,
            NodeKind::Symlink { target } => Kind::Symlink { target: target[..].into() },
            NodeKind::BlockDevice { device } => Kind::BlockDevice { device: *device },
            NodeKind::CharDevice { device } => Kind::CharDevice { device: *device },
            NodeKind::Fifo => Kind::Fifo,
            NodeKind::Socket => Kind::Socket,
        };
        Ok(Self {
            number,
            holder,
            path: path.into(),
            kind,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            mtime: node.mtime,
            xattrs: node.xattrs[..].into(),
            attributes: attributes.map(|attributes| Box::new(attributes.clone())),
            leader: None,
            whole,
        })
    }

    pub(crate) const fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir)
    }

    pub(crate) const fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }

    pub(crate) const fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        }
    }

    /// Where its content is cut; empty for all but files.
    pub(crate) fn chunks(&self) -> &[Chunk] {
        match &self.kind {
            Kind::File { chunks, .. } => chunks,
            _ => &[],
        }
    }

    /// Its chunks with their places.
    pub(crate) fn spans(&self) -> impl Iterator<Item = BlobSpan> + '_ {
        let mut offset = 0;
        self.chunks().iter().map(move |Chunk { id, length }| {
            let span = BlobSpan { id: *id, offset, length: *length };
            offset += u64::from(*length);
            span
        })
    }

    /// Below the resource; empty for its root.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    pub(crate) fn name(&self) -> &[u8] {
        name(&self.path)
    }

    /// The path of the directory that holds it.
    pub(crate) fn holder_path(&self) -> &[u8] {
        holder(&self.path)
    }

    /// The path for people.
    pub(crate) fn display(&self) -> String {
        display(&self.path)
    }

    /// Inode flags as the sidecar has them.
    pub(crate) fn flags(&self) -> u32 {
        self.attributes.as_ref().map_or(0, |attributes| attributes.flags)
    }

    /// Project id as the sidecar has it.
    pub(crate) fn project(&self) -> u32 {
        self.attributes.as_ref().map_or(0, |attributes| attributes.project)
    }

    /// Extents with data of a sparse file.
    pub(crate) fn data(&self) -> Option<&[Extent]> {
        self.attributes.as_ref().and_then(|attributes| attributes.data.as_deref())
    }

    /// About what it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        let content = match &self.kind {
            Kind::File { chunks, .. } => size_of_val(&**chunks) + ALLOCATION_BYTES,
            Kind::Symlink { target } => target.len() + ALLOCATION_BYTES,
            _ => 0,
        };
        let of = |x: &Xattr| size_of::<Xattr>() + x.name.len() + x.value.len() + 2 * ALLOCATION_BYTES;
        let extents = self.attributes.as_ref().map_or(0, |attributes| {
            size_of::<Attributes>() + attributes.data.as_ref().map_or(0, |data| size_of_val(&**data))
        });
        let path = self.path.len() + ALLOCATION_BYTES;
        size_of::<Self>() + path + content + self.xattrs.iter().map(of).sum::<usize>() + extents
    }
}

/// The last name of a path.
pub(crate) fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// The path without its last name.
pub(crate) fn holder(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(b"", |slash| &path[..slash])
}

fn chunks(reader: &dyn SnapshotReader, path: &[u8], content: &[Id], size: u64) -> Result<Box<[Chunk]>, ReadError> {
    let chunk = |id: &Id| Ok(Chunk { id: *id, length: reader.blob_length(id)? });
    let chunks = content.iter().map(chunk).collect::<Result<Box<[_]>, ReadError>>()?;
    let length: u64 = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
    if length != size {
        return Err(ReadError::Damaged {
            what: format!("file `{}`", display(path)),
            problem: format!("its chunks have {length} bytes instead of {size}"),
        });
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cut_at_their_last_slash() {
        for (path, before, last) in [("", "", ""), ("a", "", "a"), ("a/b", "a", "b"), ("a/b/c d", "a/b", "c d")] {
            assert_eq!((holder(path.as_bytes()), name(path.as_bytes())), (before.as_bytes(), last.as_bytes()));
        }
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 160, "{} bytes", size_of::<Entry>());
        assert!(size_of::<Chunk>() <= 36, "{} bytes", size_of::<Chunk>());
    }
}
