//! Reads the files of a data directory in parallel, and large ones in parts.
//!
//! A small server has most of its bytes in one file: whoever shares out whole files leaves it to one thread while the
//! others wait. Parts of a file are read through one handle, so that they are of the same file also when its name has
//! gone, or means another one, by then.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use driver_api::{DriverError, queue};
use jiff::Timestamp;
use job_model::Progress;
use parking_lot::Mutex;
use vault_format::Id;

use super::Store;
use super::files::{Listed, attributes};
use crate::page::PAGE_BYTES;
use crate::{io_error, selection};

/// Bytes read at once: whole chunks of every size.
const READ_BYTES: usize = 1 << 20;

/// Bytes of a part: whole reads.
const PART_BYTES: u64 = 4 << 20;

/// What is in a file, for a manifest.
#[derive(Clone, Debug)]
pub(super) struct ReadFile {
    pub(super) bytes: u64,
    pub(super) crc: u32,
    pub(super) mtime: Timestamp,
}

/// A file that is being read.
struct Reading<'a> {
    listed: &'a Listed,
    opened: Mutex<Opened>,
    parts: Mutex<Parts>,
}

/// What there is of its handle. It is kept no longer than until its last part is read.
enum Opened {
    NotYet,
    Gone,
    Open(Arc<File>, Metadata),
}

/// Its parts, in order, and how many are still to come.
struct Parts {
    read: Vec<Part>,
    left: usize,
}

/// What was in a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    content: Vec<Id>,
    bytes: u64,
    crc: u32,
}

/// Reads and stores files; gives back what was in each that was still there. `is_live` is for a server that runs: there
/// a file may be gone by now, and a page that does not add up is read again.
pub(super) fn read(
    store: &Store<'_>,
    files: &[Listed],
    is_live: bool,
) -> Result<BTreeMap<String, ReadFile>, DriverError> {
    let readings: Vec<Reading<'_>> = files.iter().map(Reading::of).collect();
    // Those of one file after the other: few files are open at a time.
    let parts: Vec<(&Reading<'_>, usize)> =
        readings.iter().flat_map(|reading| (0..part_count(reading.listed.bytes)).map(move |n| (reading, n))).collect();
    let done = Mutex::new(BTreeMap::new());
    queue::for_each(store.request.parallelism, store.request.control, &parts, |(reading, number)| {
        if let Some(read) = reading.read_part(store, *number, is_live)? {
            done.lock().insert(reading.listed.path.clone(), read);
        }
        Ok(())
    })?;
    Ok(done.into_inner())
}

/// Parts of a file with so many bytes; an empty one has one part, which looks whether it is still empty.
fn part_count(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(PART_BYTES)).unwrap_or(usize::MAX).max(1)
}

impl<'a> Reading<'a> {
    fn of(listed: &'a Listed) -> Self {
        let count = part_count(listed.bytes);
        let parts = Parts { read: vec![Part::default(); count], left: count };
        Self { listed, opened: Mutex::new(Opened::NotYet), parts: Mutex::new(parts) }
    }

    /// Reads one part. The thread that reads the last one puts the file together and gives back what was in it.
    fn read_part(&self, store: &Store<'_>, number: usize, is_live: bool) -> Result<Option<ReadFile>, DriverError> {
        let Some((file, metadata)) = self.open(is_live)? else {
            store.request.control.advance(Progress::default());
            return Ok(None);
        };
        let is_last = number + 1 == part_count(self.listed.bytes);
        let part = self.store_part(store, &file, number as u64 * PART_BYTES, is_last)?;
        let mut parts = self.parts.lock();
        if let Some(place) = parts.read.get_mut(number) {
            *place = part;
        }
        parts.left -= 1;
        if parts.left > 0 {
            return Ok(None);
        }
        let whole = joined(std::mem::take(&mut parts.read));
        drop(parts);
        *self.opened.lock() = Opened::Gone;
        let attributes = attributes(&metadata);
        store.file(&self.listed.path, whole.content, whole.bytes, attributes);
        Ok(Some(ReadFile { bytes: whole.bytes, crc: whole.crc, mtime: attributes.mtime }))
    }

