//! Files that stand for themselves: index, snapshots and locks. Their plaintext is JSON, or a 2 and JSON in zstd.

use std::io::Read;

use crate::{FormatError, MasterKey, NONCE_BYTES};

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
    encode(key, nonce, json, LEVEL)
}

/// The same for what is read back rarely and removed soon: compressed in a third of the time, and less.
///
/// # Errors
/// When compression fails.
pub fn encode_short_lived(key: &MasterKey, nonce: [u8; NONCE_BYTES], bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    encode(key, nonce, bytes, LEVEL_SHORT_LIVED)
}

fn encode(key: &MasterKey, nonce: [u8; NONCE_BYTES], plain: &[u8], level: i32) -> Result<Vec<u8>, FormatError> {
    let mut plaintext = vec![COMPRESSED];
    plaintext.extend(zstd::bulk::compress(plain, level).map_err(FormatError::Compress)?);
    Ok(key.seal(nonce, &plaintext))
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
