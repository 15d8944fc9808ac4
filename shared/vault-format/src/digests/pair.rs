//! Two texts by the SHA instructions. They have to wait for each other within one text, so two that take turns are done in
//! little more than the time of one.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
};

use super::begun::{BLOCK, Begun, ROUNDS, State};

/// Whether this processor has the instructions.
pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")
}

/// Takes in two texts at a time: what one has more than the other goes on with the next. The longest begin, so that little is
/// left alone at the end.
pub(super) fn take_in(texts: &mut [Begun<'_>]) {
    assert!(is_there(), "asked for only where it is there");
    let mut left: Vec<&mut Begun<'_>> = texts.iter_mut().filter(|text| !text.blocks().is_empty()).collect();
    left.sort_by_key(|text| text.blocks().len());
    let mut begun = left.pop();
    while let Some(first) = begun.take()
        && let Some(second) = left.pop()
    {
        let common = first.blocks().len().min(second.blocks().len());
        let blocks = [&first.blocks()[..common], &second.blocks()[..common]];
        // SAFETY: the processor has the instructions, by the assertion.
        unsafe { compress([&mut first.state, &mut second.state], blocks) };
        first.done += common * BLOCK;
        second.done += common * BLOCK;
        begun = [first, second].into_iter().find(|text| !text.blocks().is_empty()).or_else(|| left.pop());
    }
}

/// The state as the instructions want it: A, B, E, F and C, D, G, H.
#[derive(Clone, Copy)]
struct Registers {
    abef: __m128i,
    cdgh: __m128i,
}

impl Registers {
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn load(state: &State) -> Self {
        let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
        Self { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
    }

    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn store(self, state: &mut State) {
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
fn four_rounds(state: &mut Registers, words: __m128i, round: usize) {
    let [a, b, c, d] = ROUNDS.as_chunks::<4>().0[round].map(u32::cast_signed);
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

/// All blocks of both, which are as many.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn compress(states: [&mut State; 2], blocks: [&[[u8; BLOCK]]; 2]) {
    let [mut one, mut other] = [Registers::load(states[0]), Registers::load(states[1])];
    for (first, second) in blocks[0].iter().zip(blocks[1]) {
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
    let [first, second] = states;
    one.store(first);
    other.store(second);
}
