//! Chunks that follow each other in a file are written at once: past the page cache every write waits for the disk, and a
//! database's chunks are no longer than a few pages. Captures store several parts of a file at the same time, so that chunks of
//! one part lie between those of others in a pack: several runs can be gathered side by side.

use std::collections::HashMap;
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use parking_lot::Mutex;
use process_memory::PageBuffer;

use crate::Uncached;

/// Runs of so many bytes are written past the page cache; of shorter ones the disk would take longer than the processor.
const UNCACHED_BYTES_MIN: usize = 64 << 10;
/// Runs of so many bytes lie in huge pages.
const IN_HUGE_PAGES_BYTES_MIN: usize = 2 << 20;

/// What each thread has gathered.
#[derive(Debug)]
pub struct Runs {
    /// Bytes that are written at once: whole pages, so that each run can go to the disk as it lies.
    run_bytes: usize,
    /// Runs that a thread gathers side by side.
    runs_max: usize,
    by_thread: Mutex<HashMap<ThreadId, Gathered>>,
}

/// Runs of one thread.
#[derive(Debug)]
struct Gathered {
    /// Those that have begun; the one that was added to last is the last.
    runs: Vec<Run>,
    /// Their bytes, each in a place of its own.
    memory: PageBuffer,
}

/// Bytes of one file, without a gap.
#[derive(Debug)]
struct Run {
    /// Its number among the places in memory.
    place: usize,
    /// The number of the file among those that are restored.
    number: usize,
    file: Arc<Uncached>,
    /// Where in the file it begins.
    offset: u64,
    length: usize,
}

impl Runs {
    /// Each thread gathers so many runs side by side, of so many bytes each, whole pages of them.
    #[must_use]
    pub fn new(runs_max: usize, run_bytes: usize) -> Self {
        Self { run_bytes, runs_max, by_thread: Mutex::default() }
    }

    /// Takes a chunk, no longer than a run, of the file with this number. The file is asked for only where it is another one than
    /// before. What is gathered is in the file after [`Runs::finish`], not before.
    ///
    /// # Errors
    /// What the system says when a run is written.
    pub fn write_at(
        &self,
        number: usize,
        open: impl FnOnce() -> io::Result<Arc<Uncached>>,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let thread = thread::current().id();
        let begin = || Gathered::new(self.runs_max * self.run_bytes, self.run_bytes);
        let mut gathered = self.by_thread.lock().remove(&thread).unwrap_or_else(begin);
        gathered.add(self, number, open, offset, bytes)?;
        self.by_thread.lock().insert(thread, gathered);
        Ok(())
    }

    /// Writes what is left, when no thread writes any more: each thread's side by side, as it was gathered.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(self) -> io::Result<()> {
        let write = |gathered: Gathered| gathered.runs.iter().try_for_each(|run| gathered.write(run, self.run_bytes));
        let left = self.by_thread.into_inner().into_values();
        thread::scope(|scope| {
            let writers: Vec<_> = left.map(|gathered| scope.spawn(move || write(gathered))).collect();
            let ended = writers.into_iter().map(|writer| writer.join().unwrap_or_else(|panic| resume_unwind(panic)));
            ended.fold(Ok(()), Result::and)
        })
    }
}

impl Gathered {
    fn new(bytes: usize, run_bytes: usize) -> Self {
        // Short runs do not fill their places, of which pages that nobody touches cost nothing.
        let memory =
            if run_bytes < IN_HUGE_PAGES_BYTES_MIN { PageBuffer::new(bytes) } else { PageBuffer::in_huge_pages(bytes) };
        Self { runs: Vec::new(), memory }
    }

    fn add(
        &mut self,
        of: &Runs,
        number: usize,
        open: impl FnOnce() -> io::Result<Arc<Uncached>>,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let followed = self.runs.iter().position(|run| run.is_followed_by(number, offset));
        let mut run = match followed {
            Some(at) if self.runs[at].length + bytes.len() <= of.run_bytes => self.runs.remove(at),
            _ => {
                let (place, file) = match followed {
                    Some(at) => {
                        let full = self.end(at, of.run_bytes)?;
                        (full.place, full.file)
                    }
                    // The one that was added to the longest time ago makes room.
                    None if self.runs.len() >= of.runs_max => (self.end(0, of.run_bytes)?.place, open()?),
                    None => (self.runs.len(), open()?),
                };
                Run { place, number, file, offset, length: 0 }
            }
        };
        self.memory[run.place * of.run_bytes + run.length..][..bytes.len()].copy_from_slice(bytes);
        run.length += bytes.len();
        self.runs.push(run);
        Ok(())
    }

    fn end(&mut self, at: usize, run_bytes: usize) -> io::Result<Run> {
        let run = self.runs.remove(at);
        self.write(&run, run_bytes)?;
        Ok(run)
    }

    fn write(&self, run: &Run, run_bytes: usize) -> io::Result<()> {
        let bytes = &self.memory[run.place * run_bytes..][..run.length];
        if bytes.len() < UNCACHED_BYTES_MIN {
            std::os::unix::fs::FileExt::write_all_at(run.file.file(), bytes, run.offset)
        } else {
            run.file.write_all_at(bytes, run.offset)
        }
    }
}

