//! Judges a file of an archive before anything of it goes to the vault: a file that is damaged can be brought again, what the
//! vault has of it could not be taken back.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use driver_api::{ReadError, StreamSource};

use crate::ledger;
use crate::wal::{Lsn, Segment, SegmentSize, WalDamage, WalScanner};

/// Bytes read at once.
const PART_BYTES: u64 = 128 << 10;

/// Reads along with what is handed over, so that a record is known that goes on in the next file.
#[derive(Default)]
pub(super) struct Judge {
    /// Where it was when the last file ended.
    scanner: Option<WalScanner>,
}

impl Judge {
    /// A scanner that has seen the segment before, if the vault has it.
    pub(super) fn scanner(
        &self,
        segment: Segment,
        size: SegmentSize,
        source: &dyn StreamSource,
    ) -> Result<WalScanner, ReadError> {
        let start = segment.start(size);
        if let Some(scanner) = self.scanner.as_ref().filter(|scanner| scanner.position() == start) {
            return Ok(scanner.clone());
        }
        let Some(number) = segment.number.checked_sub(1) else { return Ok(WalScanner::new(size, start)) };
        let before = Segment { number, ..segment };
        let bytes = ledger::read_now(source, before, size)?;
        let mut scanner = WalScanner::new(size, before.start(size));
        // What is damaged in the vault says nothing of this file.
        let is_seen = bytes.len() as u64 == size.bytes() && scanner.feed(&bytes, &mut |_| {}).is_ok();
        Ok(if is_seen { scanner } else { WalScanner::new(size, start) })
    }

    /// Reads what a file has of a segment up to a position, with a scanner that has seen what is before. Gives back where a
    /// record is not what its checksum says.
    pub(super) fn judge(&mut self, scanner: WalScanner, file: &File, until: Lsn) -> io::Result<Result<(), WalDamage>> {
        let start = scanner.position();
        // All pages of a segment that was archived were written.
        let (mut scanner, mut at) = (scanner.of_whole_pages(), start);
        let mut buffer = vec![0; PART_BYTES as usize];
        while at < until {
            let part = &mut buffer[..(until.0 - at.0).min(PART_BYTES) as usize];
            file.read_exact_at(part, at.0 - start.0)?;
            if let Err(damage) = scanner.feed(part, &mut |_| {}) {
                return Ok(Err(damage));
            }
            at = Lsn(at.0 + part.len() as u64);
        }
        self.scanner = Some(scanner);
        Ok(Ok(()))
    }
}
