//! What a capture reads.

use std::os::unix::fs::FileExt;

use crate::volume::Volume;

/// The bytes of a volume. May be read from many threads at once.
pub(crate) trait Source: Sync {
    /// In bytes.
    fn size(&self) -> u64;

    /// Fills the buffer from an offset; the caller does not ask beyond the end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()>;

    /// The first part with data at or after an offset: where it starts and ends. All else is zeros.
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
