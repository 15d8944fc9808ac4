//! Many texts in the lanes of vectors: each instruction works on the same word of eight texts. For processors that have
//! vectors (AVX2, and better AVX-512VL, which rotates and combines three words at once) but no SHA instructions. There one text
//! takes five to eight times as long.

use super::{BLOCK, INITIAL, State, finish};

/// Texts at a time.
pub(super) const LANES: usize = 8;
/// Fewer texts are faster one after the other.
pub(super) const TEXTS_MIN: usize = 3;

/// The states of all lanes: of each word, that of every lane.
type States = [[u32; LANES]; 8];

/// The digests of all.
pub(super) fn sha256_of_each(texts: &[&[u8]]) -> Vec<[u8; 32]> {
    let mut digests = vec![[0; 32]; texts.len()];
    let mut states: States = [[0; LANES]; 8];
    let mut lanes: [Option<Lane<'_>>; LANES] = [None; LANES];
    let mut waiting = texts.iter().enumerate();
    loop {
        for (number, lane) in lanes.iter_mut().enumerate() {
            while lane.is_none_or(|lane| lane.left.is_empty()) {
                if let Some(Lane { text, blocks, .. }) = lane.take() {
                    digests[text] = finish(state(&states, number), texts[text], blocks * BLOCK);
                }
                let Some((text, bytes)) = waiting.next() else { break };
                let left = bytes.as_chunks::<BLOCK>().0;
                *lane = Some(Lane { text, blocks: left.len(), left });
                for (word, initial) in states.iter_mut().zip(INITIAL) {
                    word[number] = initial;
                }
            }
        }
        let Some(common) = lanes.iter().flatten().map(|lane| lane.left.len()).min() else { return digests };
        // A lane without a text works on what another one has; nobody looks at what comes of it.
        let filler = lanes.iter().flatten().map(|lane| lane.left).next().unwrap_or_default();
        compress_all(&mut states, lanes.map(|lane| &lane.map_or(filler, |lane| lane.left)[..common]));
        for lane in lanes.iter_mut().flatten() {
            lane.left = &lane.left[common..];
        }
    }
}

/// A text that is being worked on.
#[derive(Clone, Copy)]
struct Lane<'a> {
    /// Its number.
    text: usize,
    /// How many whole blocks it has.
    blocks: usize,
    /// Those that are still to come.
    left: &'a [[u8; BLOCK]],
}

/// The state of one lane.
fn state(states: &States, lane: usize) -> State {
    states.map(|word| word[lane])
}

/// Whether this processor has what it takes.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_there() -> bool {
    false
}

/// Whether this processor has what it takes.
#[cfg(target_arch = "x86_64")]
pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Takes in all of these blocks, which are as many for each lane.
#[cfg(not(target_arch = "x86_64"))]
fn compress_all(states: &mut States, texts: [&[[u8; BLOCK]]; LANES]) {
    for (number, text) in texts.into_iter().enumerate() {
        let mut own = state(states, number);
        text.iter().for_each(|block| super::compress(&mut own, block));
        for (word, own) in states.iter_mut().zip(own) {
            word[number] = own;
        }
    }
}

