//! With AVX-512 IFMA: eight numbers at once, in the same three limbs.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_or_si512,
    _mm512_reduce_add_epi64, _mm512_set_epi64, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_slli_epi64,
    _mm512_srli_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

use super::{BLOCK, LANES, Limbs, MASK42, MASK44};

/// A number in each lane.
#[derive(Clone, Copy)]
struct Numbers([__m512i; 3]);

/// What numbers are multiplied with: limbs, and the upper two times twenty.
struct Factor {
    limbs: [__m512i; 3],
    twenty: [__m512i; 2],
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn all(value: u64) -> __m512i {
    _mm512_set1_epi64(value.cast_signed())
}

/// Blocks lie in the lanes as unpacking two vectors of four puts them.
const ORDER: [usize; LANES] = [0, 4, 1, 5, 2, 6, 3, 7];

impl Factor {
    /// One number for each block of the text's order.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(of_block: [Limbs; LANES]) -> Self {
        let lane = |limb: usize, times: u64| {
            let [a, b, c, d, e, f, g, h] = ORDER.map(|block| (of_block[block][limb] * times).cast_signed());
            _mm512_set_epi64(h, g, f, e, d, c, b, a)
        };
        Self { limbs: [lane(0, 1), lane(1, 1), lane(2, 1)], twenty: [lane(1, 20), lane(2, 20)] }
    }
}

impl Numbers {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn of_blocks(bytes: &[u8; LANES * BLOCK]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let word = |at: usize| i64::from_le_bytes(words[at]);
        let half = |at: usize| {
            _mm512_set_epi64(
                word(at + 7),
                word(at + 6),
                word(at + 5),
                word(at + 4),
                word(at + 3),
                word(at + 2),
                word(at + 1),
                word(at),
            )
        };
        let (first, second) = (half(0), half(8));
        let low = _mm512_unpacklo_epi64(first, second);
        let high = _mm512_unpackhi_epi64(first, second);
        let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
        // A whole block has a one above it.
        let top = _mm512_or_si512(_mm512_srli_epi64::<24>(high), all(1 << 40));
        Self([_mm512_and_si512(low, all(MASK44)), _mm512_and_si512(middle, all(MASK44)), top])
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(self, other: Self) -> Self {
        let [a, b] = [self.0, other.0];
        Self([_mm512_add_epi64(a[0], b[0]), _mm512_add_epi64(a[1], b[1]), _mm512_add_epi64(a[2], b[2])])
    }

    /// Limbs may be up to a few bits above their bounds, but must be below `2^47`: with factors below `2^49`, what is
    /// summed stays below `2^64`, and the processor sees all 52 bits.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn multiply(self, by: &Factor) -> Self {
        let [a, b, c] = self.0;
        let ([r0, r1, r2], [s1, s2]) = (by.limbs, by.twenty);
        let zero = _mm512_setzero_si512();
        let low = |x, y, z| {
            let sum = _mm512_madd52lo_epu64(zero, a, x);
            _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(sum, b, y), c, z)
        };
        // These stand at 2^52: eight bits above the next limb.
        let high = |x, y, z| {
            let sum = _mm512_madd52hi_epu64(zero, a, x);
            _mm512_madd52hi_epu64(_mm512_madd52hi_epu64(sum, b, y), c, z)
        };
        let d0 = low(r0, s2, s1);
        let d1 = _mm512_add_epi64(low(r1, r0, s2), _mm512_slli_epi64::<8>(high(r0, s2, s1)));
        let d2 = _mm512_add_epi64(low(r2, r1, r0), _mm512_slli_epi64::<8>(high(r1, r0, s2)));
        let d1 = _mm512_add_epi64(d1, _mm512_srli_epi64::<44>(d0));
        let d2 = _mm512_add_epi64(d2, _mm512_srli_epi64::<44>(d1));
        // And above the top limb, which has two bits less, ten.
        let over = _mm512_add_epi64(_mm512_srli_epi64::<42>(d2), _mm512_slli_epi64::<10>(high(r2, r1, r0)));
        let five = _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over));
        let h0 = _mm512_add_epi64(_mm512_and_si512(d0, all(MASK44)), five);
        let h1 = _mm512_add_epi64(_mm512_and_si512(d1, all(MASK44)), _mm512_srli_epi64::<44>(h0));
        Self([_mm512_and_si512(h0, all(MASK44)), h1, _mm512_and_si512(d2, all(MASK42))])
    }
}

/// Each lane takes every eighth block, with `r^8`; at the end each is brought to its place, and all are added.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn take_in(powers: &[Limbs; LANES], lanes: &[[u8; LANES * BLOCK]]) -> Limbs {
    let step = Factor::new([powers[LANES - 1]; LANES]);
    let mut sums = Numbers([_mm512_setzero_si512(); 3]);
    for (number, bytes) in lanes.iter().enumerate() {
        if number > 0 {
            sums = sums.multiply(&step);
        }
        sums = sums.add(Numbers::of_blocks(bytes));
    }
    let mut last = *powers;
    last.reverse();
    let Numbers(limbs) = sums.multiply(&Factor::new(last));
    limbs.map(|limb| _mm512_reduce_add_epi64(limb).cast_unsigned())
}
