//! The pack that is being filled; one for content and one for trees.

use parking_lot::Mutex;
use vault_format::{BlobKind, Id, PackedBlob};

/// Length at which a pack is closed, in bytes; restic's default.
const PACK_BYTES: usize = 16 << 20;
/// Most blobs of a pack, so that one index file always holds all of them.
const PACK_BLOBS_MAX: usize = 20_000;

/// A pack without its header.
#[derive(Default)]
pub(super) struct FilledPack {
    pub(super) bytes: Vec<u8>,
    pub(super) blobs: Vec<PackedBlob>,
}

/// See the module.
pub(super) struct Packer(Mutex<FilledPack>);

impl Packer {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Appends a sealed blob; returns the pack when it is full.
    pub(super) fn add(&self, kind: BlobKind, id: Id, sealed: &[u8], raw_length: Option<u32>) -> Option<FilledPack> {
        let mut pack = self.0.lock();
        if pack.bytes.capacity() == 0 {
            pack.bytes.reserve_exact(PACK_BYTES + sealed.len());
        }
        // A pack is closed at 16 MiB and a blob has at most half a gigabyte, so both fit into 32 bits.
        let (offset, length) = (pack.bytes.len() as u32, sealed.len() as u32);
        pack.bytes.extend_from_slice(sealed);
        pack.blobs.push(PackedBlob { kind, id, offset, length, raw_length });
        let full = pack.bytes.len() >= PACK_BYTES || pack.blobs.len() >= PACK_BLOBS_MAX;
        full.then(|| std::mem::take(&mut *pack))
    }

    /// What there is, if anything.
    pub(super) fn take(&self) -> Option<FilledPack> {
        let pack = std::mem::take(&mut *self.0.lock());
        (!pack.blobs.is_empty()).then_some(pack)
    }
}