/// Takes in all of these blocks, which are as many for each lane.
#[cfg(target_arch = "x86_64")]
fn compress_all(states: &mut States, texts: [&[[u8; BLOCK]]; LANES]) {
    assert!(is_there(), "asked for only where it is there");
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
        // SAFETY: the processor has the instructions, by the lines above.
        unsafe { x86::compress_by_avx512(states, texts) }
    } else {
        // SAFETY: the processor has the instructions, by the assertion.
        unsafe { x86::compress_by_avx2(states, texts) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::_mm256_extract_epi64;
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_andnot_si256, _mm256_or_si256, _mm256_permute2x128_si256,
        _mm256_set_epi8, _mm256_set_epi32, _mm256_set_epi64x, _mm256_set1_epi32, _mm256_shuffle_epi8,
        _mm256_slli_epi32, _mm256_srli_epi32, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
        _mm256_unpacklo_epi64, _mm256_xor_si256,
    };

    use super::super::{BLOCK, ROUNDS};
    use super::{LANES, States};

    type Words = __m256i;

    /// The round constants, sixteen at a time.
    const CONSTANTS: [[u32; 16]; 4] = {
        let (parts, _) = ROUNDS.as_chunks::<16>();
        [parts[0], parts[1], parts[2], parts[3]]
    };

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
    fn rotate<const RIGHT: i32, const LEFT: i32>(words: Words) -> Words {
        _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(words), _mm256_slli_epi32::<LEFT>(words))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor(a: Words, b: Words, c: Words) -> Words {
        _mm256_xor_si256(_mm256_xor_si256(a, b), c)
    }

    /// The word sixteen further on, of a ring of sixteen.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn next(ring: &[Words; 16], at: usize) -> Words {
        let (one, fourteen) = (ring[(at + 1) % 16], ring[(at + 14) % 16]);
        let small0 = xor(rotate::<7, 25>(one), rotate::<18, 14>(one), _mm256_srli_epi32::<3>(one));
        let small1 = xor(rotate::<17, 15>(fourteen), rotate::<19, 13>(fourteen), _mm256_srli_epi32::<10>(fourteen));
        let sum = _mm256_add_epi32(ring[at], ring[(at + 9) % 16]);
        _mm256_add_epi32(sum, _mm256_add_epi32(small0, small1))
    }

    /// What a round adds to `d` and, with the second, makes of `h`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn sums([a, b, c, e, f, g, h]: [Words; 7], word: Words, constant: u32) -> [Words; 2] {
        let big1 = xor(rotate::<6, 26>(e), rotate::<11, 21>(e), rotate::<25, 7>(e));
        let choice = _mm256_xor_si256(_mm256_and_si256(e, f), _mm256_andnot_si256(e, g));
        let fixed = _mm256_add_epi32(word, _mm256_set1_epi32(constant.cast_signed()));
        let first = _mm256_add_epi32(_mm256_add_epi32(h, fixed), _mm256_add_epi32(big1, choice));
        let big0 = xor(rotate::<2, 30>(a), rotate::<13, 19>(a), rotate::<22, 10>(a));
        let majority = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, _mm256_or_si256(a, b)));
        [first, _mm256_add_epi32(first, _mm256_add_epi32(big0, majority))]
    }

    /// Rounds with these words of the ring. The letters move by one place from round to round; eight rounds bring them back
    /// to where they were, so that nothing has to be moved.
    macro_rules! rounds {
        ($ring:ident, $constants:ident, [$a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident]) => {};
        ($ring:ident, $constants:ident, [$a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident]
         $at:literal $($later:literal)*) => {
            let [first, both] = sums([$a, $b, $c, $e, $f, $g, $h], $ring[$at], $constants[$at]);
            $d = _mm256_add_epi32($d, first);
            $h = both;
            rounds!($ring, $constants, [$h $a $b $c $d $e $f $g] $($later)*);
        };
    }

    /// The next sixteen words, each in the place of the one sixteen before it.
    macro_rules! extend {
        ($ring:ident, $($at:literal)*) => { $( $ring[$at] = next(&$ring, $at); )* };
    }

    /// The same lines for both kinds of processors: what the compiler makes of them differs.
    macro_rules! compress {
        ($name:ident, $features:literal) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name(states: &mut States, texts: [&[[u8; BLOCK]]; LANES]) {
                let [t0, t1, t2, t3, t4, t5, t6, t7] = texts;
                let lanes = t0.iter().zip(t1).zip(t2.iter().zip(t3)).zip(t4.iter().zip(t5).zip(t6.iter().zip(t7)));
                let [a, b, c, d, e, f, g, h] = *states;
                let (mut a, mut b, mut c, mut d) = (load(a), load(b), load(c), load(d));
                let (mut e, mut f, mut g, mut h) = (load(e), load(f), load(g), load(h));
                for (((b0, b1), (b2, b3)), ((b4, b5), (b6, b7))) in lanes {
                    let before = [a, b, c, d, e, f, g, h];
                    let [s, t, u, v, w, x, y, z] =
                        across([low(b0), low(b1), low(b2), low(b3), low(b4), low(b5), low(b6), low(b7)]);
                    let [i, j, k, l, m, n, o, p] =
                        across([high(b0), high(b1), high(b2), high(b3), high(b4), high(b5), high(b6), high(b7)]);
                    let mut ring = [s, t, u, v, w, x, y, z, i, j, k, l, m, n, o, p];
                    let [constants, later @ ..] = &CONSTANTS;
                    rounds!(ring, constants, [a b c d e f g h] 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
                    for constants in later {
                        extend!(ring, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
                        rounds!(ring, constants, [a b c d e f g h] 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
                    }
                    (a, b) = (_mm256_add_epi32(a, before[0]), _mm256_add_epi32(b, before[1]));
                    (c, d) = (_mm256_add_epi32(c, before[2]), _mm256_add_epi32(d, before[3]));
                    (e, f) = (_mm256_add_epi32(e, before[4]), _mm256_add_epi32(f, before[5]));
                    (g, h) = (_mm256_add_epi32(g, before[6]), _mm256_add_epi32(h, before[7]));
                }
                *states = [store(a), store(b), store(c), store(d), store(e), store(f), store(g), store(h)];
            }
        };
    }

    compress!(compress_by_avx2, "avx2");
    compress!(compress_by_avx512, "avx2,avx512f,avx512vl");
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_vectors_make_the_same_of_the_same_blocks() {
        if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("avx512vl") {
            return;
        }
        let blocks: Vec<[u8; BLOCK]> =
            (0..LANES * 5).map(|n| std::array::from_fn(|at| (n * 37 + at * 11) as u8)).collect();
        let texts: [&[[u8; BLOCK]]; LANES] = std::array::from_fn(|lane| &blocks[lane * 5..][..5]);
        let [mut by_avx2, mut by_avx512] = [INITIAL.map(|word| [word; LANES]); 2];
        // SAFETY: the processor has the instructions, by the lines above.
        unsafe {
            x86::compress_by_avx2(&mut by_avx2, texts);
            x86::compress_by_avx512(&mut by_avx512, texts);
        }
        assert_eq!(by_avx2, by_avx512);
        assert_ne!(state(&by_avx2, 0), state(&by_avx2, 1));
    }
}
