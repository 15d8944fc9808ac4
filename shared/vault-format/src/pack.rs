//! Packs: sealed blobs one after the other, then a sealed header that lists them, then the header's length.

use crate::{BlobKind, FormatError, Id, SEAL_OVERHEAD};

/// Length of the field at the end of a pack, in bytes.
pub const PACK_TRAILER_BYTES: usize = 4;
/// Longest sealed header that is accepted, in bytes; restic's own limit.
pub const PACK_HEADER_BYTES_MAX: usize = 16 << 20;
/// Length of a header entry without and with the uncompressed length.
const PLAIN_ENTRY_BYTES: usize = 1 + 4 + 32;
const COMPRESSED_ENTRY_BYTES: usize = PLAIN_ENTRY_BYTES + 4;

/// Where a blob lies in its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedBlob {
    /// What it is.
    pub kind: BlobKind,
    /// Digest of its plaintext.
    pub id: Id,
    /// Offset in the pack.
    pub offset: u32,
    /// Length in the pack, sealed.
    pub length: u32,
    /// Length of the plaintext where it is compressed.
    pub raw_length: Option<u32>,
}

impl PackedBlob {
    /// Length of the plaintext in bytes.
    #[must_use]
    pub fn plain_length(&self) -> u32 {
        self.raw_length.unwrap_or_else(|| self.length.saturating_sub(SEAL_OVERHEAD as u32))
    }

    const fn entry_bytes(&self) -> usize {
        if self.raw_length.is_some() { COMPRESSED_ENTRY_BYTES } else { PLAIN_ENTRY_BYTES }
    }
}

/// The header of a pack with these blobs, to be sealed by the caller.
#[must_use]
pub fn encode_pack_header(blobs: &[PackedBlob]) -> Vec<u8> {
    let mut header = Vec::with_capacity(blobs.len() * COMPRESSED_ENTRY_BYTES);
    for blob in blobs {
        let kind = match (blob.kind, blob.raw_length) {
            (BlobKind::Data, None) => 0,
            (BlobKind::Tree, None) => 1,
            (BlobKind::Data, Some(_)) => 2,
            (BlobKind::Tree, Some(_)) => 3,
        };
        header.push(kind);
        header.extend_from_slice(&blob.length.to_le_bytes());
        if let Some(raw_length) = blob.raw_length {
            header.extend_from_slice(&raw_length.to_le_bytes());
        }
        header.extend_from_slice(blob.id.as_bytes());
    }
    header
}

/// Length of the sealed header, from a pack's last four bytes.
///
/// # Errors
/// When it is more than the pack has or than is accepted.
pub fn pack_header_length(trailer: [u8; PACK_TRAILER_BYTES], pack_length: u64) -> Result<usize, FormatError> {
    let length = u32::from_le_bytes(trailer) as usize;
    let limit = PACK_HEADER_BYTES_MAX.min(usize::try_from(pack_length).unwrap_or(usize::MAX).saturating_sub(4));
    if length > limit {
        return Err(FormatError::TooLarge { found: length as u64, limit: limit as u64 });
    }
    if length < SEAL_OVERHEAD {
        return Err(FormatError::TooShort { found: length, needed: SEAL_OVERHEAD });
    }
    Ok(length)
}

/// Reads an opened header; the blobs and the header must fill the pack exactly.
///
/// # Errors
/// When an entry is cut off or unknown, or when the lengths do not add up.
pub fn decode_pack_header(header: &[u8], pack_length: u64) -> Result<Vec<PackedBlob>, FormatError> {
    let mut blobs = Vec::with_capacity(header.len() / PLAIN_ENTRY_BYTES);
    let mut rest = header;
    let mut offset: u32 = 0;
    while !rest.is_empty() {
        let blob = take_entry(&mut rest, offset)?;
        offset = offset
            .checked_add(blob.length)
            .ok_or_else(|| FormatError::Invalid("its blobs are longer than a pack can be".to_owned()))?;
        blobs.push(blob);
    }
    let filled = pack_file_length(&blobs);
    if filled != pack_length {
        return Err(FormatError::Invalid(format!("its blobs and header have {filled} bytes, the pack {pack_length}")));
    }
    Ok(blobs)
}

/// Length of the pack file with exactly these blobs, in bytes.
#[must_use]
pub fn pack_file_length(blobs: &[PackedBlob]) -> u64 {
    let content: u64 = blobs.iter().map(|blob| u64::from(blob.length) + blob.entry_bytes() as u64).sum();
    content + (SEAL_OVERHEAD + PACK_TRAILER_BYTES) as u64
}

fn take_entry(rest: &mut &[u8], offset: u32) -> Result<PackedBlob, FormatError> {
    let too_short = |found: usize| FormatError::TooShort { found, needed: PLAIN_ENTRY_BYTES };
    let available = rest.len();
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count).ok_or_else(|| too_short(available))?;
        *rest = left;
        Ok::<&[u8], FormatError>(taken)
    };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
    let kind = take(1)?[0];
    let (kind, compressed) = match kind {
        0 => (BlobKind::Data, false),
        1 => (BlobKind::Tree, false),
        2 => (BlobKind::Data, true),
        3 => (BlobKind::Tree, true),
        other => return Err(FormatError::Invalid(format!("its header names the unknown blob type {other}"))),
    };
    let length = number(take(4)?);
    let raw_length = if compressed { Some(number(take(4)?)) } else { None };
    let mut id = [0; 32];
    id.copy_from_slice(take(32)?);
    if (length as usize) < SEAL_OVERHEAD {
        return Err(FormatError::Invalid(format!("its header names a blob of {length} bytes")));
    }
    Ok(PackedBlob { kind, id: Id::new(id), offset, length, raw_length })
}
