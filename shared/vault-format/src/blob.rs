//! Blobs: chunks of content and trees, compressed or not.

use std::io::Read;

use crate::{FormatError, Id, MasterKey, NONCE_BYTES, SEAL_OVERHEAD, TAG_BYTES};

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

/// A blob as it goes into a pack.
#[derive(Clone, Copy, Debug)]
pub struct SealedBlob<'a> {
    /// Nonce, ciphertext and tag.
    pub bytes: &'a [u8],
    /// Length of the plaintext where it is compressed.
    pub raw_length: Option<u32>,
}

/// Compresses and seals blobs one after the other in a buffer of its own, so that nothing is allocated or copied on the
/// way. One per thread.
pub struct BlobSealer {
    compressor: BlobCompressor,
    buffer: Vec<u8>,
}

impl BlobSealer {
    /// With a level of zstd.
    ///
    /// # Errors
    /// [`FormatError::Compress`] when there is no such level.
    pub fn new(level: i32) -> Result<Self, FormatError> {
        Ok(Self { compressor: BlobCompressor::new(level)?, buffer: Vec::new() })
    }

    /// Compresses, where that makes it smaller, and seals. Never use a nonce twice with one key.
    ///
    /// # Errors
    /// [`FormatError::Compress`], and [`FormatError::TooLarge`] above [`BLOB_BYTES_MAX`].
    pub fn seal(
        &mut self,
        key: &MasterKey,
        nonce: [u8; NONCE_BYTES],
        plaintext: &[u8],
    ) -> Result<SealedBlob<'_>, FormatError> {
        let too_large = FormatError::TooLarge { found: plaintext.len() as u64, limit: BLOB_BYTES_MAX.into() };
        let length = u32::try_from(plaintext.len()).ok().filter(|length| *length <= BLOB_BYTES_MAX).ok_or(too_large)?;
        let room = NONCE_BYTES + zstd::zstd_safe::compress_bound(plaintext.len()) + TAG_BYTES;
        make_room(&mut self.buffer, room);
        let compressed = self.compressor.0.compress_to_buffer(plaintext, &mut self.buffer[NONCE_BYTES..]);
        let compressed = compressed.map_err(FormatError::Compress)?;
        if compressed >= plaintext.len() {
            return Ok(SealedBlob { bytes: self.seal_stored(key, nonce, plaintext), raw_length: None });
        }
        let sealed = &mut self.buffer[..compressed + SEAL_OVERHEAD];
        key.seal_in_place(nonce, sealed);
        Ok(SealedBlob { bytes: sealed, raw_length: Some(length) })
    }

    /// Seals what is compressed already, or is to be stored as it is. Never use a nonce twice with one key.
    pub fn seal_stored(&mut self, key: &MasterKey, nonce: [u8; NONCE_BYTES], stored: &[u8]) -> &[u8] {
        let length = stored.len() + SEAL_OVERHEAD;
        make_room(&mut self.buffer, length);
        let sealed = &mut self.buffer[..length];
        sealed[NONCE_BYTES..length - TAG_BYTES].copy_from_slice(stored);
        key.seal_in_place(nonce, sealed);
        sealed
    }
}

impl std::fmt::Debug for BlobSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobSealer")
    }
}

/// Longest buffer that is kept, in bytes: a chunk has at most half of it.
const BUFFER_KEPT_MAX: usize = 16 << 20;

/// Makes the buffer at least so long; one that had to be very long once is not kept.
pub(crate) fn make_room(buffer: &mut Vec<u8>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, 0);
    } else if buffer.len() > BUFFER_KEPT_MAX && length <= BUFFER_KEPT_MAX {
        *buffer = vec![0; length];
    }
}

/// A blob that was decrypted and verified.
#[derive(Clone, Copy, Debug)]
pub struct OpenedBlob<'a> {
    /// As it was stored: compressed or not.
    pub stored: &'a [u8],
    /// Length of the plaintext where it is compressed. Copies of one blob may differ in that.
    pub raw_length: Option<u32>,
    /// What its id says.
    pub plaintext: &'a [u8],
}

/// A blob as it lies in a pack, and what its index says of it.
#[derive(Debug)]
pub struct BlobToOpen<'a> {
    /// Nonce, ciphertext and tag; decrypted in place.
    pub sealed: &'a mut [u8],
    /// Length of the plaintext where it is compressed.
    pub raw_length: Option<u32>,
    /// Digest of the plaintext.
    pub id: Id,
}

/// Opens blobs one after the other, or several at a time, with buffers of its own for what is decompressed. One per thread.
pub struct BlobOpener {
    decompressor: zstd::bulk::Decompressor<'static>,
    /// What all that are opened at a time are decompressed into, one behind the other.
    buffer: PlainBuffer,
    /// Those that are too large for it.
    large: Vec<Vec<u8>>,
}

impl BlobOpener {
    /// A new one.
    ///
    /// # Errors
    /// [`FormatError::Decompress`] when there is no memory for it.
    pub fn new() -> Result<Self, FormatError> {
        let decompressor = zstd::bulk::Decompressor::new().map_err(FormatError::Decompress)?;
        Ok(Self { decompressor, buffer: PlainBuffer::default(), large: Vec::new() })
    }

