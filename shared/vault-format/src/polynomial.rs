//! The polynomial restic cuts files with. We cut otherwise, but restic does not open a repository without one.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Degree of the polynomials restic uses.
const DEGREE: u32 = 53;

/// An irreducible polynomial over GF(2) of degree 53; bit n is the coefficient of `x^n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkerPolynomial(u64);

impl ChunkerPolynomial {
    /// Draws one. About one in 27 candidates is irreducible, so this ends soon with any source worth the name.
    pub fn draw(mut random: impl FnMut() -> u64) -> Self {
        loop {
            let candidate = random() & ((1 << DEGREE) - 1) | 1 << DEGREE | 1;
            if is_irreducible(candidate) {
                return Self(candidate);
            }
        }
    }

    /// The coefficients.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// Rabin's test. As 53 is a prime, a polynomial p of that degree is irreducible when it divides `x^(2^53) - x` and has
/// no root: `p(0) = p(1) = 1`.
fn is_irreducible(polynomial: u64) -> bool {
    if polynomial >> DEGREE != 1 || polynomial & 1 == 0 || polynomial.count_ones().is_multiple_of(2) {
        return false;
    }
    let mut power = 2;
    for _ in 0..DEGREE {
        power = square_modulo(power, polynomial);
    }
    power == 2
}

fn square_modulo(value: u64, modulus: u64) -> u64 {
    let mut square: u128 = 0;
    for bit in 0..DEGREE {
        square |= u128::from(value >> bit & 1) << (2 * bit);
    }
    for bit in (DEGREE..2 * DEGREE).rev() {
        if square >> bit & 1 == 1 {
            square ^= u128::from(modulus) << (bit - DEGREE);
        }
    }
    square as u64
}

impl Serialize for ChunkerPolynomial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:x}", self.0))
    }
}

impl<'de> Deserialize<'de> for ChunkerPolynomial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bits = u64::from_str_radix(&text, 16).map_err(de::Error::custom)?;
        if is_irreducible(bits) {
            Ok(Self(bits))
        } else {
            Err(de::Error::custom(format!("`{text}` is no irreducible polynomial of degree {DEGREE}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_of_real_repositories_are_irreducible_and_products_are_not() {
        for known in [0x0025_b468_838d_cb75, 0x003d_a335_8b4d_c173_u64] {
            assert!(is_irreducible(known), "{known:x}");
        }
        // (x + 1) * (x^52 + …) and even constant terms.
        assert!(!is_irreducible(1 << 53 | 1));
        assert!(!is_irreducible(0x0025_b468_838d_cb75 ^ 1));
        assert!(!is_irreducible(0x0025_b468_838d_cb75 ^ 2));
    }

    #[test]
    fn a_drawn_polynomial_survives_its_text() {
        let mut state = 1_u64;
        let drawn = ChunkerPolynomial::draw(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 3
        });
        let text = serde_json::to_string(&drawn).unwrap();
        assert_eq!(serde_json::from_str::<ChunkerPolynomial>(&text).unwrap(), drawn);
        assert!(serde_json::from_str::<ChunkerPolynomial>("\"20000000000001\"").is_err());
    }
}
