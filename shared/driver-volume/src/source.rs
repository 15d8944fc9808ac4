//! What a capture reads.

use std::os::unix::fs::FileExt;

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
}

impl std::fmt::Debug for dyn Source + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("size", &self.size()).finish_non_exhaustive()
    }
}
