//! Go's `fs.FileMode`, which restic stores, from and to the permission bits of Unix.

use crate::NodeKind;

const DIR: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const NAMED_PIPE: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SET_UID: u32 = 1 << 23;
const SET_GID: u32 = 1 << 22;
const CHAR_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
/// Permission bits that lie elsewhere in Go: Unix, Go.
const SPECIAL: [(u32, u32); 3] = [(0o4000, SET_UID), (0o2000, SET_GID), (0o1000, STICKY)];

/// Go's mode of an entry.
pub(crate) fn to_go(kind: &NodeKind, permissions: u32) -> u32 {
    let kind_bits = match kind {
        NodeKind::File { .. } => 0,
        NodeKind::Dir { .. } => DIR,
        NodeKind::Symlink { .. } => SYMLINK,
        NodeKind::BlockDevice { .. } => DEVICE,
        NodeKind::CharDevice { .. } => DEVICE | CHAR_DEVICE,
        NodeKind::Fifo => NAMED_PIPE,
        NodeKind::Socket => SOCKET,
    };
    let special = SPECIAL.iter().filter(|(unix, _)| permissions & unix != 0).fold(0, |bits, (_, go)| bits | go);
    kind_bits | special | permissions & 0o777
}

/// Unix permission bits of Go's mode.
pub(crate) fn from_go(mode: u32) -> u32 {
    let special = SPECIAL.iter().filter(|(_, go)| mode & go != 0).fold(0, |bits, (unix, _)| bits | unix);
    special | mode & 0o777
}
