//! AES-256 in counter mode with Poly1305-AES, as restic composes them: `nonce || ciphertext || tag`.
//!
//! The counter is 128 bits wide and carries over its whole width, as Go's does; a narrower one would make a blob
//! unreadable for restic whenever the lower half of its random nonce is near the end of its range.

use std::fmt;
use std::sync::Arc;

use aes::Aes128;
use aes::cipher::{BlockEncrypt, KeyInit};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poly1305::Poly1305;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{FormatError, poly1305_lanes};

/// Length of a nonce in bytes.
pub const NONCE_BYTES: usize = 16;
/// Length of an authentication tag in bytes.
pub const TAG_BYTES: usize = 16;
/// How much longer a sealed thing is than its plaintext, in bytes.
pub const SEAL_OVERHEAD: usize = NONCE_BYTES + TAG_BYTES;

/// The keys that encrypt and authenticate. Cheap enough to clone; zeroed when dropped.
#[derive(Clone)]
pub struct MasterKey {
    bytes: Zeroizing<[u8; 64]>,
    /// Chosen for its speed: four times that of the `ctr` crate, by the widest instructions the processor has.
    encrypt: Arc<EncryptingKey>,
    mac: Aes128,
}

impl MasterKey {
    /// From 32 bytes for AES-256, 16 for the AES-128 of the authentication and 16 for its `r`.
    #[must_use]
    pub fn from_bytes(bytes: Zeroizing<[u8; 64]>) -> Self {
        let mut mac = Zeroizing::new([0; 16]);
        mac.copy_from_slice(&bytes[32..48]);
        #[expect(clippy::expect_used, reason = "only a key of another length than the algorithm's is refused")]
        let encrypt =
            UnboundCipherKey::new(&AES_256, &bytes[..32]).and_then(EncryptingKey::ctr).expect("AES-256 takes 32 bytes");
        Self { encrypt: Arc::new(encrypt), mac: Aes128::new(&(*mac).into()), bytes }
    }

    /// Whether it is the same key; the time it takes says nothing about where they differ.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let difference = self.bytes.iter().zip(other.bytes.iter()).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(difference) == 0
    }

    /// Appends the sealed plaintext to `out`. Never use a nonce twice with one key.
    pub fn seal_into(&self, nonce: [u8; NONCE_BYTES], plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(plaintext.len() + SEAL_OVERHEAD);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plaintext);
        out.extend_from_slice(&[0; TAG_BYTES]);
        self.seal_in_place(nonce, &mut out[start..]);
    }

    /// Seals the plaintext that stands between room for the nonce and room for the tag. Never use a nonce twice with one
    /// key.
    pub(crate) fn seal_in_place(&self, nonce: [u8; NONCE_BYTES], sealed: &mut [u8]) {
        debug_assert!(sealed.len() >= SEAL_OVERHEAD, "callers make room for nonce and tag");
        let Some((nonce_room, rest)) = sealed.split_first_chunk_mut::<NONCE_BYTES>() else { return };
        let Some((text, tag_room)) = rest.split_last_chunk_mut::<TAG_BYTES>() else { return };
        *nonce_room = nonce;
        self.apply_keystream(nonce, text);
        *tag_room = tag_of(&self.one_time_key(nonce), text);
    }

    /// The sealed plaintext. Never use a nonce twice with one key.
    #[must_use]
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], plaintext: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.seal_into(nonce, plaintext, &mut out);
        out
    }

    /// Verifies and decrypts in place; returns the plaintext within `sealed`. Nothing is decrypted when it is not
    /// authentic.
    ///
    /// # Errors
    /// [`FormatError::TooShort`] and [`FormatError::Unauthentic`].
    pub fn open_in_place<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], FormatError> {
        let too_short = FormatError::TooShort { found: sealed.len(), needed: SEAL_OVERHEAD };
        let Some((nonce, rest)) = sealed.split_first_chunk_mut::<NONCE_BYTES>() else { return Err(too_short) };
        let Some((ciphertext, tag)) = rest.split_last_chunk_mut::<TAG_BYTES>() else { return Err(too_short) };
        let one_time_key = self.one_time_key(*nonce);
        // The library has the last word: what is ours could at worst make this slower, never refuse what is sound.
        let is_authentic = poly1305_lanes::tag(&one_time_key, ciphertext).is_some_and(|found| is_same(&found, tag))
            || is_same(&tag_of(&one_time_key, ciphertext), tag);
        if !is_authentic {
            return Err(FormatError::Unauthentic);
        }
        self.apply_keystream(*nonce, ciphertext);
        Ok(ciphertext)
    }

    fn apply_keystream(&self, nonce: [u8; NONCE_BYTES], bytes: &mut [u8]) {
        let context = EncryptionContext::Iv128(FixedLength::from(nonce));
        #[expect(
            clippy::expect_used,
            reason = "only a context of another mode is refused; going on would store plaintext"
        )]
        self.encrypt.less_safe_encrypt(bytes, context).expect("counter mode takes 16 bytes");
    }

    /// What Poly1305-AES authenticates one text with: `r` as it is, and the encrypted nonce.
    fn one_time_key(&self, nonce: [u8; NONCE_BYTES]) -> Zeroizing<[u8; 32]> {
        let mut masked = nonce.into();
        self.mac.encrypt_block(&mut masked);
        let mut key = Zeroizing::new([0; 32]);
        key[..16].copy_from_slice(&self.bytes[48..]);
        key[16..].copy_from_slice(&masked);
        key
    }

    /// The document that is sealed in a key file.
    pub(crate) fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, FormatError> {
        let document = MasterKeyJson {
            mac: MacKeyJson { k: STANDARD.encode(&self.bytes[32..48]), r: STANDARD.encode(&self.bytes[48..]) },
            encrypt: STANDARD.encode(&self.bytes[..32]),
        };
        Ok(Zeroizing::new(serde_json::to_vec(&document)?))
    }

    /// From the document that is sealed in a key file.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, FormatError> {
        let document: MasterKeyJson = serde_json::from_slice(json)?;
        let mut bytes = Zeroizing::new([0; 64]);
        for (range, text) in [(0..32, &document.encrypt), (32..48, &document.mac.k), (48..64, &document.mac.r)] {
            let decoded = Zeroizing::new(
                STANDARD.decode(text).map_err(|_| FormatError::Invalid("a master key is not base64".to_owned()))?,
            );
            let part = &mut bytes[range];
            if decoded.len() != part.len() {
                return Err(FormatError::Invalid(format!(
                    "a master key has {} bytes instead of {}",
                    decoded.len(),
                    part.len()
                )));
            }
            part.copy_from_slice(&decoded);
        }
        Ok(Self::from_bytes(bytes))
    }
}

