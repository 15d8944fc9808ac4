//! A text that is taken in block by block, by whichever instructions, and finished.

use sha2::digest::generic_array::GenericArray;
use sha2::digest::generic_array::typenum::U64;

use super::sha256;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;
/// Words of a state.
pub(super) type State = [u32; 8];
/// The initial state, from FIPS 180-4.
const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The round constants, from FIPS 180-4.
pub(super) const ROUNDS: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

/// A text of which some whole blocks have been taken in.
#[derive(Clone, Copy)]
pub(super) struct Begun<'a> {
    pub(super) state: State,
    text: &'a [u8],
    /// Bytes that have been taken in.
    pub(super) done: usize,
}

impl<'a> Begun<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { state: INITIAL, text, done: 0 }
    }

    /// The whole blocks that are still to come.
    pub(super) fn blocks(&self) -> &'a [[u8; BLOCK]] {
        self.text[self.done..].as_chunks::<BLOCK>().0
    }

    /// Takes in the rest and its padding.
    pub(super) fn finish(mut self) -> [u8; 32] {
        if self.done == 0 {
            return sha256(self.text);
        }
        let (blocks, rest) = self.text[self.done..].as_chunks::<BLOCK>();
        for block in blocks {
            compress(&mut self.state, block);
        }
        let mut last = [0; 2 * BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()] = 0x80;
        let length = if rest.len() < BLOCK - 8 { BLOCK } else { 2 * BLOCK };
        last[length - 8..length].copy_from_slice(&(self.text.len() as u64 * 8).to_be_bytes());
        for block in last[..length].as_chunks::<BLOCK>().0 {
            compress(&mut self.state, block);
        }
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

fn compress(state: &mut State, block: &[u8; BLOCK]) {
    let block: &GenericArray<u8, U64> = block.into();
    sha2::compress256(state, std::slice::from_ref(block));
}
