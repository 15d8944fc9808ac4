//! SHA-256 of many texts. One text is bound by instructions that wait for each other, so texts that are there at the same
//! time are done side by side. A text for itself is the crypto provider's.

#[cfg(target_arch = "x86_64")]
mod begun;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod pair;
#[cfg(target_arch = "x86_64")]
mod together;

#[cfg(target_arch = "x86_64")]
pub(crate) use together::{at_once, sha256_of_each};

/// How many texts are worth giving to [`sha256_of_each`] at a time.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn at_once() -> usize {
    1
}

/// The digests of all texts, in their order.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn sha256_of_each(texts: &[&[u8]]) -> Vec<[u8; 32]> {
    texts.iter().map(|text| sha256(text)).collect()
}

/// The digest of one text.
pub(crate) fn sha256(text: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text).as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn judge(texts: &[&[u8]]) {
        let expected: Vec<[u8; 32]> = texts.iter().map(|text| Sha256::digest(text).into()).collect();
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        assert_eq!(sha256_of_each(texts), expected, "texts of {lengths:?} bytes");
        #[cfg(target_arch = "x86_64")]
        for ways in together::Ways::all_of_this_processor() {
            assert_eq!(ways.sha256_of_each(texts), expected, "{ways:?}: texts of {lengths:?} bytes");
        }
        for (text, expected) in texts.iter().zip(expected) {
            assert_eq!(sha256(text), expected, "{}", text.len());
        }
    }

    fn noise(bytes: u32) -> Vec<u8> {
        (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    const LENGTHS: [usize; 17] = [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 4096, 65_536, 70_000];

    #[test]
    fn digests_of_two_are_those_of_one_at_a_time() {
        let text = noise(70_000);
        for first in LENGTHS {
            for second in LENGTHS {
                judge(&[&text[..first], &text[text.len() - second..]]);
            }
        }
    }

    #[test]
    fn digests_of_any_number_of_texts_of_any_length_are_those_of_one_at_a_time() {
        let text = noise(70_000);
        for count in 0..70 {
            // Each of its own length and its own content, so that a lane taken for another one is noticed.
            let texts: Vec<&[u8]> = (0..count).map(|at| &text[at * 13..][..LENGTHS[at * 7 % 17].min(69_000)]).collect();
            judge(&texts);
            let alike: Vec<&[u8]> = (0..count).map(|at| &text[at * 31..][..4096]).collect();
            judge(&alike);
        }
    }

    #[test]
    fn the_published_examples_hold() {
        let abc = [&b"abc"[..]; 19];
        for digest in sha256_of_each(&abc) {
            // FIPS 180-4, example of one block.
            assert_eq!(digest[..4], [0xba, 0x78, 0x16, 0xbf]);
            assert_eq!(digest[28..], [0xf2, 0x00, 0x15, 0xad]);
        }
    }
}
