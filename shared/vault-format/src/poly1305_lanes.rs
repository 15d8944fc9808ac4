//! Poly1305 of long texts, eight blocks at a time, where the processor multiplies eight numbers of 52 bits at once
//! (AVX-512 IFMA) or four of 32 (AVX2). Everything that is read from a vault is authenticated with it, and this takes a quarter
//! of the time of what the library has, or half. Short texts, other processors, everything that is written and every tag that
//! does not fit are the library's.
//!
//! Numbers modulo `2^130 - 5` are kept in three limbs of 44, 44 and 42 bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod ifma;

use zeroize::Zeroizing;

/// Bytes of a block.
const BLOCK: usize = 16;
/// Blocks that are taken in at once.
const LANES: usize = 8;
/// Shorter texts are not worth the preparation.
const TEXT_BYTES_MIN: usize = 1024;
const MASK44: u64 = (1 << 44) - 1;
const MASK42: u64 = (1 << 42) - 1;

/// Three limbs, not necessarily below their bounds: those of a product are at most a few bits above.
type Limbs = [u64; 3];

/// The tag of a text under a one-time key, `r` and then `s`; none where the library has to make it.
pub(crate) fn tag(key: &[u8; 32], text: &[u8]) -> Option<[u8; 16]> {
    if text.len() < TEXT_BYTES_MIN {
        return None;
    }
    let (r, s) = key.split_first_chunk::<BLOCK>()?;
    // As the definition asks for: some bits of `r` are always zero.
    let r = u128::from_le_bytes(*r) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
    let mut powers = Zeroizing::new([limbs(r, 0); LANES]);
    for at in 1..LANES {
        powers[at] = multiply(powers[at - 1], powers[0]);
    }
    let (lanes, rest) = text.as_chunks::<{ LANES * BLOCK }>();
    let mut sum = take_in(&powers, lanes)?;
    let (blocks, rest) = rest.as_chunks::<BLOCK>();
    for block in blocks {
        sum = multiply(add(sum, limbs(u128::from_le_bytes(*block), 1)), powers[0]);
    }
    if !rest.is_empty() {
        let mut last = [0; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()] = 1;
        sum = multiply(add(sum, limbs(u128::from_le_bytes(last), 0)), powers[0]);
    }
    let s = u128::from_le_bytes(*s.first_chunk()?);
    Some(reduce(sum).wrapping_add(s).to_le_bytes())
}

/// The limbs of a number of 128 bits with `top` above them.
const fn limbs(number: u128, top: u64) -> Limbs {
    [number as u64 & MASK44, (number >> 44) as u64 & MASK44, (number >> 88) as u64 | top << 40]
}

fn add(a: Limbs, b: Limbs) -> Limbs {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// Modulo `2^130 - 5`: what would stand at `2^132` counts twenty times at the bottom.
fn multiply(a: Limbs, b: Limbs) -> Limbs {
    let [a, b] = [a, b].map(|number| number.map(u128::from));
    let mut d = [
        a[0] * b[0] + 20 * (a[1] * b[2] + a[2] * b[1]),
        a[0] * b[1] + a[1] * b[0] + 20 * (a[2] * b[2]),
        a[0] * b[2] + a[1] * b[1] + a[2] * b[0],
    ];
    d[1] += d[0] >> 44;
    d[2] += d[1] >> 44;
    let low = (d[0] as u64 & MASK44) + 5 * (d[2] >> 42) as u64;
    [low & MASK44, (d[1] as u64 & MASK44) + (low >> 44), d[2] as u64 & MASK42]
}

/// The lower 128 bits of the number between 0 and `2^130 - 6`.
fn reduce(sum: Limbs) -> u128 {
    let [mut a, mut b, mut c] = sum;
    // Twice: the first time what is carried from the top may come up again.
    for _ in 0..2 {
        b += a >> 44;
        c += b >> 44;
        (a, b) = (a & MASK44, b & MASK44);
        a += 5 * (c >> 42);
        c &= MASK42;
    }
    b += a >> 44;
    a &= MASK44;
    c += b >> 44;
    b &= MASK44;
    // The number less 2^130 - 5, where it is not smaller. The choice is made without a branch.
    let x = a + 5;
    let y = b + (x >> 44);
    let z = c + (y >> 44);
    let is_smaller = (z >> 42).wrapping_sub(1);
    let pick = |small: u64, large: u64| (small & is_smaller) | (large & !is_smaller);
    let [a, b, c] = [pick(a, x & MASK44), pick(b, y & MASK44), pick(c, z & MASK42)];
    u128::from(a) | u128::from(b) << 44 | u128::from(c) << 88
}

/// The sum after all of these blocks; none where the processor has no such instructions. The powers are `r` to `r^8`.
#[cfg(not(target_arch = "x86_64"))]
fn take_in(_powers: &[Limbs; LANES], _lanes: &[[u8; LANES * BLOCK]]) -> Option<Limbs> {
    None
}

/// The sum after all of these blocks; none where the processor has no such instructions. The powers are `r` to `r^8`.
#[cfg(target_arch = "x86_64")]
fn take_in(powers: &[Limbs; LANES], lanes: &[[u8; LANES * BLOCK]]) -> Option<Limbs> {
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma") {
        // SAFETY: the processor has the instructions, by the line above.
        return Some(unsafe { ifma::take_in(powers, lanes) });
    }
    // SAFETY: the processor has the instructions, by the same line.
    is_x86_feature_detected!("avx2").then(|| unsafe { avx2::take_in(powers, lanes) })
}

