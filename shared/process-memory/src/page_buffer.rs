//! Buffers that begin at a page.

use std::ops::{Deref, DerefMut};

/// Bytes of a page: of most systems, and what a disk asks for.
const PAGE_BYTES: usize = 4096;
/// Bytes of a huge page: of x86-64, and of aarch64 with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A buffer that begins at a page, so that it can go to a disk as it lies, past the page cache. It is for what is written again
/// and again.
#[derive(Debug)]
pub struct PageBuffer {
    memory: Vec<u8>,
    /// Where in the memory it begins.
    start: usize,
    length: usize,
}

impl PageBuffer {
    /// Zeros, so many bytes of them. No page is taken from the system before it is touched.
    #[must_use]
    pub fn new(length: usize) -> Self {
        Self::aligned(length, PAGE_BYTES)
    }

    /// The same in huge pages, where the system has some. What a disk is to take from scattered pages of 4 KiB goes to it as a
    /// list of them, in requests of no more than it takes parts; from a huge page it goes as one part. Only whole huge pages are
    /// taken from the system, so it is worth it where that much is written at once.
    #[must_use]
    pub fn in_huge_pages(length: usize) -> Self {
        let whole = length.next_multiple_of(HUGE_PAGE_BYTES);
        let buffer = Self { length, ..Self::aligned(whole, HUGE_PAGE_BYTES) };
        advise(&buffer.memory[buffer.start..buffer.start + whole]);
        buffer
    }

    fn aligned(length: usize, to: usize) -> Self {
        let memory = vec![0; length + to];
        let start = memory.as_ptr().align_offset(to).min(to);
        Self { memory, start, length }
    }
}

/// Asks for huge pages. That there are none is no error: it is the same memory.
fn advise(memory: &[u8]) {
    #[cfg(target_os = "linux")]
    // SAFETY: the range is memory of ours that lives, and which pages it lies in changes nothing that it holds.
    unsafe {
        libc::madvise(memory.as_ptr().cast_mut().cast(), memory.len(), libc::MADV_HUGEPAGE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

impl Deref for PageBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_zeros_that_begin_at_a_page_and_can_be_written() {
        for length in [0, 1, HUGE_PAGE_BYTES, 3 * HUGE_PAGE_BYTES - 5] {
            let (small, huge) = (PageBuffer::new(length), PageBuffer::in_huge_pages(length));
            for (mut buffer, page) in [(small, PAGE_BYTES), (huge, HUGE_PAGE_BYTES)] {
                assert_eq!(buffer.as_ptr().align_offset(page), 0);
                assert!(buffer.iter().all(|byte| *byte == 0));
                buffer.fill(7);
                assert_eq!((buffer.len(), buffer.iter().filter(|byte| **byte == 7).count()), (length, length));
            }
        }
    }

    /// What the system counts as this process's huge pages, in KiB. Other tests of this binary take none.
    #[cfg(target_os = "linux")]
    fn huge_kib() -> u64 {
        let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = rollup.lines().find(|line| line.starts_with("AnonHugePages:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_lies_in_huge_pages_where_the_system_has_them() {
        let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        if !enabled.contains("[madvise]") && !enabled.contains("[always]") {
            eprintln!("this system has no huge pages for programs that ask: {enabled:?}");
            return;
        }
        let mut buffer = PageBuffer::in_huge_pages(8 * HUGE_PAGE_BYTES);
        buffer.fill(1);
        assert!(huge_kib() >= 4 * HUGE_PAGE_BYTES as u64 / 1024, "{} KiB", huge_kib());
    }
}
