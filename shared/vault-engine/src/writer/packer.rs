//! The pack that is being filled; one for content and one for trees.

use bytes::BytesMut;
use parking_lot::Mutex;
use vault_format::{BlobKind, Id, PackedBlob, SealedBlob};

use super::chunks::CHUNK_BYTES_MAX;

/// Length at which a pack is closed, in bytes; restic's default. Tests inside of this crate make many packs of little.
const PACK_BYTES: usize = if cfg!(test) { 32 << 10 } else { 16 << 20 };
/// Most blobs of a pack, so that one index file always holds all of them.
const PACK_BLOBS_MAX: usize = 20_000;
/// What a pack of chunks has at most, its header included: room is made once.
pub(super) const PACK_ROOM: usize = PACK_BYTES + CHUNK_BYTES_MAX + (1 << 20);

/// A pack without its header.
#[derive(Default)]
pub(super) struct FilledPack {
    pub(super) bytes: BytesMut,
    pub(super) blobs: Vec<PackedBlob>,
}

/// See the module.
pub(super) struct Packer(Mutex<FilledPack>);

impl Packer {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Appends a sealed blob, in a buffer from `buffer` where there is none; returns the pack when it is full.
    pub(super) fn add(
        &self,
        kind: BlobKind,
        id: Id,
        sealed: SealedBlob<'_>,
        buffer: impl FnOnce() -> BytesMut,
    ) -> Option<FilledPack> {
        let SealedBlob { bytes, raw_length } = sealed;
        let mut pack = self.0.lock();
        if pack.bytes.capacity() == 0 {
            pack.bytes = buffer();
        }
        // A pack is closed at 16 MiB and a blob has at most half a gigabyte, so both fit into 32 bits.
        let (offset, length) = (pack.bytes.len() as u32, bytes.len() as u32);
        pack.bytes.extend_from_slice(bytes);
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
