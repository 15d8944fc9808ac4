//! Nodes of a tree: one directory entry with all its metadata, in restic's terms.

use jiff::Timestamp;

use crate::Id;

/// An instant with nanoseconds as restic writes it (RFC 3339; years 0 to 9999).
pub type NodeTime = Timestamp;

/// An extended attribute, ACLs and capabilities included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// The full name, for example `user.comment` or `security.capability`.
    pub name: String,
    /// The raw value.
    pub value: Vec<u8>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File {
        /// Its chunks in order; their lengths add up to `size`.
        content: Vec<Id>,
        /// Its size in bytes.
        size: u64,
    },
    /// A directory.
    Dir {
        /// Its tree.
        subtree: Id,
    },
    /// A symbolic link.
    Symlink {
        /// Its target as raw bytes.
        target: Vec<u8>,
    },
    /// A block device.
    BlockDevice {
        /// Its number as the kernel has it (`st_rdev`).
        device: u64,
    },
    /// A character device.
    CharDevice {
        /// Its number as the kernel has it (`st_rdev`).
        device: u64,
    },
    /// A named pipe.
    Fifo,
    /// A socket: kept as an entry; has no content.
    Socket,
}

/// One directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The name as raw bytes: no `/`, no NUL, not `.` or `..`.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits with set-user-id, set-group-id and sticky (`st_mode & 0o7777`).
    pub mode: u32,
    /// Last change of content.
    pub mtime: NodeTime,
    /// Last access, where known.
    pub atime: NodeTime,
    /// Last change of metadata; not restorable, used to recognise unchanged files.
    pub ctime: NodeTime,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Name of the owner; empty where unknown.
    pub user: String,
    /// Name of the group; empty where unknown.
    pub group: String,
    /// Inode number at the source.
    pub inode: u64,
    /// Device the inode is on; set where `links` > 1, so that hard links can be told.
    pub device_id: u64,
    /// Number of hard links.
    pub links: u64,
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
}

impl Node {
    /// A node with nothing but a name, a kind, a mode and one time: of nobody, with no links and no attributes.
    pub fn unowned(name: impl Into<Vec<u8>>, kind: NodeKind, mode: u32, at: NodeTime) -> Self {
        Self {
            name: name.into(),
            kind,
            mode,
            mtime: at,
            atime: at,
            ctime: at,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 0,
            device_id: 0,
            links: 1,
            xattrs: Vec::new(),
        }
    }
}

/// A directory's entries, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Sorted by the bytes of their names; no name twice.
    pub nodes: Vec<Node>,
}
