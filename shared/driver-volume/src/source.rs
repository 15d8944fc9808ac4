//! What a capture reads.

use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::Advice;

use crate::volume::Volume;

/// The bytes of a volume. May be read from many threads at once.
pub trait Source: Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Fills the buffer from an offset; the caller does not ask beyond the end.
    ///
    /// # Errors
    /// The system's.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()>;

    /// The first part with data at or after an offset: where it starts and ends. All else is zeros.
    ///
    /// # Errors
    /// The system's.
    fn data_from(&self, offset: u64) -> std::io::Result<Option<(u64, u64)>>;

    /// Soon this range is asked for. Where that can be used it is read now, while the caller does something else.
    fn will_read(&self, _range: Range<u64>) {}

    /// Much of this range was read, and nothing of it is asked for again.
    fn was_read(&self, _range: Range<u64>) {}
}

impl Source for Volume {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn data_from(&self, offset: u64) -> std::io::Result<Option<(u64, u64)>> {
        Ok(Self::data_from(self, offset)?)
    }

    fn will_read(&self, range: Range<u64>) {
        let length = NonZeroU64::new(range.end.saturating_sub(range.start));
        // It is read all the same when the system does not take the hint.
        let _ = rustix::fs::fadvise(&self.file, range.start, length, Advice::WillNeed);
    }

    fn was_read(&self, range: Range<u64>) {
        self.forget(range);
    }
}

impl std::fmt::Debug for dyn Source + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("size", &self.size()).finish_non_exhaustive()
    }
}
