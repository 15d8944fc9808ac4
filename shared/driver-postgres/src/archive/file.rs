//! Files of a log in an archive directory: what their names and their first page say.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::timeline::History;
use crate::wal::{Lsn, Segment, SegmentSize};

/// Bytes of the header that the first page of every segment begins with.
const HEADER_BYTES: usize = 40;
/// The header is the long one.
const IS_LONG: u16 = 0x0002;

/// What a file in an archive directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFile {
    /// A whole segment.
    Segment(Segment),
    /// The last segment of a timeline, as far as it got before the next one began.
    Partial(Segment),
    /// How a timeline came to be.
    History(u32),
    /// The mark of a base backup that began in this segment.
    Mark(Segment),
}

impl LogFile {
    /// Reads a name; none for what is no file of a log of this segment size.
    pub(crate) fn parse(name: &str, size: SegmentSize) -> Option<Self> {
        if let Some(timeline) = History::parse_file_name(name) {
            return Some(Self::History(timeline));
        }
        let (stem, rest) = name.split_at_checked(24)?;
        let segment = Segment::parse(stem, size).ok()?;
        match rest {
            "" => Some(Self::Segment(segment)),
            ".partial" => Some(Self::Partial(segment)),
            _ => rest.ends_with(".backup").then_some(Self::Mark(segment)),
        }
    }
}

/// The header of a segment's first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The cluster it is of.
    pub(crate) system_id: u64,
    /// Bytes of a segment of that cluster.
    pub(crate) segment_bytes: u64,
    /// The position of the page.
    pub(crate) page: Lsn,
}

impl SegmentHeader {
    /// Reads it: `XLogLongPageHeaderData` in PostgreSQL's `xlog_internal.h`. None where there is none.
    pub(crate) fn read(file: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEADER_BYTES];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let number = |at: usize, length: usize| {
            let digits = bytes[at..at + length].iter().rev();
            digits.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let is_long = number(0, 2) != 0 && number(2, 2) & u64::from(IS_LONG) != 0;
        is_long.then(|| Self { system_id: number(24, 8), segment_bytes: number(32, 4), page: Lsn(number(8, 8)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_is() {
        let size = SegmentSize::DEFAULT;
        let segment = Segment { timeline: 2, number: 7 };
        for (name, file) in [
            ("000000020000000000000007", Some(LogFile::Segment(segment))),
            ("000000020000000000000007.partial", Some(LogFile::Partial(segment))),
            ("000000020000000000000007.00000028.backup", Some(LogFile::Mark(segment))),
            ("00000002.history", Some(LogFile::History(2))),
            ("000000020000000000000007.gz", None),
            ("0000000200000000000001FF", None),
            ("notes", None),
            ("äääääääääääää", None),
        ] {
            assert_eq!(LogFile::parse(name, size), file, "{name}");
        }
    }

    #[test]
    fn a_page_without_the_long_header_has_none() {
        let mut bytes = [0; HEADER_BYTES];
        assert_eq!(SegmentHeader::parse(&bytes), None);
        bytes[..4].copy_from_slice(&[0x10, 0xD1, 0x02, 0]);
        bytes[8..16].copy_from_slice(&(5_u64 << 24).to_le_bytes());
        bytes[24..32].copy_from_slice(&77_u64.to_le_bytes());
        bytes[32..36].copy_from_slice(&(16_u32 << 20).to_le_bytes());
        let header = SegmentHeader { system_id: 77, segment_bytes: 16 << 20, page: Lsn(5 << 24) };
        assert_eq!(SegmentHeader::parse(&bytes), Some(header));
        bytes[2] = 0;
        assert_eq!(SegmentHeader::parse(&bytes), None);
    }
}