    /// Decrypts in place, decompresses and verifies a blob as it lies in a pack.
    ///
    /// # Errors
    /// When it is not authentic, does not decompress or is not what the id says.
    pub fn open<'a>(&'a mut self, key: &MasterKey, blob: BlobToOpen<'a>) -> Result<OpenedBlob<'a>, FormatError> {
        let opened = self.open_each(key, vec![blob]).pop();
        // There is one for each that is given.
        opened.unwrap_or_else(|| Err(FormatError::Invalid("it was not opened".to_owned())))
    }

    /// The same for several blobs, in their order; faster than one after the other, see [`Id::of_each`]. All are in memory at
    /// the same time, so no more than [`Id::at_once`] should be given.
    pub fn open_each<'a>(
        &'a mut self,
        key: &MasterKey,
        blobs: Vec<BlobToOpen<'a>>,
    ) -> Vec<Result<OpenedBlob<'a>, FormatError>> {
        let lengths = || blobs.iter().map(|blob| blob.raw_length.unwrap_or(0) as usize);
        let large = lengths().filter(|length| is_large(*length)).count();
        let room = lengths().filter(|length| !is_large(*length)).map(room_of).sum();
        // Those of the last time go: as many as there are now begin anew.
        self.large.clear();
        self.large.resize_with(large, Vec::new);
        let (mut room, mut large) = (self.buffer.room(room), self.large.iter_mut());
        let expected: Vec<Id> = blobs.iter().map(|blob| blob.id).collect();
        let mut opened: Vec<Result<OpenedBlob<'a>, FormatError>> = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let length = blob.raw_length.unwrap_or(0) as usize;
            // There are as many of those as are large.
            let buffer = match is_large(length).then(|| large.next()).flatten() {
                Some(buffer) => Buffer::Large(buffer),
                None => {
                    let (own, rest) = std::mem::take(&mut room).split_at_mut(room_of(length));
                    room = rest;
                    Buffer::Room(own)
                }
            };
            opened.push(uncover(&mut self.decompressor, buffer, key, blob));
        }
        let texts: Vec<&[u8]> = opened.iter().flatten().map(|opened| opened.plaintext).collect();
        let mut found = Id::of_each(&texts).into_iter();
        let judge = |(opened, expected): (Result<OpenedBlob<'a>, FormatError>, Id)| {
            let opened = opened?;
            // There is a digest for each that was opened.
            found.next().map_or(Err(FormatError::WrongId { found: expected }), |found| verify(opened, found, expected))
        };
        opened.into_iter().zip(expected).map(judge).collect()
    }
}

fn verify(opened: OpenedBlob<'_>, found: Id, expected: Id) -> Result<OpenedBlob<'_>, FormatError> {
    if found == expected { Ok(opened) } else { Err(FormatError::WrongId { found }) }
}

/// Decrypts and decompresses, but does not verify.
fn uncover<'a>(
    decompressor: &mut zstd::bulk::Decompressor<'static>,
    buffer: Buffer<'a>,
    key: &MasterKey,
    blob: BlobToOpen<'a>,
) -> Result<OpenedBlob<'a>, FormatError> {
    let stored: &[u8] = key.open_in_place(blob.sealed)?;
    let Some(length) = blob.raw_length else {
        return Ok(OpenedBlob { stored, raw_length: None, plaintext: stored });
    };
    let plaintext = match buffer {
        Buffer::Large(buffer) => {
            *buffer = decompress_exactly(stored, length)?;
            buffer.as_slice()
        }
        Buffer::Room(room) => {
            let room = &mut room[..length as usize];
            let found = decompressor.decompress_to_buffer(stored, room).map_err(FormatError::Decompress)?;
            if found != room.len() {
                return Err(FormatError::Invalid(format!("it decompresses to {found} bytes, not to {length}")));
            }
            &*room
        }
    };
    Ok(OpenedBlob { stored, raw_length: Some(length), plaintext })
}

/// What a blob is decompressed into.
enum Buffer<'a> {
    /// Room for all of it.
    Room(&'a mut [u8]),
    /// Grows as it fills: a wrong length must not make us allocate half a gigabyte.
    Large(&'a mut Vec<u8>),
}

fn is_large(length: usize) -> bool {
    length > BUFFER_KEPT_MAX
}

/// Bytes of a page.
const PAGE: usize = 4096;

/// Whole pages, so that what comes behind it begins at a page, too.
fn room_of(length: usize) -> usize {
    length.next_multiple_of(PAGE)
}

/// What content is decompressed into. It begins at a page, so that it can be written to a disk as it lies.
#[derive(Default)]
struct PlainBuffer(Vec<u8>);

impl PlainBuffer {
    fn room(&mut self, length: usize) -> &mut [u8] {
        make_room(&mut self.0, length + PAGE);
        let start = self.0.as_ptr().align_offset(PAGE).min(PAGE);
        &mut self.0[start..start + length]
    }
}

impl std::fmt::Debug for BlobOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobOpener")
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
