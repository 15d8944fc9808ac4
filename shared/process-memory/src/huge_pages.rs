//! Buffers in huge pages.

use std::ops::{Deref, DerefMut};

/// Bytes of a huge page: of x86-64, and of aarch64 with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A buffer that lies in huge pages where the system has some, and begins at one. What a disk is to take from scattered pages
/// of 4 KiB goes to it as a list of them, in requests of no more than a disk takes parts; from a huge page it goes as one
/// part. It is meant for what is written past the page cache again and again, and takes whole huge pages.
#[derive(Debug)]
pub struct HugePages {
    memory: Vec<u8>,
    /// Where in the memory it begins.
    start: usize,
    length: usize,
}

impl HugePages {
    /// Zeros, so many bytes of them. Nothing is taken from the system before it is touched.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let whole = length.next_multiple_of(HUGE_PAGE_BYTES);
        let memory = vec![0; whole + HUGE_PAGE_BYTES];
        let start = memory.as_ptr().align_offset(HUGE_PAGE_BYTES).min(HUGE_PAGE_BYTES);
        advise(&memory[start..start + whole]);
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

impl Deref for HugePages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl DerefMut for HugePages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_zeros_that_begin_at_a_huge_page_and_can_be_written() {
        for length in [0, 1, HUGE_PAGE_BYTES, 3 * HUGE_PAGE_BYTES - 5] {
            let mut buffer = HugePages::new(length);
            assert_eq!(buffer.as_ptr().align_offset(HUGE_PAGE_BYTES), 0);
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer.fill(7);
            assert_eq!((buffer.len(), buffer.iter().filter(|byte| **byte == 7).count()), (length, length));
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
        let mut buffer = HugePages::new(8 * HUGE_PAGE_BYTES);
        buffer.fill(1);
        assert!(huge_kib() >= 4 * HUGE_PAGE_BYTES as u64 / 1024, "{} KiB", huge_kib());
    }
}
