//! Eight texts in vectors of 256 bits.

use std::arch::x86_64::_mm256_extract_epi64;
use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_andnot_si256, _mm256_or_si256, _mm256_permute2x128_si256,
    _mm256_set_epi8, _mm256_set_epi32, _mm256_set_epi64x, _mm256_set1_epi32, _mm256_shuffle_epi8, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
    _mm256_xor_si256,
};

use super::{BLOCK, CONSTANTS, States};

/// Texts at a time.
pub(super) const LANES: usize = 8;

/// One word of each lane.
type Words = __m256i;

#[inline]
#[target_feature(enable = "avx2")]
fn load(words: [u32; LANES]) -> Words {
    let [a, b, c, d, e, f, g, h] = words.map(u32::cast_signed);
    _mm256_set_epi32(h, g, f, e, d, c, b, a)
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(words: Words) -> [u32; LANES] {
    let parts = [
        _mm256_extract_epi64::<0>(words),
        _mm256_extract_epi64::<1>(words),
        _mm256_extract_epi64::<2>(words),
        _mm256_extract_epi64::<3>(words),
    ];
    let [[a, b], [c, d], [e, f], [g, h]] = parts.map(|two| [two as u32, (two >> 32) as u32]);
    [a, b, c, d, e, f, g, h]
}

/// Eight words of one text.
#[inline]
#[target_feature(enable = "avx2")]
fn words(bytes: &[u8; BLOCK / 2]) -> Words {
    let (parts, _) = bytes.as_chunks::<8>();
    let [a, b, c, d] = [parts[0], parts[1], parts[2], parts[3]].map(i64::from_le_bytes);
    _mm256_set_epi64x(d, c, b, a)
}

#[inline]
#[target_feature(enable = "avx2")]
fn low(block: &[u8; BLOCK]) -> Words {
    words(&block.as_chunks().0[0])
}

#[inline]
#[target_feature(enable = "avx2")]
fn high(block: &[u8; BLOCK]) -> Words {
    words(&block.as_chunks().0[1])
}

/// The words of a block of each lane: the first of all lanes, the second of all, and so on.
#[inline]
#[target_feature(enable = "avx2")]
fn ring([a, b, c, d, e, f, g, h]: [&[u8; BLOCK]; LANES]) -> [Words; 16] {
    let [k, l, m, n, o, p, q, r] = across([low(a), low(b), low(c), low(d), low(e), low(f), low(g), low(h)]);
    let [s, t, u, v, w, x, y, z] = across([high(a), high(b), high(c), high(d), high(e), high(f), high(g), high(h)]);
    [k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z]
}

/// Of eight words of each lane, each word of all lanes; most significant byte first.
#[inline]
#[target_feature(enable = "avx2")]
fn across([a, b, c, d, e, f, g, h]: [Words; 8]) -> [Words; 8] {
    let ([s, t, u, v], [w, x, y, z]) = (four(a, b, c, d), four(e, f, g, h));
    [
        turned(_mm256_permute2x128_si256::<0x20>(s, w)),
        turned(_mm256_permute2x128_si256::<0x20>(t, x)),
        turned(_mm256_permute2x128_si256::<0x20>(u, y)),
        turned(_mm256_permute2x128_si256::<0x20>(v, z)),
        turned(_mm256_permute2x128_si256::<0x31>(s, w)),
        turned(_mm256_permute2x128_si256::<0x31>(t, x)),
        turned(_mm256_permute2x128_si256::<0x31>(u, y)),
        turned(_mm256_permute2x128_si256::<0x31>(v, z)),
    ]
}

/// The same of four lanes, in either half of the vectors for itself.
#[inline]
#[target_feature(enable = "avx2")]
fn four(a: Words, b: Words, c: Words, d: Words) -> [Words; 4] {
    let (low_ab, low_cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
    let (high_ab, high_cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(low_ab, low_cd),
        _mm256_unpackhi_epi64(low_ab, low_cd),
        _mm256_unpacklo_epi64(high_ab, high_cd),
        _mm256_unpackhi_epi64(high_ab, high_cd),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn turned(words: Words) -> Words {
    let order = _mm256_set_epi8(
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
    );
    _mm256_shuffle_epi8(words, order)
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: Words, b: Words) -> Words {
    _mm256_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn same(word: u32) -> Words {
    _mm256_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const RIGHT: i32, const LEFT: i32>(words: Words) -> Words {
    _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(words), _mm256_slli_epi32::<LEFT>(words))
}

#[inline]
#[target_feature(enable = "avx2")]
fn shift<const RIGHT: i32>(words: Words) -> Words {
    _mm256_srli_epi32::<RIGHT>(words)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: Words, b: Words, c: Words) -> Words {
    _mm256_xor_si256(_mm256_xor_si256(a, b), c)
}

#[inline]
#[target_feature(enable = "avx2")]
fn choice(e: Words, f: Words, g: Words) -> Words {
    _mm256_xor_si256(_mm256_and_si256(e, f), _mm256_andnot_si256(e, g))
}

#[inline]
#[target_feature(enable = "avx2")]
fn majority(a: Words, b: Words, c: Words) -> Words {
    _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, _mm256_or_si256(a, b)))
}

compress!("avx2");
