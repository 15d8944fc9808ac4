//! The end of the log that is in no snapshot yet: a cache in the spool, pieces in the vault, and what is known of it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use driver_api::{PieceSpan, StreamStore};

use super::FollowError;
use crate::error::PgError;
use crate::wal::{Lsn, Segment, SegmentSize, WalScanner};
use crate::window::SegmentFacts;

/// Longest piece.
const PIECE_BYTES_MAX: u64 = 8 << 20;
/// So many pieces of a kind are made one, so that an idle server's day is not a hundred thousand files.
const MERGED: usize = 16;

/// A piece and how often it was merged.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    span: PieceSpan,
    rank: u32,
}

pub(super) struct Tail {
    spool: PathBuf,
    size: SegmentSize,
    pub(super) timeline: u32,
    /// What is before is in the snapshot, or was never received. The start of a segment.
    pub(super) start: Lsn,
    /// What is before is in the spool.
    pub(super) end: Lsn,
    /// What is before is in the vault.
    pub(super) durable: Lsn,
    scanner: WalScanner,
    /// From `start`; the last one may not be whole.
    pub(super) segments: Vec<SegmentFacts>,
    pieces: Vec<Ranked>,
    /// When the first whole segment was.
    pub(super) whole_since: Option<Instant>,
    open: Option<(Segment, File)>,
}

impl Tail {
    /// Begins at the start of a segment.
    pub(super) fn begin(spool: &Path, size: SegmentSize, timeline: u32, start: Lsn) -> Self {
        Self {
            spool: spool.to_owned(),
            size,
            timeline,
            start,
            end: start,
            durable: start,
            scanner: WalScanner::new(size, start),
            segments: Vec::new(),
            pieces: Vec::new(),
            whole_since: None,
            open: None,
        }
    }

    /// Lets the scanner see the segment before, so that a record that began in it is known.
    pub(super) fn prime(&mut self, segment_before: &[u8]) -> Result<(), FollowError> {
        let mut scanner = WalScanner::new(self.size, Lsn(self.start.0 - segment_before.len() as u64));
        scanner.feed(segment_before, &mut |_| {})?;
        self.scanner = scanner;
        Ok(())
    }

    /// Takes a piece that is in the vault already.
    pub(super) fn take_piece(&mut self, span: PieceSpan, bytes: &[u8]) -> Result<(), FollowError> {
        self.take(Lsn(span.start.max(self.start.0)), &bytes[(self.start.0.max(span.start) - span.start) as usize..])?;
        self.durable = self.end;
        let rank = match span.end - span.start {
            0..0x1_0000 => 0,
            0x1_0000..0x10_0000 => 1,
            _ => 2,
        };
        self.pieces.push(Ranked { span, rank });
        Ok(())
    }

    /// Takes what the server sent. What was received before must be the same again.
    pub(super) fn take(&mut self, start: Lsn, bytes: &[u8]) -> Result<(), FollowError> {
        if start > self.end || start < self.start {
            let problem = format!("the stream jumped from {} to {start}", self.end);
            return Err(PgError::Unexpected { problem }.into());
        }
        let known = bytes.len().min((self.end.0 - start.0) as usize);
        if known > 0 {
            let before = self.read(start, Lsn(start.0 + known as u64))?;
            if let Some(at) = before.iter().zip(bytes).position(|(a, b)| a != b) {
                return Err(FollowError::Diverged { timeline: self.timeline, at: Lsn(start.0 + at as u64) });
            }
        }
        let mut rest = &bytes[known..];
        while !rest.is_empty() {
            let segment = self.size.segment_at(self.timeline, self.end);
            let taken = rest.len().min((segment.end(self.size).0 - self.end.0) as usize);
            self.write(segment, &rest[..taken])?;
            rest = &rest[taken..];
        }
        Ok(())
    }

    fn write(&mut self, segment: Segment, bytes: &[u8]) -> Result<(), FollowError> {
        let path = self.path(segment);
        let offset = self.end.0 - segment.start(self.size).0;
        let file = match &self.open {
            Some((open, file)) if *open == segment => file,
            _ => {
                let opened = OpenOptions::new().create(true).truncate(offset == 0).write(true).open(&path);
                &self.open.insert((segment, opened.map_err(FollowError::spool("open", &path))?)).1
            }
        };
        file.write_all_at(bytes, offset).map_err(FollowError::spool("write", &path))?;
        if self.segments.last().is_none_or(|facts| facts.segment() != segment) {
            self.segments.push(SegmentFacts::new(segment));
        }
        self.end = Lsn(self.end.0 + bytes.len() as u64);
        if let Some(facts) = self.segments.last_mut() {
            self.scanner.feed(bytes, &mut |mark| facts.add(mark))?;
            facts.until = (self.end < segment.end(self.size)).then_some(self.end);
            if facts.until.is_none() {
                self.whole_since.get_or_insert_with(Instant::now);
            }
        }
        Ok(())
    }

