//! Files that stand for themselves: index, snapshots and locks. Their plaintext is JSON, or a 2 and JSON in zstd.

use std::io::Read;

use crate::blob::make_room;
use crate::{FormatError, MasterKey, NONCE_BYTES, TAG_BYTES};

/// Of zstd: what restic takes.
const LEVEL: i32 = 3;
const LEVEL_SHORT_LIVED: i32 = -5;

/// Longest plaintext of such a file that is accepted, in bytes.
pub const UNPACKED_BYTES_MAX: u64 = 1 << 28;
/// First byte of a compressed plaintext.
const COMPRESSED: u8 = 2;

/// Compresses and seals a document.
///
/// # Errors
/// [`FormatError::Compress`].
pub fn encode_unpacked(key: &MasterKey, nonce: [u8; NONCE_BYTES], json: &[u8]) -> Result<Vec<u8>, FormatError> {
    let mut plaintext = vec![COMPRESSED];
    plaintext.extend(zstd::bulk::compress(json, LEVEL).map_err(FormatError::Compress)?);
    Ok(key.seal(nonce, &plaintext))
}

/// Seals the same kind of file, one after the other, where each is read back rarely and removed soon: compressed in a third of
/// the time, and less. In a buffer of its own, because a server may wait for what is sealed: to have fresh memory from the
/// system for each took longer than all else.
pub struct ShortLivedSealer {
    compressor: zstd::bulk::Compressor<'static>,
    buffer: Vec<u8>,
}

impl ShortLivedSealer {
    /// With nothing in its buffer.
    ///
    /// # Errors
    /// [`FormatError::Compress`] when there is no memory for a compressor.
    pub fn new() -> Result<Self, FormatError> {
        let compressor = zstd::bulk::Compressor::new(LEVEL_SHORT_LIVED).map_err(FormatError::Compress)?;
        Ok(Self { compressor, buffer: Vec::new() })
    }

    /// Compresses and seals. Never use a nonce twice with one key.
    ///
    /// # Errors
    /// [`FormatError::Compress`].
    pub fn seal(&mut self, key: &MasterKey, nonce: [u8; NONCE_BYTES], plain: &[u8]) -> Result<&[u8], FormatError> {
        const BEFORE: usize = NONCE_BYTES + 1;
        make_room(&mut self.buffer, BEFORE + zstd::zstd_safe::compress_bound(plain.len()) + TAG_BYTES);
        self.buffer[NONCE_BYTES] = COMPRESSED;
        let compressed = self.compressor.compress_to_buffer(plain, &mut self.buffer[BEFORE..]);
        let sealed = &mut self.buffer[..BEFORE + compressed.map_err(FormatError::Compress)? + TAG_BYTES];
        key.seal_in_place(nonce, sealed);
        Ok(sealed)
    }
}

impl std::fmt::Debug for ShortLivedSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShortLivedSealer")
    }
}

/// Opens and decompresses a file.
///
/// # Errors
/// When it is not authentic, too large or of no known encoding.
pub fn decode_unpacked(key: &MasterKey, mut sealed: Vec<u8>) -> Result<Vec<u8>, FormatError> {
    let plaintext = key.open_in_place(&mut sealed)?;
    match plaintext.split_first() {
        Some((b'{' | b'[', _)) => Ok(plaintext.to_vec()),
        Some((&COMPRESSED, compressed)) => {
            if let Some(json) = decompress_at_once(compressed) {
                return Ok(json);
            }
            let mut json = Vec::new();
            let decoder = zstd::stream::read::Decoder::new(compressed as &[u8]).map_err(FormatError::Decompress)?;
            decoder.take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut json).map_err(FormatError::Decompress)?;
            if json.len() as u64 > UNPACKED_BYTES_MAX {
                return Err(FormatError::TooLarge { found: json.len() as u64, limit: UNPACKED_BYTES_MAX });
            }
            Ok(json)
        }
        Some((other, _)) => Err(FormatError::Invalid(format!("its encoding {other} is not known"))),
        None => Err(FormatError::TooShort { found: 0, needed: 1 }),
    }
}

/// Most bytes that one byte is believed to stand for before it is decompressed: a length that is a lie must not make us
/// allocate much more than was read.
const BELIEVED_TIMES: u64 = 16;

/// None where the length is not stated, not to be believed or not right; it may be a document all the same.
fn decompress_at_once(compressed: &[u8]) -> Option<Vec<u8>> {
    let length = zstd::zstd_safe::get_frame_content_size(compressed).ok()??;
    let believed = (compressed.len() as u64).saturating_mul(BELIEVED_TIMES).min(UNPACKED_BYTES_MAX);
    if length > believed {
        return None;
    }
    zstd::bulk::decompress(compressed, usize::try_from(length).ok()?).ok()
}
