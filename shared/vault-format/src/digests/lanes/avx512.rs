//! Sixteen texts in vectors of 512 bits, which one instruction rotates and one combines three of.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_ror_epi32, _mm512_set1_epi32, _mm512_set4_epi32, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_srli_epi32, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::{BLOCK, CONSTANTS, States};

/// Texts at a time.
pub(super) const LANES: usize = 16;

/// One word of each lane.
type Words = __m512i;

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(words: [u32; LANES]) -> Words {
    // SAFETY: both are 64 bytes, of which any are valid.
    unsafe { std::mem::transmute::<[u32; LANES], Words>(words) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store(words: Words) -> [u32; LANES] {
    // SAFETY: both are 64 bytes, of which any are valid.
    unsafe { std::mem::transmute::<Words, [u32; LANES]>(words) }
}

/// The words of a block of each lane: the first of all lanes, the second of all, and so on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn ring(blocks: [&[u8; BLOCK]; LANES]) -> [Words; 16] {
    let mut rows = [_mm512_setzero_si512(); LANES];
    for (row, block) in rows.iter_mut().zip(blocks) {
        // SAFETY: both are 64 bytes, of which any are valid.
        *row = unsafe { std::mem::transmute::<[u8; BLOCK], Words>(*block) };
    }
    let mut across = [_mm512_setzero_si512(); 16];
    // Of each four lanes, in each quarter of the vectors: one word of all four.
    for (part, four) in rows.as_chunks::<4>().0.iter().enumerate() {
        let [low_ab, low_cd] = [_mm512_unpacklo_epi32(four[0], four[1]), _mm512_unpacklo_epi32(four[2], four[3])];
        let [high_ab, high_cd] = [_mm512_unpackhi_epi32(four[0], four[1]), _mm512_unpackhi_epi32(four[2], four[3])];
        across[part * 4] = _mm512_unpacklo_epi64(low_ab, low_cd);
        across[part * 4 + 1] = _mm512_unpackhi_epi64(low_ab, low_cd);
        across[part * 4 + 2] = _mm512_unpacklo_epi64(high_ab, high_cd);
        across[part * 4 + 3] = _mm512_unpackhi_epi64(high_ab, high_cd);
    }
    let mut ring = [_mm512_setzero_si512(); 16];
    // Then the quarters of all sixteen lanes that belong together.
    for word in 0..4 {
        let [s, t, u, v] = [across[word], across[4 + word], across[8 + word], across[12 + word]];
        let [even_low, odd_low] = [_mm512_shuffle_i32x4::<0x88>(s, t), _mm512_shuffle_i32x4::<0xdd>(s, t)];
        let [even_high, odd_high] = [_mm512_shuffle_i32x4::<0x88>(u, v), _mm512_shuffle_i32x4::<0xdd>(u, v)];
        ring[word] = turned(_mm512_shuffle_i32x4::<0x88>(even_low, even_high));
        ring[4 + word] = turned(_mm512_shuffle_i32x4::<0x88>(odd_low, odd_high));
        ring[8 + word] = turned(_mm512_shuffle_i32x4::<0xdd>(even_low, even_high));
        ring[12 + word] = turned(_mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high));
    }
    ring
}

/// Most significant byte first.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn turned(words: Words) -> Words {
    _mm512_shuffle_epi8(words, _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add(a: Words, b: Words) -> Words {
    _mm512_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn same(word: u32) -> Words {
    _mm512_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn rotate<const RIGHT: i32, const LEFT: i32>(words: Words) -> Words {
    _mm512_ror_epi32::<RIGHT>(words)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn shift<const RIGHT: u32>(words: Words) -> Words {
    _mm512_srli_epi32::<RIGHT>(words)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn xor(a: Words, b: Words, c: Words) -> Words {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn choice(e: Words, f: Words, g: Words) -> Words {
    _mm512_ternarylogic_epi32::<0xca>(e, f, g)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn majority(a: Words, b: Words, c: Words) -> Words {
    _mm512_ternarylogic_epi32::<0xe8>(a, b, c)
}

compress!("avx512f,avx512bw");
