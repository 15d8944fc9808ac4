//! SHA-256 identifiers of blobs and files.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A SHA-256 digest: of a blob's plaintext, or of a file's bytes as stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 32]);

/// A text that is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: 64 hexadecimal digits")]
pub struct InvalidId(pub String);

impl Id {
    /// From a digest.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The id of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(crate::digests::sha256(bytes))
    }

    /// The ids of many texts, in their order: faster than one after the other, most of all when they are of like length.
    #[must_use]
    pub fn of_each(texts: &[&[u8]]) -> Vec<Self> {
        crate::digests::sha256_of_each(texts).into_iter().map(Self).collect()
    }

    /// How many texts this processor works on at the same time in [`Id::of_each`], 1 to 16: whoever can should gather as many.
    #[must_use]
    pub fn at_once() -> usize {
        crate::digests::at_once()
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.with_digits(str::to_owned)
    }

    /// Does something with its 64 lower-case hexadecimal digits.
    pub(crate) fn with_digits<R>(&self, work: impl FnOnce(&str) -> R) -> R {
        let mut digits = [0; DIGITS];
        for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 0xf)];
        }
        // Digits are text whatever the id.
        work(std::str::from_utf8(&digits).unwrap_or_default())
    }

    /// From hexadecimal digits, upper or lower case; none when there is anything else among them.
    pub(crate) fn from_digits(digits: &[u8; DIGITS]) -> Option<Self> {
        // Without branches and tables, so that many digits are taken at a time: an index is hardly anything but ids.
        let mut values = [0; DIGITS];
        let mut strange = 0;
        for (value, digit) in values.iter_mut().zip(digits) {
            let number = digit.wrapping_sub(b'0');
            let letter = (digit | 0x20).wrapping_sub(b'a');
            *value = if number < 10 { number } else { letter.wrapping_add(10) };
            strange |= u8::from((number >= 10) & (letter >= 6));
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(values.as_chunks().0) {
            *byte = high << 4 | low;
        }
        (strange == 0).then_some(Self(bytes))
    }
}

/// Hexadecimal digits of an id.
const DIGITS: usize = 64;

/// The digit of a number below 16.
const fn digit(number: u8) -> u8 {
    if number < 10 { b'0' + number } else { b'a' + number - 10 }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_digits(|digits| f.write_str(digits))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.as_bytes().try_into().ok();
        digits.and_then(Self::from_digits).ok_or_else(|| InvalidId(text.to_owned()))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_digits(|digits| serializer.serialize_str(digits))
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl de::Visitor<'_> for Digits {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_bytes<E: de::Error>(self, text: &[u8]) -> Result<Id, E> {
                let digits = text.try_into().ok().and_then(Id::from_digits);
                digits.ok_or_else(|| E::custom(InvalidId(String::from_utf8_lossy(text).into_owned())))
            }
        }
        // As bytes: whether the text is UTF-8 need not be found out where only digits will do.
        deserializer.deserialize_bytes(Digits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_64_hexadecimal_digits_are_an_id() {
        let right = "0123456789abcdefABCDEF00112233445566778899aabbccddeeff0123456789";
        let id: Id = right.parse().unwrap();
        assert_eq!(id.to_hex(), right.to_lowercase());
        assert_eq!(&id.as_bytes()[..11], b"\x01\x23\x45\x67\x89\xab\xcd\xef\xab\xcd\xef");
        assert_eq!(format!("{id} {id:?}"), format!("{0} {0}", right.to_lowercase()));
        for wrong in 0..=u8::MAX {
            let mut digits = *right.as_bytes().first_chunk::<64>().unwrap();
            digits[37] = wrong;
            assert_eq!(Id::from_digits(&digits).is_some(), wrong.is_ascii_hexdigit(), "{wrong}");
        }
        for wrong in [&right[1..], &format!("{right}0"), "", &right.replace('0', "é")] {
            assert_eq!(wrong.parse::<Id>(), Err(InvalidId(wrong.to_owned())));
            assert!(serde_json::from_value::<Id>(wrong.into()).is_err());
            assert!(serde_json::from_str::<Id>(&format!("\"{wrong}\"")).unwrap_err().to_string().contains("digits"));
        }
        assert!(serde_json::from_str::<Id>("17").is_err());
    }

    proptest! {
        #[test]
        fn every_id_survives_as_text_and_as_json(bytes: [u8; 32]) {
            let id = Id::new(bytes);
            prop_assert_eq!(id.to_hex().parse::<Id>().unwrap(), id);
            let json = serde_json::to_vec(&id).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Id>(&json).unwrap(), id);
            prop_assert_eq!(serde_json::from_value::<Id>(id.to_hex().into()).unwrap(), id);
        }
    }
}
