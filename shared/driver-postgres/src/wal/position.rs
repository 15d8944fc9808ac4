//! Positions in the log and names of its segments, in PostgreSQL's own notation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text or a number is not a position, a segment or a segment size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {expected}")]
pub struct InvalidPosition {
    /// What was given.
    pub value: String,
    /// What was expected, with its shape.
    pub expected: &'static str,
}

/// A position in the log: a log sequence number. Written `16/B374D848`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (high, low) = text.split_once('/')?;
            let plain = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
            if !plain(high) || !plain(low) {
                return None;
            }
            Some(Self(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?))
        };
        parse()
            .ok_or_else(|| InvalidPosition { value: text.to_owned(), expected: "a log position such as `16/B374D848`" })
    }
}

impl TryFrom<String> for Lsn {
    type Error = InvalidPosition;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

/// Bytes of a segment: a power of two from 1 MiB to 1 GiB; 16 MiB unless the cluster was made otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct SegmentSize(u64);

impl SegmentSize {
    /// PostgreSQL's default.
    pub const DEFAULT: Self = Self(16 << 20);
    /// The smallest that a cluster can be made with.
    pub const SMALLEST: Self = Self(1 << 20);

    /// The number.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The segment that holds the byte at this position.
    #[must_use]
    pub const fn segment_at(self, timeline: u32, lsn: Lsn) -> Segment {
        Segment { timeline, number: lsn.0 / self.0 }
    }

    /// The start of the segment that holds this position.
    #[must_use]
    pub const fn floor(self, lsn: Lsn) -> Lsn {
        Lsn(lsn.0 - lsn.0 % self.0)
    }
}

impl TryFrom<u64> for SegmentSize {
    type Error = InvalidPosition;

    fn try_from(bytes: u64) -> Result<Self, Self::Error> {
        if bytes.is_power_of_two() && (Self::SMALLEST.0..=1 << 30).contains(&bytes) {
            return Ok(Self(bytes));
        }
        Err(InvalidPosition {
            value: bytes.to_string(),
            expected: "a segment size: a power of two from 1 MiB to 1 GiB",
        })
    }
}

impl From<SegmentSize> for u64 {
    fn from(size: SegmentSize) -> Self {
        size.0
    }
}

/// A segment of the log on one timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// The timeline, from 1.
    pub timeline: u32,
    /// Counts from 0 since the cluster was made, over all timelines.
    pub number: u64,
}

impl Segment {
    /// The name of its file: 24 hexadecimal digits.
    #[must_use]
    pub fn name(self, size: SegmentSize) -> String {
        let in_a_log = 0x1_0000_0000 / size.0;
        format!("{:08X}{:08X}{:08X}", self.timeline, self.number / in_a_log, self.number % in_a_log)
    }

    /// The directory that it is kept in: timeline and the upper half of its positions.
    #[must_use]
    pub const fn log(self, size: SegmentSize) -> u64 {
        self.number / (0x1_0000_0000 / size.0)
    }

    /// Reads a name.
    ///
    /// # Errors
    /// When it is not 24 upper-case hexadecimal digits that stand for a segment of that size.
    pub fn parse(name: &str, size: SegmentSize) -> Result<Self, InvalidPosition> {
        let parse = || {
            if name.len() != 24 || !name.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)) {
                return None;
            }
            let part = |range: std::ops::Range<usize>| u64::from_str_radix(&name[range], 16).ok();
            let (timeline, log, low) = (part(0..8)?, part(8..16)?, part(16..24)?);
            let in_a_log = 0x1_0000_0000 / size.0;
            (low < in_a_log).then_some(())?;
            Some(Self { timeline: u32::try_from(timeline).ok()?, number: log * in_a_log + low })
        };
        parse().ok_or_else(|| InvalidPosition {
            value: name.to_owned(),
            expected: "the name of a segment: 24 hexadecimal digits",
        })
    }

    /// Position of its first byte.
    #[must_use]
    pub const fn start(self, size: SegmentSize) -> Lsn {
        Lsn(self.number * size.0)
    }

    /// Position after its last byte.
    #[must_use]
    pub const fn end(self, size: SegmentSize) -> Lsn {
        Lsn((self.number + 1) * size.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_written_as_postgresql_writes_them() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF", "0/1000028"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        for text in ["", "0", "0/", "/0", "0/123456789", "+1/0", "0/ 1", "x/0"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_segments_depend_on_their_size() {
        let size = SegmentSize::DEFAULT;
        let segment = size.segment_at(3, "16/B374D848".parse().unwrap());
        assert_eq!(segment.name(size), "0000000300000016000000B3");
        assert_eq!(Segment::parse("0000000300000016000000B3", size).unwrap(), segment);
        assert_eq!(segment.start(size).to_string(), "16/B3000000");
        assert_eq!(segment.end(size).to_string(), "16/B4000000");
        let large = SegmentSize::try_from(1 << 30).unwrap();
        assert_eq!(large.segment_at(1, "1/80000000".parse().unwrap()).name(large), "000000010000000100000002");
        assert!(Segment::parse("000000010000000100000004", large).is_err());
        for name in ["000000010000000000000001.partial", "00000002.history", "00000001000000000000000g", ""] {
            assert!(Segment::parse(name, size).is_err(), "{name}");
        }
        assert!(SegmentSize::try_from(3 << 20).is_err());
    }
}
