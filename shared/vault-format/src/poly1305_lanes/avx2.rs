//! With AVX2: twice four numbers at once, in five limbs of 26 bits.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_extract_epi64, _mm256_mul_epu32, _mm256_or_si256,
    _mm256_set_epi64x, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_slli_epi64, _mm256_srli_epi64,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
};

use super::{BLOCK, LANES, Limbs, MASK44};

const MASK26: u64 = (1 << 26) - 1;
/// Numbers in one vector.
const HALF: usize = LANES / 2;

/// A number in each lane. Limbs may be up to a bit above their bounds: the processor sees 32 bits of each.
#[derive(Clone, Copy)]
struct Numbers([__m256i; 5]);

/// What numbers are multiplied with: limbs, and the upper four times five, because what would stand at `2^130` counts five times
/// at the bottom.
struct Factor {
    limbs: [__m256i; 5],
    five: [__m256i; 4],
}

/// The same number in limbs of 26 bits.
const fn narrow([a, b, c]: Limbs) -> [u64; 5] {
    let top = (b >> 34) + (c << 10);
    [a & MASK26, (a >> 26 | b << 18) & MASK26, b >> 8 & MASK26, top & MASK26, top >> 26]
}

/// The same number in limbs of 44 bits, from limbs of at most 29.
const fn wide([a, b, c, d, e]: [u64; 5]) -> Limbs {
    let low = a + (b << 26);
    let middle = (low >> 44) + (c << 8) + (d << 34);
    [low & MASK44, middle & MASK44, (middle >> 44) + (e << 16)]
}

#[target_feature(enable = "avx2")]
fn all(value: u64) -> __m256i {
    _mm256_set1_epi64x(value.cast_signed())
}

/// Blocks lie in the lanes as unpacking two vectors of two puts them.
const ORDER: [usize; HALF] = [0, 2, 1, 3];

impl Factor {
    /// One number for each block of the text's order.
    #[target_feature(enable = "avx2")]
    fn new(of_block: [Limbs; HALF]) -> Self {
        let of_block = of_block.map(narrow);
        let lane = |limb: usize, times: u64| {
            let [a, b, c, d] = ORDER.map(|block| (of_block[block][limb] * times).cast_signed());
            _mm256_set_epi64x(d, c, b, a)
        };
        Self {
            limbs: [lane(0, 1), lane(1, 1), lane(2, 1), lane(3, 1), lane(4, 1)],
            five: [lane(1, 5), lane(2, 5), lane(3, 5), lane(4, 5)],
        }
    }
}

impl Numbers {
    #[target_feature(enable = "avx2")]
    fn of_blocks(bytes: &[u8; HALF * BLOCK]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let word = |at: usize| i64::from_le_bytes(words[at]);
        let half = |at: usize| _mm256_set_epi64x(word(at + 3), word(at + 2), word(at + 1), word(at));
        let (first, second) = (half(0), half(4));
        let low = _mm256_unpacklo_epi64(first, second);
        let high = _mm256_unpackhi_epi64(first, second);
        let mask = all(MASK26);
        let between = _mm256_or_si256(_mm256_srli_epi64::<52>(low), _mm256_slli_epi64::<12>(high));
        Self([
            _mm256_and_si256(low, mask),
            _mm256_and_si256(_mm256_srli_epi64::<26>(low), mask),
            _mm256_and_si256(between, mask),
            _mm256_and_si256(_mm256_srli_epi64::<14>(high), mask),
            // A whole block has a one above it.
            _mm256_or_si256(_mm256_srli_epi64::<40>(high), all(1 << 24)),
        ])
    }

    #[target_feature(enable = "avx2")]
    fn add(self, other: Self) -> Self {
        let [a, b] = [self.0, other.0];
        Self([
            _mm256_add_epi64(a[0], b[0]),
            _mm256_add_epi64(a[1], b[1]),
            _mm256_add_epi64(a[2], b[2]),
            _mm256_add_epi64(a[3], b[3]),
            _mm256_add_epi64(a[4], b[4]),
        ])
    }