    /// The file of a segment in the spool.
    pub(super) fn path(&self, segment: Segment) -> PathBuf {
        self.spool.join(segment.name(self.size))
    }

    fn read(&self, from: Lsn, to: Lsn) -> Result<Vec<u8>, FollowError> {
        let mut bytes = vec![0; (to.0 - from.0) as usize];
        let mut at = from;
        while at < to {
            let segment = self.size.segment_at(self.timeline, at);
            let until = to.min(segment.end(self.size));
            let path = self.path(segment);
            let range = (at.0 - from.0) as usize..(until.0 - from.0) as usize;
            File::open(&path)
                .and_then(|file| file.read_exact_at(&mut bytes[range], at.0 - segment.start(self.size).0))
                .map_err(FollowError::spool("read", &path))?;
            at = until;
        }
        Ok(bytes)
    }

    /// Makes everything durable that was received.
    pub(super) fn store(&mut self, store: &dyn StreamStore) -> Result<(), FollowError> {
        while self.durable < self.end {
            let until = Lsn(self.end.0.min(self.durable.0 + PIECE_BYTES_MAX));
            let span = PieceSpan { lane: self.timeline, start: self.durable.0, end: until.0 };
            store.append(span, &self.read(self.durable, until)?)?;
            fail::fail_point!("follow::after_piece");
            self.pieces.push(Ranked { span, rank: 0 });
            self.durable = until;
        }
        Ok(())
    }

    /// Makes many small pieces one.
    pub(super) fn merge(&mut self, store: &dyn StreamStore) -> Result<(), FollowError> {
        for rank in 0.. {
            let count = self.pieces.iter().rev().take_while(|piece| piece.rank == rank).count();
            if count < MERGED {
                // Lower ranks stand after higher ones; if this rank has none at the end, no higher one has.
                return Ok(());
            }
            let from = self.pieces.len() - count;
            let (first, last) = (self.pieces[from].span, self.pieces[self.pieces.len() - 1].span);
            // What lies before the tail is in the snapshot and need not be written again.
            let start = first.start.max(self.start.0);
            let rank = rank + 1;
            if last.end - start <= PIECE_BYTES_MAX {
                let span = PieceSpan { lane: self.timeline, start, end: last.end };
                store.append(span, &self.read(Lsn(start), Lsn(last.end))?)?;
                fail::fail_point!("follow::after_merge");
                let old: Vec<PieceSpan> = self.pieces.drain(from..).map(|piece| piece.span).collect();
                store.remove(&old)?;
                self.pieces.push(Ranked { span, rank });
            } else {
                // Too large to be one; they count as merged.
                self.pieces[from..].iter_mut().for_each(|piece| piece.rank = rank);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Segments that are whole.
    pub(super) fn whole(&self) -> Vec<SegmentFacts> {
        self.segments.iter().filter(|facts| facts.until.is_none()).cloned().collect()
    }

    /// The first segments are in the snapshot now.
    pub(super) fn committed(&mut self, count: usize, store: &dyn StreamStore) -> Result<(), FollowError> {
        let gone: Vec<SegmentFacts> = self.segments.drain(..count).collect();
        if let Some(last) = gone.last() {
            self.start = last.until.unwrap_or(last.segment().end(self.size));
            // Bytes that no piece had yet are durable in the snapshot.
            self.durable = self.durable.max(self.start);
        }
        self.whole_since = self.segments.iter().any(|facts| facts.until.is_none()).then(Instant::now);
        let covered: Vec<PieceSpan> =
            self.pieces.iter().map(|piece| piece.span).filter(|span| span.end <= self.start.0).collect();
        self.pieces.retain(|piece| piece.span.end > self.start.0);
        store.remove(&covered)?;
        self.open = None;
        for facts in gone {
            let path = self.path(facts.segment());
            fs::remove_file(&path).map_err(FollowError::spool("remove", &path))?;
        }
        Ok(())
    }
}