impl Run {
    fn is_followed_by(&self, number: usize, offset: u64) -> bool {
        self.number == number && self.offset + self.length as u64 == offset
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const RUN_BYTES: usize = 512 << 10;
    const RUNS_MAX: usize = 8;

    /// A file, and what it holds after these chunks (number of the file, offset, length, byte), with how often one was opened.
    fn written(chunks: &[(usize, u64, usize, u8)]) -> (Vec<Vec<u8>>, usize) {
        let make = || Arc::new(Uncached::new(tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap()));
        let files = [make(), make()];
        let opened = Cell::new(0);
        let runs = Runs::new(RUNS_MAX, RUN_BYTES);
        for &(number, offset, length, byte) in chunks {
            let open = || {
                opened.set(opened.get() + 1);
                Ok(Arc::clone(&files[number]))
            };
            runs.write_at(number, open, offset, &vec![byte; length]).unwrap();
        }
        runs.finish().unwrap();
        let content = files.iter().map(|file| {
            let mut content = vec![0; file.file().metadata().unwrap().len() as usize];
            std::os::unix::fs::FileExt::read_exact_at(file.file(), &mut content, 0).unwrap();
            content
        });
        (content.collect(), opened.get())
    }

    #[test]
    fn chunks_in_a_row_are_one_write_and_all_of_them_are_there() {
        let chunks: Vec<_> = (0..60_u8).map(|at| (0, u64::from(at) * 8192, 8192, at + 1)).collect();
        let (content, opened) = written(&chunks);
        assert_eq!(opened, 1);
        let expected: Vec<u8> = (0..60_u8).flat_map(|at| vec![at + 1; 8192]).collect();
        assert_eq!(content[0], expected);
    }

    #[test]
    fn what_does_not_follow_begins_anew_in_whichever_file() {
        let (content, opened) = written(&[(0, 8192, 8192, 1), (1, 16384, 100, 2), (1, 16484, 100, 3), (0, 0, 8192, 4)]);
        assert_eq!(opened, 3);
        assert_eq!(content[0], [vec![4; 8192], vec![1; 8192]].concat());
        assert_eq!(content[1], [vec![0; 16384], vec![2; 100], vec![3; 100]].concat());
    }

    #[test]
    fn a_run_that_its_buffer_has_no_room_for_goes_on_in_another_and_leaves_the_buffers_beside_it_alone() {
        let length = RUN_BYTES / 8 - 1;
        let chunk = |at: usize, number: usize| (number, (at * length) as u64, length, (at * 2 + number) as u8 + 1);
        let chunks: Vec<_> = (0..40).flat_map(|at| [chunk(at, 0), chunk(at, 1)]).collect();
        let (content, opened) = written(&chunks);
        assert_eq!(opened, 2);
        for (number, content) in content.iter().enumerate() {
            let expected: Vec<u8> = (0..40).flat_map(|at| vec![chunk(at, number).3; length]).collect();
            assert!(*content == expected, "file {number}");
        }
    }

    #[test]
    fn chunks_of_up_to_eight_parts_in_turn_are_one_write_for_each_part_and_of_more_none_is_lost() {
        for (parts, opened_wanted) in [(RUNS_MAX as u64, RUNS_MAX), (RUNS_MAX as u64 + 1, 20 * (RUNS_MAX + 1))] {
            let chunk = |at: u64, part: u64| (0, (part * 20 + at) * 8192, 8192, (part * 20 + at) as u8 + 1);
            let chunks: Vec<_> = (0..20).flat_map(|at| (0..parts).map(move |part| chunk(at, part))).collect();
            let (content, opened) = written(&chunks);
            assert_eq!(opened, opened_wanted, "{parts} parts");
            let expected: Vec<u8> = (0..parts * 20).flat_map(|at| vec![at as u8 + 1; 8192]).collect();
            assert_eq!(content[0], expected, "{parts} parts");
        }
    }

    #[test]
    fn threads_gather_each_for_itself() {
        let file = Arc::new(Uncached::new(tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap()));
        let runs = Runs::new(RUNS_MAX, RUN_BYTES);
        thread::scope(|scope| {
            for part in 0..4_u64 {
                let (runs, file) = (&runs, &file);
                scope.spawn(move || {
                    for at in 0..50 {
                        let offset = (part * 50 + at) * 4096;
                        runs.write_at(0, || Ok(Arc::clone(file)), offset, &[part as u8 + 1; 4096]).unwrap();
                    }
                });
            }
        });
        runs.finish().unwrap();
        let mut content = vec![0; 4 * 50 * 4096];
        std::os::unix::fs::FileExt::read_exact_at(file.file(), &mut content, 0).unwrap();
        let expected: Vec<u8> = (1..=4).flat_map(|byte| vec![byte; 50 * 4096]).collect();
        assert_eq!(content, expected);
    }
}