/// The tag of a text, by the library: what is written is never authenticated by anything else.
fn tag_of(one_time_key: &[u8; 32], ciphertext: &[u8]) -> [u8; TAG_BYTES] {
    Poly1305::new(&(*one_time_key).into()).compute_unpadded(ciphertext).into()
}

/// Every byte is looked at, so that the time says nothing about where the first difference is.
fn is_same(a: &[u8; TAG_BYTES], b: &[u8; TAG_BYTES]) -> bool {
    let difference = a.iter().zip(b.iter()).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(difference) == 0
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

#[derive(Serialize, Deserialize)]
struct MasterKeyJson {
    mac: MacKeyJson,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct MacKeyJson {
    k: String,
    r: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> MasterKey {
        MasterKey::from_bytes(Zeroizing::new(std::array::from_fn(|i| i as u8)))
    }

    #[test]
    fn what_was_sealed_opens_again() {
        for length in [0, 1, 15, 16, 17, 1000, 1024, 5000] {
            let plaintext = vec![7; length];
            let mut sealed = key().seal([9; 16], &plaintext);
            assert_eq!(sealed.len(), length + SEAL_OVERHEAD);
            assert_eq!(key().open_in_place(&mut sealed).unwrap(), plaintext);
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let sealed = key().seal([1; 16], b"content");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(key().open_in_place(&mut changed), Err(FormatError::Unauthentic)));
        }
        assert!(matches!(key().open_in_place(&mut [0; 31]), Err(FormatError::TooShort { .. })));
        // Long enough for eight blocks at a time.
        let sealed = key().seal([1; 16], &[0x5a; 3000]);
        for bit in (0..sealed.len() * 8).step_by(61) {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(key().open_in_place(&mut changed), Err(FormatError::Unauthentic)), "bit {bit}");
        }
    }

    #[test]
    fn the_counter_carries_over_all_of_its_128_bits() {
        // With the nonce 00…00 ff…ff, the second block's counter is 00…01 00…00.
        let mut nonce = [0xff; 16];
        nonce[..8].fill(0);
        let mut second = [0; 16];
        second[7] = 1;
        let at_edge = key().seal(nonce, &[0; 32]);
        let after = key().seal(second, &[0; 16]);
        assert_eq!(at_edge[32..48], after[16..32]);
    }
}
