//! SHA-256 of two texts at once. The processor's SHA instructions have to wait for each other within one text, so two that
//! take turns are done in little more than the time of one.

use sha2::digest::generic_array::GenericArray;
use sha2::digest::generic_array::typenum::U64;

/// Bytes of a block.
const BLOCK: usize = 64;
/// The initial state, from FIPS 180-4.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The digests of both.
pub(crate) fn sha256_of_two(first: &[u8], second: &[u8]) -> [[u8; 32]; 2] {
    let mut states = [INITIAL; 2];
    let common = first.len().min(second.len()) / BLOCK * BLOCK;
    let done = two_at_once(&mut states, &first[..common], &second[..common]);
    let [mut one, mut other] = states;
    [finish(&mut one, first, done), finish(&mut other, second, done)]
}

/// What is left of a text after `done` bytes, and its padding.
fn finish(state: &mut [u32; 8], text: &[u8], done: usize) -> [u8; 32] {
    let (blocks, rest) = text[done..].as_chunks::<BLOCK>();
    for block in blocks {
        compress(state, block);
    }
    let mut last = [0; 2 * BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    let length = if rest.len() < BLOCK - 8 { BLOCK } else { 2 * BLOCK };
    last[length - 8..length].copy_from_slice(&(text.len() as u64 * 8).to_be_bytes());
    for block in last[..length].as_chunks::<BLOCK>().0 {
        compress(state, block);
    }
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn compress(state: &mut [u32; 8], block: &[u8; BLOCK]) {
    let block: &GenericArray<u8, U64> = block.into();
    sha2::compress256(state, std::slice::from_ref(block));
}

/// Takes in as much of both as the processor can do at once; returns how many bytes of each that was.
#[cfg(not(target_arch = "x86_64"))]
fn two_at_once(_states: &mut [[u32; 8]; 2], _first: &[u8], _second: &[u8]) -> usize {
    0
}

/// Takes in as much of both as the processor can do at once; returns how many bytes of each that was.
#[cfg(target_arch = "x86_64")]
fn two_at_once(states: &mut [[u32; 8]; 2], first: &[u8], second: &[u8]) -> usize {
    if !(is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")) {
        return 0;
    }
    // SAFETY: the processor has the instructions, by the line above.
    unsafe { x86::compress_two(states, first, second) };
    first.len().min(second.len()) / BLOCK * BLOCK
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
        _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
    };

    use super::BLOCK;

    /// The round constants, from FIPS 180-4.
    const ROUNDS: [[u32; 4]; 16] = [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ];

    /// The state as the instructions want it: A, B, E, F and C, D, G, H.
    #[derive(Clone, Copy)]
    struct State {
        abef: __m128i,
        cdgh: __m128i,
    }

    impl State {
        #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
        fn load(state: &[u32; 8]) -> Self {
            let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
            Self { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
        }

        #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
        fn store(self, state: &mut [u32; 8]) {
            let Self { abef, cdgh } = self;
            *state = [
                _mm_extract_epi32::<3>(abef),
                _mm_extract_epi32::<2>(abef),
                _mm_extract_epi32::<3>(cdgh),
                _mm_extract_epi32::<2>(cdgh),
                _mm_extract_epi32::<1>(abef),
                _mm_extract_epi32::<0>(abef),
                _mm_extract_epi32::<1>(cdgh),
                _mm_extract_epi32::<0>(cdgh),
            ]
            .map(i32::cast_unsigned);
        }

        #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
        fn add(self, other: Self) -> Self {
            Self { abef: _mm_add_epi32(self.abef, other.abef), cdgh: _mm_add_epi32(self.cdgh, other.cdgh) }
        }
    }

    /// Four words of a block, most significant byte first.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn words(bytes: &[u8; 16]) -> __m128i {
        let value = u128::from_le_bytes(*bytes);
        let turned = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        _mm_shuffle_epi8(_mm_set_epi64x((value >> 64) as i64, value as i64), turned)
    }

    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn four_rounds(state: &mut State, words: __m128i, round: usize) {
        let [a, b, c, d] = ROUNDS[round].map(u32::cast_signed);
        let words = _mm_add_epi32(words, _mm_set_epi32(d, c, b, a));
        state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, words);
        state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32::<0x0e>(words));
    }

    /// The four words that follow sixteen.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn next_words([a, b, c, d]: [__m128i; 4]) -> __m128i {
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8::<4>(d, c));
        _mm_sha256msg2_epu32(sum, d)
    }

    /// All blocks that both have; what is no whole block is left.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(super) fn compress_two(states: &mut [[u32; 8]; 2], first: &[u8], second: &[u8]) {
        let [mut one, mut other] = [State::load(&states[0]), State::load(&states[1])];
        let blocks = first.as_chunks::<BLOCK>().0.iter().zip(second.as_chunks::<BLOCK>().0);
        for (first, second) in blocks {
            let before = [one, other];
            let (parts, _) = first.as_chunks::<16>();
            let mut x = [words(&parts[0]), words(&parts[1]), words(&parts[2]), words(&parts[3])];
            let (parts, _) = second.as_chunks::<16>();
            let mut y = [words(&parts[0]), words(&parts[1]), words(&parts[2]), words(&parts[3])];
            for round in 0..12 {
                four_rounds(&mut one, x[0], round);
                four_rounds(&mut other, y[0], round);
                x = [x[1], x[2], x[3], next_words(x)];
                y = [y[1], y[2], y[3], next_words(y)];
            }
            for round in 12..16 {
                four_rounds(&mut one, x[round - 12], round);
                four_rounds(&mut other, y[round - 12], round);
            }
            [one, other] = [one.add(before[0]), other.add(before[1])];
        }
        one.store(&mut states[0]);
        other.store(&mut states[1]);
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn digests_are_those_of_one_at_a_time() {
        let text: Vec<u8> = (0..70_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let lengths = [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 4096, 65_536, 70_000];
        for first in lengths {
            for second in lengths {
                let (first, second) = (&text[..first], &text[text.len() - second..]);
                let expected: [[u8; 32]; 2] = [Sha256::digest(first).into(), Sha256::digest(second).into()];
                assert_eq!(sha256_of_two(first, second), expected, "{} {}", first.len(), second.len());
            }
        }
    }
}