#[cfg(test)]
mod tests {
    use poly1305::Poly1305;
    use poly1305::universal_hash::KeyInit;

    use super::*;

    fn by_the_library(key: &[u8; 32], text: &[u8]) -> [u8; 16] {
        Poly1305::new(key.into()).compute_unpadded(text).into()
    }

    /// Bytes that are all ones, all zeros, or in no order: carries of every kind.
    fn texts(length: usize) -> [Vec<u8>; 4] {
        let noise = |seed: u32| {
            (0..length as u32).map(move |at| (at.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 15) as u8)
        };
        [vec![0; length], vec![0xff; length], noise(1).collect(), noise(77).map(|byte| byte | 0xf0).collect()]
    }

    #[test]
    fn tags_are_those_of_the_library() {
        let keys = [[0; 32], [0xff; 32], [0x0f; 32], std::array::from_fn(|at| (at as u8).wrapping_mul(37) ^ 0x5a)];
        let lengths = (TEXT_BYTES_MIN..TEXT_BYTES_MIN + 300).chain([4096, 65_535, 1 << 20]);
        let mut made = 0;
        for length in lengths {
            for text in texts(length) {
                for key in &keys {
                    let Some(found) = tag(key, &text) else { continue };
                    assert_eq!(found, by_the_library(key, &text), "{length} bytes");
                    made += 1;
                }
            }
        }
        assert!(made > 4000 || cfg!(not(target_arch = "x86_64")) || !is_supported());
    }

    #[cfg(target_arch = "x86_64")]
    fn is_supported() -> bool {
        is_x86_feature_detected!("avx512ifma") || is_x86_feature_detected!("avx2")
    }

    /// Where a processor has both kinds of instructions, only one of them makes tags.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn four_numbers_at_once_make_the_same_sum_as_one() {
        if !is_x86_feature_detected!("avx2") {
            return;
        }
        for text in texts(4096) {
            for r in [[MASK44, MASK44, MASK42 >> 2], [5, 0, 0], [0x0ff_fffc_0fff, 0x0fc0_ffff, 0x00f_ffff_c0ff]] {
                let mut powers = [r; LANES];
                for at in 1..LANES {
                    powers[at] = multiply(powers[at - 1], r);
                }
                let mut sum = [0; 3];
                for block in text.as_chunks::<BLOCK>().0 {
                    sum = multiply(add(sum, limbs(u128::from_le_bytes(*block), 1)), r);
                }
                // SAFETY: the processor has the instructions, by the first line.
                let found = unsafe { avx2::take_in(&powers, text.as_chunks().0) };
                assert_eq!(reduce(found), reduce(sum));
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_supported() -> bool {
        false
    }

    /// The same without the wide instructions: the parts that every processor runs.
    #[test]
    fn blocks_one_by_one_make_the_same_tag() {
        for text in texts(1600) {
            for key in [[0xff; 32], [0x0f; 32], [1; 32]] {
                let r = u128::from_le_bytes(*key.first_chunk().unwrap()) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
                let mut sum = [0; 3];
                for block in text.as_chunks::<BLOCK>().0 {
                    sum = multiply(add(sum, limbs(u128::from_le_bytes(*block), 1)), limbs(r, 0));
                }
                let s = u128::from_le_bytes(*key.last_chunk().unwrap());
                assert_eq!(reduce(sum).wrapping_add(s).to_le_bytes(), by_the_library(&key, &text));
            }
        }
    }

    #[test]
    fn numbers_around_the_modulus_are_reduced() {
        // 2^130 - 5 and its neighbours, and limbs that are above their bounds.
        let modulus = [MASK44 - 4, MASK44, MASK42];
        assert_eq!(reduce(modulus), 0);
        assert_eq!(reduce([modulus[0] + 1, modulus[1], modulus[2]]), 1);
        assert_eq!(reduce([modulus[0] - 1, modulus[1], modulus[2]]), u128::MAX - 5);
        assert_eq!(reduce([MASK44 + 1, 0, 0]), 1 << 44);
        assert_eq!(reduce([0, 0, 8 * (MASK42 + 1)]), 40);
    }
}
