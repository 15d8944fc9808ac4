//! Where a file's data lies on its device: `FS_IOC_FIEMAP`.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

/// What a part of a file is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matter {
    /// Data that begins at this byte of the device.
    Stored(u64),
    /// A hole, or space that was reserved and never written.
    Zeros,
    /// Data in a place that is not known exactly.
    Unknown,
}

/// A part of a file that is no hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First byte.
    pub(crate) start: u64,
    /// Byte after the last.
    pub(crate) end: u64,
    pub(crate) matter: Matter,
    /// Whether other files have it too.
    pub(crate) shared: bool,
}

/// Extents asked for at once.
const BATCH: usize = 512;

/// `struct fiemap` of Linux's `include/uapi/linux/fiemap.h`, without its extents.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    wanted: u32,
    reserved: u32,
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Raw {
    logical: u64,
    physical: u64,
    length: u64,
    reserved_64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Request {
    header: Header,
    extents: [Raw; BATCH],
}

const FIEMAP: rustix::ioctl::Opcode = rustix::ioctl::opcode::read_write::<Header>(b'f', 11);
/// Write what is dirty first, so that it has a place.
const SYNC: u32 = 1;

const LAST: u32 = 0x1;
const UNWRITTEN: u32 = 0x800;
const MERGED: u32 = 0x1000;
const SHARED: u32 = 0x2000;

/// The extents of a part of a file in order, read as they are asked for, and cut where the part begins and ends. Holes are
/// left out.
pub(crate) struct Extents<'a> {
    file: &'a File,
    batch: Vec<Extent>,
    next: usize,
    /// What has not been asked for yet.
    rest: Range<u64>,
    ended: bool,
}

impl<'a> Extents<'a> {
    pub(crate) const fn of(file: &'a File) -> Self {
        Self::within(file, 0..u64::MAX)
    }

    pub(crate) const fn within(file: &'a File, part: Range<u64>) -> Self {
        // The system knows no part without bytes.
        let ended = part.start >= part.end;
        Self { file, batch: Vec::new(), next: 0, rest: part, ended }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.next = 0;
        self.batch.clear();
        let header = Header {
            start: self.rest.start,
            length: self.rest.end - self.rest.start,
            flags: SYNC,
            mapped: 0,
            // BATCH is small.
            wanted: BATCH as u32,
            reserved: 0,
        };
        let mut request = Box::new(Request { header, extents: [Raw::default(); BATCH] });
        // SAFETY: the call reads a `struct fiemap` and writes it and at most `wanted` extents behind it; `Request` is laid
        // out like that and has room for so many.
        unsafe {
            rustix::ioctl::ioctl(self.file.as_fd(), rustix::ioctl::Updater::<FIEMAP, Request>::new(&mut *request))?;
        }
        let mapped = (request.header.mapped as usize).min(BATCH);
        self.ended = mapped == 0;
        for raw in &request.extents[..mapped] {
            // A file system that reports an extent twice must not send the comparison in circles.
            let Some(extent) = extent(raw).within(&self.rest) else { continue };
            self.rest.start = extent.end;
            self.batch.push(extent);
            self.ended = raw.flags & LAST != 0;
        }
        self.ended |= self.batch.is_empty() || self.rest.start >= self.rest.end;
        Ok(())
    }
}

fn extent(raw: &Raw) -> Extent {
    // Flags that are not known to be harmless say that the place is not what it seems.
    let matter = match raw.flags & !(LAST | MERGED | SHARED) {
        0 => Matter::Stored(raw.physical),
        UNWRITTEN => Matter::Zeros,
        _ => Matter::Unknown,
    };
    Extent { start: raw.logical, end: raw.logical.saturating_add(raw.length), matter, shared: raw.flags & SHARED != 0 }
}

impl Extent {
    /// What of it lies in a part; none when nothing does.
    fn within(self, part: &Range<u64>) -> Option<Self> {
        let (start, end) = (self.start.max(part.start), self.end.min(part.end));
        let matter = match self.matter {
            Matter::Stored(place) => Matter::Stored(place.saturating_add(start - self.start)),
            other => other,
        };
        (start < end).then_some(Self { start, end, matter, ..self })
    }
}

impl Iterator for Extents<'_> {
    type Item = io::Result<Extent>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next == self.batch.len() {
            if self.ended {
                return None;
            }
            if let Err(error) = self.fill() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        self.next += 1;
        self.batch.get(self.next - 1).copied().map(Ok)
    }
}

/// Bytes on the device that only this file keeps from being freed, as far as the file system tells.
///
/// # Errors
/// The operating system's.
pub fn exclusive_bytes(file: &File) -> io::Result<u64> {
    Extents::of(file).filter(|extent| !matches!(extent, Ok(extent) if extent.shared)).try_fold(0, |sum: u64, extent| {
        let extent = extent?;
        Ok(sum.saturating_add(extent.end - extent.start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(flags: u32) -> Raw {
        Raw { logical: 4096, physical: 1 << 20, length: 8192, flags, ..Raw::default() }
    }

    #[test]
    fn only_extents_with_a_certain_place_are_trusted() {
        for flags in [0, LAST, SHARED, MERGED | LAST | SHARED] {
            assert_eq!(extent(&raw(flags)).matter, Matter::Stored(1 << 20), "{flags:#x}");
        }
        assert_eq!(extent(&raw(UNWRITTEN | LAST)).matter, Matter::Zeros);
        // Unknown, not allocated, encoded, encrypted, not aligned, inline, tail, and what may be invented yet.
        for flags in [0x2, 0x4, 0x8, 0x80, 0x100, 0x200, 0x400, 0x4000, UNWRITTEN | 0x4, 0x8000_0000] {
            assert_eq!(extent(&raw(flags)).matter, Matter::Unknown, "{flags:#x}");
        }
    }

    #[test]
    fn an_extent_is_cut_where_a_part_begins_and_ends_and_its_place_with_it() {
        let whole = extent(&raw(SHARED));
        assert_eq!(whole.within(&(0..u64::MAX)), Some(whole));
        let matter = Matter::Stored((1 << 20) + 4096);
        assert_eq!(whole.within(&(8192..12288)), Some(Extent { start: 8192, matter, ..whole }));
        assert_eq!(whole.within(&(0..8192)), Some(Extent { end: 8192, ..whole }));
        for beside in [0..4096, 12288..u64::MAX, 8192..8192] {
            assert_eq!(whole.within(&beside), None, "{beside:?}");
        }
        let zeros = extent(&raw(UNWRITTEN)).within(&(8192..u64::MAX)).unwrap();
        assert_eq!((zeros.start, zeros.matter), (8192, Matter::Zeros));
    }
}
