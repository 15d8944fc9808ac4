//! Writes past the page cache: content that is written once and not read again soon goes from the caller's buffer to the disk,
//! without being copied, without pushing out what others have cached, and with nothing left for a sync to bring there.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

use process_memory::PageBuffer;
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

/// What offsets, lengths and addresses must be multiples of: the most that a disk or file system asks for.
const BLOCK: usize = 4096;
/// Bytes that are copied at once where the caller's buffer does not lie as it must.
const COPIED_BYTES: usize = 2 << 20;

/// Gives a part of a file its blocks before it is written: a lack of room shows at once, the blocks lie in a row, and what
/// writes at several places does not wait for each other. Until they are written they are read as zeros. That the file system
/// cannot do it is no error.
///
/// # Errors
/// What the system says, as when there is no room.
pub fn reserve(file: &File, offset: u64, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), offset, length) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A file that is written past the page cache where its file system can do that, and through it elsewhere.
#[derive(Debug)]
pub struct Uncached {
    file: File,
    /// The same file, opened once more.
    direct: Option<File>,
    /// Whether the system refused a write although it had opened the file.
    refused: AtomicBool,
}

impl Uncached {
    /// Of a file that is open for writing. That the file system cannot do it is no error.
    #[must_use]
    pub fn new(file: File) -> Self {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::DIRECT.bits().cast_signed();
        let direct = File::options().write(true).custom_flags(flags).open(path).ok();
        Self { file, direct, refused: AtomicBool::new(false) }
    }

    /// The file itself.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Whether writes go past the page cache. They still need a sync: the disk may hold them in a cache of its own.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.direct.is_some() && !self.refused.load(Ordering::Relaxed)
    }

    /// Writes at an offset. Whole blocks of the file go past the page cache, and what lies before and behind them through it.
    /// A buffer that lies in memory as its part of the file does in blocks is not copied on the way.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let head = (offset.next_multiple_of(BLOCK as u64) - offset) as usize;
        let blocks = bytes.len().saturating_sub(head) / BLOCK * BLOCK;
        let Some(direct) = self.direct.as_ref().filter(|_| blocks > 0 && self.is_direct()) else {
            return self.file.write_all_at(bytes, offset);
        };
        let (head, rest) = bytes.split_at(head);
        let (blocks, tail) = rest.split_at(blocks);
        let begin = offset + head.len() as u64;
        match write_blocks(direct, blocks, begin) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                self.refused.store(true, Ordering::Relaxed);
                return self.file.write_all_at(bytes, offset);
            }
            Err(error) => return Err(error),
        }
        for (part, at) in [(head, offset), (tail, begin + blocks.len() as u64)] {
            if !part.is_empty() {
                self.file.write_all_at(part, at)?;
            }
        }
        Ok(())
    }
}

fn write_blocks(direct: &File, blocks: &[u8], offset: u64) -> io::Result<()> {
    if blocks.as_ptr().align_offset(BLOCK) == 0 {
        return direct.write_all_at(blocks, offset);
    }
    thread_local! {
        static COPY: RefCell<Option<PageBuffer>> = const { RefCell::new(None) };
    }
    COPY.with_borrow_mut(|copy| {
        let copy = copy.get_or_insert_with(|| PageBuffer::in_huge_pages(COPIED_BYTES));
        for (piece, at) in blocks.chunks(COPIED_BYTES).zip((offset..).step_by(COPIED_BYTES)) {
            let aligned = &mut copy[..piece.len()];
            aligned.copy_from_slice(piece);
            direct.write_all_at(aligned, at)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file holds after these were written (from where, how many bytes, at which offset), and what it must hold.
    fn written(pieces: &[(usize, usize, u64)]) -> (Vec<u8>, Vec<u8>) {
        let uncached = Uncached::new(tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap());
        let file = uncached.file();
        let content: Vec<u8> =
            (0..3 * COPIED_BYTES as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        let mut expected = Vec::new();
        for &(from, length, offset) in pieces {
            let piece = &content[from..from + length];
            uncached.write_all_at(piece, offset).unwrap();
            let end = offset as usize + length;
            expected.resize(expected.len().max(end), 0);
            expected[offset as usize..end].copy_from_slice(piece);
        }
        let mut found = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut found, 0).unwrap();
        (found, expected)
    }

    #[test]
    fn what_is_written_is_there_however_it_lies() {
        let block = BLOCK as u64;
        for pieces in [
            &[(0, 0, 0)][..],
            &[(0, BLOCK, 0)],
            &[(1, BLOCK, block), (7, 10 * BLOCK + 5, 2 * block)],
            &[(3, 2 * COPIED_BYTES + 17, 0), (0, 100, 5)],
            &[(0, 3 * BLOCK, 1), (9, BLOCK - 1, 40 * block), (9, 2 * BLOCK, 41 * block - 1)],
        ] {
            let (found, expected) = written(pieces);
            assert!(found == expected, "{pieces:?}");
        }
    }

    #[test]
    fn what_the_system_refuses_goes_through_the_page_cache() {
        let file = tempfile::tempfile().unwrap();
        // Takes numbers only.
        let direct = File::options().write(true).open("/proc/self/oom_score_adj").unwrap();
        let uncached = Uncached { file, direct: Some(direct), refused: AtomicBool::new(false) };
        assert!(uncached.is_direct());
        uncached.write_all_at(&[7; BLOCK + 1], 0).unwrap();
        assert!(!uncached.is_direct());
        uncached.write_all_at(&[8; BLOCK], BLOCK as u64).unwrap();
        let mut found = vec![0; 2 * BLOCK];
        uncached.file().read_exact_at(&mut found, 0).unwrap();
        assert!(found[..BLOCK] == [7; BLOCK] && found[BLOCK..] == [8; BLOCK]);
    }
}