    /// Its handle and what it was when it was opened; none for a file of a running server that has gone.
    fn open(&self, is_live: bool) -> Result<Option<(Arc<File>, Metadata)>, DriverError> {
        let failed = |error| io_error("read", self.listed.place.display().to_string(), error);
        let mut opened = self.opened.lock();
        match &*opened {
            Opened::Gone => return Ok(None),
            Opened::Open(file, metadata) => return Ok(Some((Arc::clone(file), metadata.clone()))),
            Opened::NotYet => {}
        }
        match File::open(&self.listed.place) {
            Ok(file) => {
                let metadata = file.metadata().map_err(failed)?;
                let file = Arc::new(file);
                *opened = Opened::Open(Arc::clone(&file), metadata.clone());
                Ok(Some((file, metadata)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_live => {
                *opened = Opened::Gone;
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Reads a part; the last one until the file ends, which may be later than when it was listed.
    fn store_part(&self, store: &Store<'_>, file: &File, begin: u64, is_last: bool) -> Result<Part, DriverError> {
        let Listed { path, place, bytes: listed_bytes } = self.listed;
        let failed = |error| io_error("read", place.display().to_string(), error);
        let read_again = |_: &str, page: u32| {
            let mut bytes = vec![0; PAGE_BYTES];
            let offset = u64::from(page) * PAGE_BYTES as u64;
            file.read_exact_at(&mut bytes, offset).ok().map(|()| bytes)
        };
        let chunk_bytes = selection::chunk_bytes(path, *listed_bytes);
        let wanted = usize::try_from(*listed_bytes).unwrap_or(READ_BYTES).clamp(PAGE_BYTES, READ_BYTES);
        // Whole chunks at any size of buffer.
        let mut buffer = vec![0; wanted.next_multiple_of(chunk_bytes)];
        let mut part = Part::default();
        while is_last || part.bytes < PART_BYTES {
            let offset = begin + part.bytes;
            let left = listed_bytes.saturating_sub(offset).max(PAGE_BYTES as u64);
            store.pace.wait(left.min(buffer.len() as u64), store.request.control)?;
            let filled = fill(file, offset, &mut buffer).map_err(failed)?;
            if filled == 0 {
                break;
            }
            let piece = &buffer[..filled];
            part.content.extend(store.piece(path, offset, piece, chunk_bytes, &read_again)?);
            part.crc = crc32c::crc32c_append(part.crc, piece);
            part.bytes += filled as u64;
            if filled < buffer.len() {
                break;
            }
        }
        Ok(part)
    }
}

/// A file out of its parts. It ends with the first one that is not whole: a server that runs had cut it off there when
/// that was read, and what came behind it since is in the log.
fn joined(parts: Vec<Part>) -> Part {
    let mut whole = Part::default();
    for part in parts {
        let is_whole = part.bytes >= PART_BYTES;
        whole.content.extend(part.content);
        whole.crc = crc32c::crc32c_combine(whole.crc, part.crc, usize::try_from(part.bytes).unwrap_or(usize::MAX));
        whole.bytes += part.bytes;
        if !is_whole {
            break;
        }
    }
    whole
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(bytes: &[u8], id: u8) -> Part {
        Part { content: vec![Id::new([id; 32])], bytes: bytes.len() as u64, crc: crc32c::crc32c(bytes) }
    }

    #[test]
    fn a_file_is_all_of_its_parts_in_order() {
        let first: Vec<u8> = (0..PART_BYTES).map(|n| (n % 251) as u8).collect();
        let whole = joined(vec![part(&first, 1), part(b"the rest", 2)]);
        let bytes = [&first[..], b"the rest"].concat();
        assert_eq!(whole.bytes, bytes.len() as u64);
        assert_eq!(whole.crc, crc32c::crc32c(&bytes));
        assert_eq!(whole.content, [Id::new([1; 32]), Id::new([2; 32])]);
        assert_eq!(joined(vec![Part::default()]), Part::default(), "an empty one has none");
    }

    #[test]
    fn what_comes_behind_a_part_that_was_cut_off_is_not_of_the_file() {
        let first = vec![7; PART_BYTES as usize];
        let whole = joined(vec![part(&first, 1), part(b"short", 2), part(&first, 3)]);
        assert_eq!(whole.bytes, PART_BYTES + 5);
        assert_eq!(whole.crc, crc32c::crc32c(&[&first[..], b"short"].concat()));
        assert_eq!(whole.content.len(), 2);
    }

    #[test]
    fn every_byte_of_a_listed_file_is_in_a_part() {
        for (bytes, parts) in [(0, 1), (1, 1), (PART_BYTES, 1), (PART_BYTES + 1, 2), (1 << 30, 256)] {
            assert_eq!(part_count(bytes), parts, "{bytes}");
        }
        assert_eq!(PART_BYTES % READ_BYTES as u64, 0);
    }
}
