//! Cuts content into chunks.

use std::io::{self, ErrorKind, Read};

use driver_api::{Chunking, WriteError};
use fastcdc::v2020::FastCDC;
use parking_lot::Mutex;

use crate::VaultError;

/// Longest chunk, in bytes.
pub(super) const CHUNK_BYTES_MAX: usize = 8 << 20;
/// Shortest chunk but the last of a file.
const CHUNK_BYTES_MIN: usize = 512 << 10;
/// What chunks are on average.
const CHUNK_BYTES_AVERAGE: usize = 1 << 20;
/// What a thread reads ahead: the longest chunk and some, so that little has to be moved.
const BUFFER_BYTES: usize = CHUNK_BYTES_MAX + CHUNK_BYTES_MAX / 2;
/// What is read first: most files have less.
const FIRST_READ_BYTES: usize = 128 << 10;

/// Buffers that are used again; never more than threads that cut at the same time.
#[derive(Default)]
pub(super) struct BufferPool(Mutex<Vec<Vec<u8>>>);

impl BufferPool {
    /// Reads the source to its end and hands on its chunks in order.
    pub(super) fn cut(
        &self,
        chunking: Chunking,
        source: &mut dyn Read,
        mut take: impl FnMut(&[u8]) -> Result<(), VaultError>,
    ) -> Result<(), WriteError> {
        let lookahead = match chunking {
            Chunking::ContentDefined => CHUNK_BYTES_MAX,
            Chunking::Fixed(size) if (1..=CHUNK_BYTES_MAX).contains(&(size as usize)) => size as usize,
            Chunking::Fixed(size) => {
                let problem = format!("a chunk has 1 to {CHUNK_BYTES_MAX} bytes, not {size}");
                return Err(WriteError::Source(io::Error::new(ErrorKind::InvalidInput, problem)));
            }
        };
        let mut window = Window { buffer: self.0.lock().pop().unwrap_or_default(), start: 0, end: 0 };
        let mut result = Ok(());
        while result.is_ok() {
            result = match window.fill(source, lookahead) {
                Err(error) => Err(WriteError::Source(error)),
                Ok(0) => break,
                Ok(_) => {
                    let length = cut_length(chunking, window.unread());
                    let taken = take(&window.unread()[..length]).map_err(WriteError::from);
                    window.start += length;
                    taken
                }
            };
        }
        self.0.lock().push(window.buffer);
        result
    }
}

fn cut_length(chunking: Chunking, unread: &[u8]) -> usize {
    match chunking {
        Chunking::Fixed(size) => unread.len().min(size as usize),
        Chunking::ContentDefined if unread.len() <= CHUNK_BYTES_MIN => unread.len(),
        Chunking::ContentDefined => {
            let unread = &unread[..unread.len().min(CHUNK_BYTES_MAX)];
            let cutter = FastCDC::new(unread, CHUNK_BYTES_MIN, CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX);
            let (_, end) = cutter.cut(0, unread.len());
            end.clamp(1, unread.len())
        }
    }
}

struct Window {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Window {
    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads until `lookahead` bytes are there or the source has ended; returns how many are there.
    fn fill(&mut self, source: &mut dyn Read, lookahead: usize) -> io::Result<usize> {
        while self.end - self.start < lookahead {
            if self.end == self.buffer.len() {
                self.make_room();
            }
            match source.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.end - self.start)
    }

    /// Moves what is unread to the front; where that gains nothing the buffer grows.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        } else {
            let length = (self.buffer.len() * 4).clamp(FIRST_READ_BYTES, BUFFER_BYTES);
            self.buffer.resize(length, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunking: Chunking, content: &[u8]) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        let pool = BufferPool::default();
        pool.cut(chunking, &mut &content[..], |chunk| {
            chunks.push(chunk.to_vec());
            Ok(())
        })
        .unwrap();
        assert_eq!(pool.0.lock().len(), 1);
        chunks
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn chunks_make_up_the_content_and_keep_their_bounds() {
        for length in [0, 1, CHUNK_BYTES_MIN, CHUNK_BYTES_MIN + 1, 20 << 20] {
            let content = noise(length);
            let chunks = cut(Chunking::ContentDefined, &content);
            assert_eq!(chunks.concat(), content);
            let full = chunks.len().saturating_sub(1);
            assert!(chunks[..full].iter().all(|chunk| (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk.len())));
        }
        let zeros = vec![0; 20 << 20];
        assert!(cut(Chunking::ContentDefined, &zeros).iter().all(|chunk| chunk.len() <= CHUNK_BYTES_MAX));
    }

    #[test]
    fn an_insertion_at_the_front_changes_only_the_first_chunks() {
        let content = noise(20 << 20);
        let mut longer = b"inserted".to_vec();
        longer.extend_from_slice(&content);
        let before = cut(Chunking::ContentDefined, &content);
        let after = cut(Chunking::ContentDefined, &longer);
        let kept = after.iter().filter(|chunk| before.contains(chunk)).count();
        assert!(kept + 3 >= after.len(), "{kept} of {}", after.len());
    }

    #[test]
    fn fixed_chunks_have_their_size_but_the_last() {
        let content = noise(1_000_000);
        let lengths: Vec<usize> = cut(Chunking::Fixed(300_000), &content).iter().map(Vec::len).collect();
        assert_eq!(lengths, [300_000, 300_000, 300_000, 100_000]);
        let pool = BufferPool::default();
        assert!(pool.cut(Chunking::Fixed(0), &mut io::empty(), |_| Ok(())).is_err());
        assert!(pool.cut(Chunking::Fixed(9 << 20), &mut io::empty(), |_| Ok(())).is_err());
    }
}
