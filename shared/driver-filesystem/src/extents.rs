//! Which parts of a file have data.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// A hole shorter than this is read as zeros, so that a finely perforated file does not fall into tiny chunks.
const HOLE_AS_CHUNKS_MIN_BYTES: u64 = 1 << 20;

/// Length of the chunks that large holes are stored as.
pub(crate) const ZERO_CHUNK_BYTES: u64 = 4 << 20;

/// An extent with data: offset and length in bytes.
pub(crate) type Extent = (u64, u64);

/// The extents with data in the first `size` bytes, or none when all of them have.
pub(crate) fn data_extents(file: impl AsFd, size: u64) -> io::Result<Option<Vec<Extent>>> {
    let fd = file.as_fd();
    let seek = |from| match rustix::fs::seek(fd, from) {
        // Beyond the last data or the end.
        Err(Errno::NXIO) => Ok(None),
        other => other.map(Some),
    };
    if size == 0 || seek(SeekFrom::Hole(0)) == Err(Errno::INVAL) {
        return Ok(None);
    }
    let mut extents: Vec<Extent> = Vec::new();
    let mut position = 0;
    while position < size {
        let Some(start) = seek(SeekFrom::Data(position))? else { break };
        let start = start.min(size);
        let end = seek(SeekFrom::Hole(start))?.unwrap_or(size).min(size);
        if end <= start {
            break;
        }
        extents.push((start, end - start));
        position = end;
    }
    Ok(if extents == [(0, size)] { None } else { Some(extents) })
}

/// A part of a file to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// To be read: start and end.
    Data(u64, u64),
    /// Zeros without reading: length.
    Hole(u64),
}

/// How to store a file with these extents: short holes are read with the data around them.
pub(crate) fn pieces(size: u64, extents: Option<&[Extent]>) -> Vec<Piece> {
    let Some(extents) = extents else {
        return if size == 0 { Vec::new() } else { vec![Piece::Data(0, size)] };
    };
    let mut pieces = Vec::new();
    let mut position = 0;
    let mut open: Option<(u64, u64)> = None;
    for &(start, length) in extents {
        let end = start + length;
        match &mut open {
            Some((_, last)) if start - *last < HOLE_AS_CHUNKS_MIN_BYTES => *last = end,
            _ => {
                let hole = start - open.map_or(position, |(_, last)| last);
                if let Some((from, to)) = open.take() {
                    pieces.push(Piece::Data(from, to));
                }
                if hole >= HOLE_AS_CHUNKS_MIN_BYTES {
                    pieces.push(Piece::Hole(hole));
                    open = Some((start, end));
                } else {
                    open = Some((start - hole, end));
                }
            }
        }
        position = end;
    }
    if let Some((from, to)) = open {
        let tail = size - to;
        if tail < HOLE_AS_CHUNKS_MIN_BYTES {
            pieces.push(Piece::Data(from, size));
        } else {
            pieces.extend([Piece::Data(from, to), Piece::Hole(tail)]);
        }
    } else if size > 0 {
        pieces.push(if size < HOLE_AS_CHUNKS_MIN_BYTES { Piece::Data(0, size) } else { Piece::Hole(size) });
    }
    pieces
}

/// The parts of `offset .. offset + length` that lie in one of the extents, in order.
pub(crate) fn within(extents: &[Extent], offset: u64, length: u64) -> impl Iterator<Item = Extent> + '_ {
    let end = offset + length;
    let first = extents.partition_point(|(start, len)| start + len <= offset);
    extents[first..].iter().take_while(move |(start, _)| *start < end).map(move |(start, len)| {
        let from = (*start).max(offset);
        (from, (start + len).min(end) - from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn pieces_cover_the_file_once_and_large_holes_are_not_read() {
        assert_eq!(pieces(0, None), []);
        assert_eq!(pieces(5, None), [Piece::Data(0, 5)]);
        assert_eq!(pieces(5 * MIB, Some(&[])), [Piece::Hole(5 * MIB)]);
        assert_eq!(pieces(4096, Some(&[])), [Piece::Data(0, 4096)]);
        let extents = [(4096, 4096), (16384, 4096), (8 * MIB, 10)];
        assert_eq!(
            pieces(20 * MIB, Some(&extents)),
            [
                Piece::Data(0, 20480),
                Piece::Hole(8 * MIB - 20480),
                Piece::Data(8 * MIB, 8 * MIB + 10),
                Piece::Hole(12 * MIB - 10)
            ]
        );
    }

    #[test]
    fn parts_within_extents_are_cut_at_both_ends() {
        let extents = [(10, 10), (30, 10), (50, 10)];
        assert_eq!(within(&extents, 15, 20).collect::<Vec<_>>(), [(15, 5), (30, 5)]);
        assert_eq!(within(&extents, 20, 10).collect::<Vec<_>>(), []);
        assert_eq!(within(&extents, 0, 100).collect::<Vec<_>>(), extents);
    }

    #[test]
    fn holes_of_a_real_file_are_found() {
        use std::os::unix::fs::FileExt;
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"x", 3 * MIB).unwrap();
        file.set_len(5 * MIB).unwrap();
        assert_eq!(data_extents(&file, 5 * MIB).unwrap(), Some(vec![(3 * MIB, 4096)]));
        let full = tempfile::tempfile().unwrap();
        full.write_all_at(&[1; 5000], 0).unwrap();
        assert_eq!(data_extents(&full, 5000).unwrap(), None);
    }
}
