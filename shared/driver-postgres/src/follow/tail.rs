//! The end of the log that is in no snapshot yet: a cache in the spool, pieces in the vault, and what is known of it.

use std::borrow::Cow;
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
/// Longest piece that is made of others: what a busy server writes is in the snapshot soon, and would only be written once
/// more.
const MERGED_BYTES_MAX: u64 = 1 << 20;
/// So many bytes are kept before they are written to the spool.
const UNWRITTEN_MAX: usize = 8 << 20;

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
    /// What is before was received.
    pub(super) end: Lsn,
    /// The last bytes before `end`, which are not in the spool yet: a write for each message of a busy server would be a
    /// thousand in a second.
    unwritten: Vec<u8>,
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
            unwritten: Vec::new(),
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
            self.note(segment, &rest[..taken])?;
            rest = &rest[taken..];
        }
        if self.unwritten.len() >= UNWRITTEN_MAX { self.spool() } else { Ok(()) }
    }

    /// Takes bytes of one segment.
    fn note(&mut self, segment: Segment, bytes: &[u8]) -> Result<(), FollowError> {
        if self.segments.last().is_none_or(|facts| facts.segment() != segment) {
            self.segments.push(SegmentFacts::new(segment));
        }
        self.unwritten.extend_from_slice(bytes);
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

    /// What is before is in the spool.
    const fn spooled(&self) -> Lsn {
        Lsn(self.end.0 - self.unwritten.len() as u64)
    }

    /// Writes what was received to the spool.
    pub(super) fn spool(&mut self) -> Result<(), FollowError> {
        let mut at = self.spooled();
        let mut bytes = std::mem::take(&mut self.unwritten);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let segment = self.size.segment_at(self.timeline, at);
            let taken = rest.len().min((segment.end(self.size).0 - at.0) as usize);
            self.write(segment, at, &rest[..taken])?;
            rest = &rest[taken..];
            at = Lsn(at.0 + taken as u64);
        }
        bytes.clear();
        self.unwritten = bytes;
        Ok(())
    }

    fn write(&mut self, segment: Segment, at: Lsn, bytes: &[u8]) -> Result<(), FollowError> {
        let path = self.path(segment);
        let offset = at.0 - segment.start(self.size).0;
        let file = match &self.open {
            Some((open, file)) if *open == segment => file,
            _ => {
                let opened = OpenOptions::new().create(true).truncate(offset == 0).write(true).open(&path);
                &self.open.insert((segment, opened.map_err(FollowError::spool("open", &path))?)).1
            }
        };
        file.write_all_at(bytes, offset).map_err(FollowError::spool("write", &path))
    }

    /// The file of a segment in the spool.
    pub(super) fn path(&self, segment: Segment) -> PathBuf {
        self.spool.join(segment.name(self.size))
    }

    /// What was received, from `start` on: what is not in the spool yet without a copy.
    fn read(&self, from: Lsn, to: Lsn) -> Result<Cow<'_, [u8]>, FollowError> {
        let spooled = self.spooled();
        if from >= spooled {
            return Ok(Cow::Borrowed(&self.unwritten[(from.0 - spooled.0) as usize..(to.0 - spooled.0) as usize]));
        }
        let mut bytes = vec![0; (to.0 - from.0) as usize];
        let mut at = from;
        while at < to.min(spooled) {
            let segment = self.size.segment_at(self.timeline, at);
            let until = to.min(spooled).min(segment.end(self.size));
            let path = self.path(segment);
            let range = (at.0 - from.0) as usize..(until.0 - from.0) as usize;
            File::open(&path)
                .and_then(|file| file.read_exact_at(&mut bytes[range], at.0 - segment.start(self.size).0))
                .map_err(FollowError::spool("read", &path))?;
            at = until;
        }
        if at < to {
            let range = (at.0 - spooled.0) as usize..(to.0 - spooled.0) as usize;
            bytes[(at.0 - from.0) as usize..].copy_from_slice(&self.unwritten[range]);
        }
        Ok(Cow::Owned(bytes))
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
        self.spool()
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
            if last.end - start <= MERGED_BYTES_MAX {
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

#[cfg(test)]
mod tests {
    use driver_api::{NoControl, StreamSource as _};
    use job_model::{ResourceType, VaultAccess};
    use vault_engine::{KeyProfile, Profiles, Stream, StreamSubject, Surroundings, Vault};

    use super::*;

    /// A vault in memory.
    fn vault(name: &str) -> Vault {
        let password_command = Some(vec!["printf".to_owned(), "a secret".to_owned()]);
        let key = KeyProfile { password_command, ..KeyProfile::default() };
        let access = VaultAccess {
            arn: "arn:aws:backup:eu-north-1:000000000000:backup-vault:main".parse().unwrap(),
            location: format!("memory://{name}"),
            key_profile: "main".to_owned(),
            repository_id: None,
        };
        let profiles = Profiles { keys: [("main".to_owned(), key)].into(), ..Profiles::default() };
        Vault::create(&access, &profiles, &Surroundings::new(|| jiff::Timestamp::UNIX_EPOCH)).unwrap()
    }

    fn stream(vault: &Vault) -> Stream<'_> {
        let id = "0192f0c1-2345-7000-8000-000000000001";
        let subject = StreamSubject {
            recovery_point_id: id.parse().unwrap(),
            recovery_point: format!("arn:aws:backup:eu-north-1:000000000000:recovery-point:{id}").parse().unwrap(),
            resource: "arn:aws:rds:eu-north-1:000000000000:db:test".parse().unwrap(),
            resource_type: ResourceType::Rds,
            location: "postgresql://test".to_owned(),
        };
        vault.follow(subject, 1, &NoControl).unwrap()
    }

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn bytes_of(store: &dyn StreamStore, span: PieceSpan) -> Vec<u8> {
        store.piece(span).unwrap()
    }

    /// Bytes that are no pages of a log, and differ from place to place.
    fn bytes(length: usize, from: u8) -> Vec<u8> {
        (0..length).map(|at| from.wrapping_add((at / 100) as u8)).collect()
    }

    #[test]
    fn messages_become_one_piece_and_lie_in_the_spool_when_it_is_durable() {
        let (vault, spool) = (vault("tail-pieces"), tempfile::tempdir().unwrap());
        let store = stream(&vault);
        let start = Lsn(SIZE.bytes() * 3);
        let mut tail = Tail::begin(spool.path(), SIZE, 1, start);
        // Over the end of a segment, in small messages.
        let first = bytes(SIZE.bytes() as usize - 100, 1);
        tail.take(start, &first).unwrap();
        tail.store(&store).unwrap();
        let mut sent = Vec::new();
        for number in 0..10 {
            let message = bytes(30, number);
            tail.take(Lsn(start.0 + (first.len() + sent.len()) as u64), &message).unwrap();
            sent.extend(message);
        }
        let segment = SIZE.segment_at(1, start);
        assert_eq!(tail.path(segment).metadata().unwrap().len(), first.len() as u64, "written too early");
        tail.store(&store).unwrap();
        assert_eq!(tail.durable, tail.end);
        let pieces = store.pieces().unwrap();
        assert_eq!(bytes_of(&store, *pieces.last().unwrap()), sent);
        let next = SIZE.segment_at(1, tail.end);
        let spooled = [std::fs::read(tail.path(segment)).unwrap(), std::fs::read(tail.path(next)).unwrap()].concat();
        assert_eq!(spooled, [first, sent].concat());
        assert_eq!(tail.segments.len(), 2);
    }

    #[test]
    fn what_comes_again_is_compared_wherever_it_is() {
        let (vault, spool) = (vault("tail-again"), tempfile::tempdir().unwrap());
        let store = stream(&vault);
        let mut tail = Tail::begin(spool.path(), SIZE, 1, Lsn(0));
        let all = bytes(5000, 7);
        tail.take(Lsn(0), &all[..2000]).unwrap();
        tail.store(&store).unwrap();
        tail.take(Lsn(2000), &all[2000..4000]).unwrap();
        // Half of it is in the spool, half is not, and the rest is new.
        tail.take(Lsn(1000), &all[1000..]).unwrap();
        assert_eq!(tail.end, Lsn(5000));
        let mut other = all.clone();
        other[3500] ^= 1;
        let again = tail.take(Lsn(1000), &other[1000..]);
        assert!(matches!(again, Err(FollowError::Diverged { at: Lsn(3500), .. })), "{again:?}");
        tail.store(&store).unwrap();
        assert_eq!(bytes_of(&store, store.pieces().unwrap()[1]), all[2000..]);
    }

    #[test]
    fn small_pieces_are_made_one_and_large_ones_are_left_alone() {
        let (vault, spool) = (vault("tail-merges"), tempfile::tempdir().unwrap());
        let store = stream(&vault);
        let mut tail = Tail::begin(spool.path(), SIZE, 1, Lsn(0));
        let mut give = |length: usize, pieces: usize| {
            for _ in 0..pieces {
                let at = tail.end;
                tail.take(at, &bytes(length, at.0 as u8)).unwrap();
                tail.store(&store).unwrap();
                tail.merge(&store).unwrap();
            }
            store.pieces().unwrap()
        };
        assert_eq!(give(300, MERGED).len(), 1);
        let pieces = give((MERGED_BYTES_MAX / 8) as usize, MERGED);
        assert_eq!(pieces.len(), 1 + MERGED);
        assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start), "{pieces:?}");
    }
}
