//! Blobs: chunks of content and trees, compressed or not.

use std::io::Read;

use crate::{FormatError, Id, MasterKey};

/// Longest plaintext of a blob that is accepted, in bytes. Chunks have at most 8 MiB; a tree node of a directory with a
/// million entries has less than this.
pub const BLOB_BYTES_MAX: u32 = 1 << 29;

/// What a blob is. The two have separate namespaces: the same bytes may be stored once as each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobKind {
    /// A chunk of content.
    Data,
    /// A directory.
    Tree,
}

impl BlobKind {
    /// The word in index files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Tree => "tree",
        }
    }
}

/// Compresses blobs one after the other, each for itself. One per thread: its state is a megabyte that is better kept.
pub struct BlobCompressor(zstd::bulk::Compressor<'static>);

impl BlobCompressor {
    /// With a level of zstd.
    ///
    /// # Errors
    /// [`FormatError::Compress`] when there is no such level.
    pub fn new(level: i32) -> Result<Self, FormatError> {
        zstd::bulk::Compressor::new(level).map(Self).map_err(FormatError::Compress)
    }

    /// Compresses a blob; none when that would not make it smaller, and it is then stored as it is.
    ///
    /// # Errors
    /// [`FormatError::Compress`].
    pub fn compress(&mut self, plaintext: &[u8]) -> Result<Option<Vec<u8>>, FormatError> {
        let compressed = self.0.compress(plaintext).map_err(FormatError::Compress)?;
        Ok((compressed.len() < plaintext.len()).then_some(compressed))
    }
}

impl std::fmt::Debug for BlobCompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobCompressor")
    }
}

/// Decompresses what was stored, where it is compressed, and verifies the content against its id.
///
/// # Errors
/// When it is too large, does not decompress to the stated length or is not what the id says.
pub fn unpack_blob(stored: &[u8], raw_length: Option<u32>, id: &Id) -> Result<Vec<u8>, FormatError> {
    let plaintext = match raw_length {
        None => stored.to_vec(),
        Some(length) => decompress_exactly(stored, length)?,
    };
    let found = Id::of(&plaintext);
    if found == *id { Ok(plaintext) } else { Err(FormatError::WrongId { found }) }
}

/// Decrypts in place, decompresses and verifies a blob as it lies in a pack.
///
/// # Errors
/// When it is not authentic, does not decompress or is not what the id says.
pub fn open_blob(key: &MasterKey, sealed: &mut [u8], raw_length: Option<u32>, id: &Id) -> Result<Vec<u8>, FormatError> {
    unpack_blob(key.open_in_place(sealed)?, raw_length, id)
}

fn decompress_exactly(compressed: &[u8], length: u32) -> Result<Vec<u8>, FormatError> {
    if length > BLOB_BYTES_MAX {
        return Err(FormatError::TooLarge { found: length.into(), limit: BLOB_BYTES_MAX.into() });
    }
    let expected = length as usize;
    // A wrong length must not make us allocate half a gigabyte: beyond a chunk's length the buffer grows as it fills.
    let plaintext = if expected <= 16 << 20 {
        zstd::bulk::decompress(compressed, expected).map_err(FormatError::Decompress)?
    } else {
        let mut out = Vec::new();
        let decoder = zstd::stream::read::Decoder::new(compressed).map_err(FormatError::Decompress)?;
        decoder.take(u64::from(length) + 1).read_to_end(&mut out).map_err(FormatError::Decompress)?;
        out
    };
    if plaintext.len() != expected {
        return Err(FormatError::Invalid(format!("it decompresses to {} bytes, not to {expected}", plaintext.len())));
    }
    Ok(plaintext)
}
