//! Whether a file has the content that was captured. Holes are not read back.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use driver_api::BlobSpan;
use driver_api::compare::{ZeroChunks, has_span};

use crate::extents::{Extent, data_extents, within};

/// What `st_blocks` counts, in bytes.
const STAT_BLOCK_BYTES: u64 = 512;

/// A file to compare with its chunks. It must not change meanwhile.
pub(crate) struct Content<'a> {
    file: &'a File,
    size: u64,
    /// Extents with data, where the file has holes.
    extents: Option<Vec<Extent>>,
    zeros: &'a ZeroChunks,
}

impl<'a> Content<'a> {
    pub(crate) fn of(file: &'a File, zeros: &'a ZeroChunks) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let size = metadata.len();
        // A file that takes all its space has no hole worth asking for; a hole that is missed is read, no more.
        let extents = if metadata.blocks() * STAT_BLOCK_BYTES < size { data_extents(file, size)? } else { None };
        Ok(Self { file, size, extents, zeros })
    }

    /// Its length in bytes.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Whether all of the span is a hole, so that nothing is read to compare it.
    pub(crate) fn is_hole(&self, span: &BlobSpan) -> bool {
        let length = u64::from(span.length);
        span.offset.checked_add(length).is_some_and(|end| end <= self.size)
            && self.extents.as_deref().is_some_and(|extents| within(extents, span.offset, length).next().is_none())
    }

    /// Whether the file has the chunk's content at the span. The buffer is reused.
    pub(crate) fn has(&self, span: &BlobSpan, buffer: &mut Vec<u8>) -> io::Result<bool> {
        if self.is_hole(span) { Ok(self.zeros.is_zero(span)) } else { has_span(self.file, span, buffer) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use sha2::{Digest, Sha256};
    use vault_format::Id;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn span(offset: u64, bytes: &[u8]) -> BlobSpan {
        BlobSpan { id: Id::new(Sha256::digest(bytes).into()), offset, length: bytes.len() as u32 }
    }

    #[test]
    fn holes_are_zeros_and_nothing_else() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 * MIB).unwrap();
        file.write_all_at(b"data", 4 * MIB).unwrap();
        let zeros = ZeroChunks::default();
        let content = Content::of(&file, &zeros).unwrap();
        let mut buffer = Vec::new();
        let mebibyte = vec![0; MIB as usize];
        for (offset, bytes, hole, has) in [
            (0, &mebibyte[..], true, true),
            (0, &[1; 4096], true, false),
            (4 * MIB, b"data\0\0", false, true),
            (4 * MIB, &mebibyte, false, false),
            // Zeros beyond the end are not there.
            (7 * MIB + 1, &mebibyte, false, false),
        ] {
            let span = span(offset, bytes);
            assert_eq!(content.is_hole(&span), hole, "{span:?}");
            assert_eq!(content.has(&span, &mut buffer).unwrap(), has, "{span:?}");
        }
    }

    #[test]
    fn tens_of_tebibytes_of_holes_are_compared_at_once() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 40).unwrap();
        let zeros = ZeroChunks::default();
        let content = Content::of(&file, &zeros).unwrap();
        let mut span = span(0, &vec![0; 4 << 20]);
        let mut buffer = Vec::new();
        for number in 0..(10_u64 << 40) / (4 << 20) {
            span.offset = number * (4 << 20);
            assert!(content.has(&span, &mut buffer).unwrap());
        }
        assert_eq!(buffer.capacity(), 0, "nothing was read");
    }
}