    /// With limbs below `2^28` on either side, times five on one, what is summed stays below `2^61`.
    #[target_feature(enable = "avx2")]
    fn multiply(self, by: &Factor) -> Self {
        let [r0, r1, r2, r3, r4] = by.limbs;
        let [s1, s2, s3, s4] = by.five;
        let sum = |factors: [__m256i; 5]| {
            let product = |at: usize| _mm256_mul_epu32(self.0[at], factors[at]);
            let first = _mm256_add_epi64(product(0), product(1));
            let second = _mm256_add_epi64(product(2), product(3));
            _mm256_add_epi64(_mm256_add_epi64(first, second), product(4))
        };
        let mask = all(MASK26);
        let mut d = [
            sum([r0, s4, s3, s2, s1]),
            sum([r1, r0, s4, s3, s2]),
            sum([r2, r1, r0, s4, s3]),
            sum([r3, r2, r1, r0, s4]),
            sum([r4, r3, r2, r1, r0]),
        ];
        // Carries run from two places at once, so that none waits for all others.
        for (from, to) in [(0, 1), (3, 4), (1, 2), (4, 0), (2, 3), (0, 1), (3, 4)] {
            let carry = _mm256_srli_epi64::<26>(d[from]);
            d[from] = _mm256_and_si256(d[from], mask);
            let carry = if to == 0 { _mm256_add_epi64(carry, _mm256_slli_epi64::<2>(carry)) } else { carry };
            d[to] = _mm256_add_epi64(d[to], carry);
        }
        Self(d)
    }
}

/// Each lane takes every eighth block, with `r^8`; at the end each is brought to its place, and all are added.
#[target_feature(enable = "avx2")]
pub(super) fn take_in(powers: &[Limbs; LANES], lanes: &[[u8; LANES * BLOCK]]) -> Limbs {
    let step = Factor::new([powers[LANES - 1]; HALF]);
    let zero = Numbers([_mm256_setzero_si256(); 5]);
    let (mut former, mut latter) = (zero, zero);
    for (number, bytes) in lanes.iter().enumerate() {
        if number > 0 {
            (former, latter) = (former.multiply(&step), latter.multiply(&step));
        }
        let (halves, _) = bytes.as_chunks::<{ HALF * BLOCK }>();
        former = former.add(Numbers::of_blocks(&halves[0]));
        latter = latter.add(Numbers::of_blocks(&halves[1]));
    }
    let [p1, p2, p3, p4, p5, p6, p7, p8] = *powers;
    let former = former.multiply(&Factor::new([p8, p7, p6, p5]));
    let Numbers(limbs) = former.add(latter.multiply(&Factor::new([p4, p3, p2, p1])));
    wide(limbs.map(|limb| {
        let lane = |value: i64| value.cast_unsigned();
        lane(_mm256_extract_epi64::<0>(limb))
            + lane(_mm256_extract_epi64::<1>(limb))
            + lane(_mm256_extract_epi64::<2>(limb))
            + lane(_mm256_extract_epi64::<3>(limb))
    }))
}

#[cfg(test)]
mod tests {
    use super::super::MASK42;
    use super::*;

    #[test]
    fn limbs_of_either_width_are_the_same_number() {
        let numbers =
            [[0; 3], [MASK44, MASK44, MASK42], [1, 0, 0], [0x123_4567_89ab, 0xfed_cba9_8765, 0x2bc_def0_1234]];
        for number in numbers {
            assert!(narrow(number).iter().all(|limb| *limb <= MASK26));
            assert_eq!(wide(narrow(number)), number);
        }
        // Limbs above their bounds are carried upwards.
        assert_eq!(wide([1 << 26, 0, 0, 0, 0]), [1 << 26, 0, 0]);
        assert_eq!(wide([0, 1 << 26, 0, 0, 0]), [0, 1 << 8, 0]);
        assert_eq!(wide([0, 0, 0, 1 << 29, 1 << 29]), [0, 0, (1 << 19) + (1 << 45)]);
    }
}
