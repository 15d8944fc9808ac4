//! Reads a log as it comes by and tells of the records that a recovery can stop at: commits, aborts and restore points.
//!
//! What is read of the format (page headers, record headers, the first bytes of two kinds of records) has been the same
//! since PostgreSQL 9.5: `src/include/access/xlog_internal.h`, `xlogrecord.h`, `xact.h` and `catalog/pg_control.h`. Every
//! record's checksum is compared.

use jiff::{SignedDuration, Timestamp};

use super::{Lsn, SegmentSize};

const PAGE: u64 = 8192;
const SHORT_HEADER: usize = 24;
const LONG_HEADER: usize = 40;
/// The page begins with the rest of a record.
const FIRST_IS_CONTINUED: u16 = 0x0001;
const RECORD_HEADER: usize = 24;
/// Where the checksum lies in a record's header; it covers what is before, and the body.
const CHECKSUM_AT: usize = 20;
/// As much of a record as is kept: header, all heads that can stand before the main data of the records wanted, a time
/// and a name.
const KEPT: usize = 160;
/// Longest record PostgreSQL writes; anything above is not a record.
const RECORD_MAX: u32 = 1 << 30;
/// 2000-01-01T00:00:00Z in seconds of Unix.
const POSTGRES_EPOCH: i64 = 946_684_800;

/// What kind of record it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// A transaction became visible.
    Commit,
    /// A transaction was given up. Recovery to a time can stop before it too.
    Abort,
    /// `pg_create_restore_point`.
    RestorePoint(String),
}

/// A record that a recovery can stop at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Where the record begins.
    pub start: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// The server's clock when it was made.
    pub time: Timestamp,
    /// What it is.
    pub kind: MarkKind,
}

/// A record that is not what its checksum says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is damaged at {at}: {problem}; check the source's disk and take a new base backup")]
pub struct WalDamage {
    /// Where.
    pub at: Lsn,
    /// How it shows.
    pub problem: &'static str,
}

/// A record that has begun.
#[derive(Clone)]
struct Open {
    start: Lsn,
    total: u32,
    /// Bytes that are there, of all.
    have: u32,
    kept: Vec<u8>,
    /// Checksum of the body so far.
    checksum: u32,
}

#[derive(Clone)]
enum State {
    /// Between records.
    Idle,
    /// The rest of a record whose beginning was never seen: as many bytes are passed over.
    Passing(u64),
    /// Nothing more on this page.
    EndOfPage,
    Record(Open),
}

/// Takes a log in order, in pieces of any length.
#[derive(Clone)]
pub struct WalScanner {
    size: SegmentSize,
    position: u64,
    header: Vec<u8>,
    state: State,
    /// Whether a page that is not of its place is damaged, and not one that was never reached.
    whole_pages: bool,
}

impl std::fmt::Debug for WalScanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalScanner").field("position", &self.position()).finish_non_exhaustive()
    }
}

impl WalScanner {
    /// Begins at the start of a page, best of a segment: the rest of a record that began before is passed over.
    #[must_use]
    pub fn new(size: SegmentSize, start: Lsn) -> Self {
        // In the middle of a page nothing tells where a record begins; the next page does.
        let state = if start.0.is_multiple_of(PAGE) { State::Idle } else { State::EndOfPage };
        Self { size, position: start.0, header: Vec::new(), state, whole_pages: false }
    }

    /// The same for what comes of segments that are through: each page says where it belongs, or is empty because the
    /// segment was left early.
    #[must_use]
    pub const fn of_whole_pages(mut self) -> Self {
        self.whole_pages = true;
        self
    }

    /// Up to where it has read.
    #[must_use]
    pub const fn position(&self) -> Lsn {
        Lsn(self.position)
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`WalDamage`]; the scanner is of no use afterwards.
    pub fn feed(&mut self, mut bytes: &[u8], tell: &mut dyn FnMut(Mark)) -> Result<(), WalDamage> {
        while !bytes.is_empty() {
            let taken = if self.in_header() {
                self.take_header(bytes)?
            } else {
                let rest_of_page = (PAGE - self.position % PAGE) as usize;
                self.take_content(&bytes[..bytes.len().min(rest_of_page)], tell)?
            };
            self.position += taken as u64;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn in_header(&self) -> bool {
        self.position.is_multiple_of(PAGE) || !self.header.is_empty()
    }

    fn take_header(&mut self, bytes: &[u8]) -> Result<usize, WalDamage> {
        let page = self.position - self.header.len() as u64;
        let length = if page.is_multiple_of(self.size.bytes()) { LONG_HEADER } else { SHORT_HEADER };
        let taken = bytes.len().min(length - self.header.len());
        self.header.extend_from_slice(&bytes[..taken]);
        if self.header.len() == length {
            let header = std::mem::take(&mut self.header);
            self.begin_page(page, &header)?;
        }
        Ok(taken)
    }

    fn begin_page(&mut self, page: u64, header: &[u8]) -> Result<(), WalDamage> {
        let magic = u16_at(header, 0);
        let info = u16_at(header, 2);
        let address = u64_at(header, 8);
        let rest = u32_at(header, 16);
        let before = std::mem::replace(&mut self.state, State::EndOfPage);
        if magic == 0 || address != page {
            if self.whole_pages && header.iter().any(|byte| *byte != 0) {
                return Err(WalDamage { at: Lsn(page), problem: "a page does not say that it belongs there" });
            }
            // Never written, or of an earlier life of the file.
            return Ok(());
        }
        self.state = if info & FIRST_IS_CONTINUED == 0 {
            // A record that was open was given up when the server crashed.
            State::Idle
        } else {
            match before {
                State::Record(open) if open.total - open.have == rest => State::Record(open),
                _ => State::Passing(align(u64::from(rest))),
            }
        };
        Ok(())
    }

    fn take_content(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Mark)) -> Result<usize, WalDamage> {
        match &mut self.state {
            State::EndOfPage => Ok(bytes.len()),
            State::Passing(left) => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Idle;
                }
                Ok(taken)
            }
            State::Idle => {
                let to_align = (align(self.position) - self.position) as usize;
                if to_align > 0 {
                    return Ok(to_align.min(bytes.len()));
                }
                let kept = Vec::with_capacity(KEPT);
                self.state = State::Record(Open { start: Lsn(self.position), total: 0, have: 0, kept, checksum: 0 });
                Ok(0)
            }
            State::Record(open) => {
                let at = open.start;
                let taken = open.take(bytes);
                if open.have >= 4 && open.total == 0 {
                    open.total = u32_at(&open.kept, 0);
                    if open.total == 0 {
                        // The log was switched here or ends here.
                        self.state = State::EndOfPage;
                        return Ok(taken);
                    }
                    if (open.total as usize) < RECORD_HEADER || open.total > RECORD_MAX {
                        return Err(WalDamage { at, problem: "a record has an impossible length" });
                    }
                }
                if open.total > 0 && open.have == open.total {
                    let end = Lsn(self.position + taken as u64);
                    let mark = open.finish(end)?;
                    self.state = State::Idle;
                    mark.into_iter().for_each(tell);
                }
                Ok(taken)
            }
        }
    }
}

impl Open {
    /// Takes what belongs to the record; first its length, then the rest of the header, then the body.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let until = match self.have {
            0..4 => 4,
            have if (have as usize) < RECORD_HEADER => RECORD_HEADER as u32,
            _ => self.total,
        };
        let taken = bytes.len().min((until - self.have) as usize);
        let bytes = &bytes[..taken];
        if self.have as usize >= RECORD_HEADER {
            self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        }
        self.kept.extend_from_slice(&bytes[..taken.min(KEPT.saturating_sub(self.kept.len()))]);
        self.have += taken as u32;
        taken
    }

    fn finish(&self, end: Lsn) -> Result<Option<Mark>, WalDamage> {
        let found = crc32c::crc32c_append(self.checksum, &self.kept[..CHECKSUM_AT]);
        if found != u32_at(&self.kept, CHECKSUM_AT) {
            return Err(WalDamage { at: self.start, problem: "a record's checksum is wrong" });
        }
        let (info, manager) = (self.kept[16], self.kept[17]);
        let commit = |kind| main_data(&self.kept, 8).and_then(|data| Some((kind, time(data)?)));
        let found = match (manager, info & 0x70) {
            (1, 0x00 | 0x30) => commit(MarkKind::Commit),
            (1, 0x20 | 0x40) => commit(MarkKind::Abort),
            (0, 0x70) if info & 0x80 == 0 => main_data(&self.kept, 72).and_then(|data| {
                let name = data[8..].split(|byte| *byte == 0).next().unwrap_or_default();
                Some((MarkKind::RestorePoint(String::from_utf8_lossy(name).into_owned()), time(data)?))
            }),
            _ => None,
        };
        Ok(found.map(|(kind, time)| Mark { start: self.start, end, time, kind }))
    }
}

/// The first bytes of the main data of a record that refers to no blocks.
fn main_data(record: &[u8], length: usize) -> Option<&[u8]> {
    let mut at = RECORD_HEADER;
    loop {
        match *record.get(at)? {
            255 => at += 2,
            254 => at += 5,
            // Origin of a replicated transaction; the top-level transaction.
            253 => {
                at += 3;
                continue;
            }
            252 => {
                at += 5;
                continue;
            }
            _ => return None,
        }
        return record.get(at..at + length);
    }
}

/// Microseconds since the year 2000.
fn time(data: &[u8]) -> Option<Timestamp> {
    let micros = i64::from_le_bytes(data.get(..8)?.try_into().ok()?);
    let epoch = Timestamp::from_second(POSTGRES_EPOCH).ok()?;
    epoch.checked_add(SignedDuration::from_micros(micros)).ok()
}

const fn align(position: u64) -> u64 {
    (position + 7) & !7
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lays records out on pages as PostgreSQL does.
    struct Log {
        bytes: Vec<u8>,
        start: u64,
    }

    impl Log {
        fn new(start: u64) -> Self {
            Self { bytes: Vec::new(), start }
        }

        fn position(&self) -> u64 {
            self.start + self.bytes.len() as u64
        }

        fn header(&mut self, rest: u32) {
            let page = self.position();
            let long = page.is_multiple_of(SegmentSize::DEFAULT.bytes());
            let mut header = vec![0; if long { LONG_HEADER } else { SHORT_HEADER }];
            header[..2].copy_from_slice(&0xD110_u16.to_le_bytes());
            header[2..4].copy_from_slice(&u16::from(rest > 0).to_le_bytes());
            header[8..16].copy_from_slice(&page.to_le_bytes());
            header[16..20].copy_from_slice(&rest.to_le_bytes());
            self.bytes.extend(header);
        }

        fn record(&mut self, manager: u8, info: u8, body: &[u8]) {
            let total = (RECORD_HEADER + body.len()) as u32;
            let mut record = total.to_le_bytes().to_vec();
            record.extend([0; 12]);
            record.extend([info, manager, 0, 0]);
            let checksum = crc32c::crc32c_append(crc32c::crc32c(body), &record);
            record.extend(checksum.to_le_bytes());
            record.extend(body);
            let padded = align(record.len() as u64) as usize;
            record.resize(padded, 0);
            let mut done = 0;
            while done < record.len() {
                if self.position().is_multiple_of(PAGE) {
                    self.header((total as usize).saturating_sub(done) as u32 * u32::from(done > 0));
                }
                let room = (PAGE - self.position() % PAGE) as usize;
                let taken = room.min(record.len() - done);
                self.bytes.extend(&record[done..done + taken]);
                done += taken;
            }
        }

        fn commit(&mut self, micros: i64) {
            let mut body = vec![255, 8];
            body.extend(micros.to_le_bytes());
            self.record(1, 0, &body);
        }
    }

    fn marks(log: &Log, from: usize, step: usize) -> Result<Vec<Mark>, WalDamage> {
        let mut scanner = WalScanner::new(SegmentSize::DEFAULT, Lsn(log.start + from as u64));
        let mut marks = Vec::new();
        for part in log.bytes[from..].chunks(step) {
            scanner.feed(part, &mut |mark| marks.push(mark))?;
        }
        Ok(marks)
    }

    fn sample() -> Log {
        let mut log = Log::new(3 * SegmentSize::DEFAULT.bytes());
        for number in 0..400_u32 {
            let mut body = vec![254];
            body.extend((number * 37).to_le_bytes());
            body.extend(vec![7; number as usize * 37]);
            log.record(10, 0, &body);
            log.commit(i64::from(number) * 1_000_000);
        }
        let mut point = vec![255, 72];
        point.extend(5_i64.to_le_bytes());
        let mut name = [0; 64];
        name[..6].copy_from_slice(b"before");
        point.extend(name);
        log.record(0, 0x70, &point);
        log
    }

    #[test]
    fn every_commit_is_found_however_the_log_is_cut() {
        let log = sample();
        let whole = marks(&log, 0, usize::MAX).unwrap();
        assert_eq!(whole.len(), 401);
        assert_eq!(whole[1].time.to_string(), "2000-01-01T00:00:01Z");
        assert_eq!(whole[400].kind, MarkKind::RestorePoint("before".to_owned()));
        assert!(whole.windows(2).all(|pair| pair[0].end <= pair[1].start));
        for step in [1, 7, 8191, 8192, 100_000] {
            assert_eq!(marks(&log, 0, step).unwrap(), whole, "{step}");
        }
    }

    #[test]
    fn a_scan_may_begin_in_the_middle_of_a_record() {
        let log = sample();
        let whole = marks(&log, 0, usize::MAX).unwrap();
        for page in 1..log.bytes.len() / PAGE as usize {
            let from = page * PAGE as usize;
            let found = marks(&log, from, usize::MAX).unwrap();
            let start = Lsn(log.start + from as u64);
            let expected: Vec<Mark> = whole.iter().filter(|mark| mark.start >= start).cloned().collect();
            assert_eq!(found, expected, "{page}");
        }
    }

    #[test]
    fn a_switched_log_goes_on_with_the_next_page() {
        let mut log = Log::new(0);
        log.commit(1);
        let segment = SegmentSize::DEFAULT.bytes() as usize;
        log.bytes.resize(segment, 0);
        log.commit(2);
        assert_eq!(marks(&log, 0, 1000).unwrap().len(), 2);
    }

    #[test]
    fn a_page_that_is_not_of_its_place_is_noticed_where_all_were_written() {
        let mut log = sample();
        let feed = |log: &Log| {
            let mut scanner = WalScanner::new(SegmentSize::DEFAULT, Lsn(log.start)).of_whole_pages();
            scanner.feed(&log.bytes, &mut |_| {})
        };
        assert_eq!(feed(&log), Ok(()));
        // The address of the second page.
        log.bytes[PAGE as usize + 9] ^= 0x40;
        assert_eq!(feed(&log).unwrap_err().at, Lsn(log.start + PAGE));
        let mut switched = Log::new(0);
        switched.commit(1);
        switched.bytes.resize(SegmentSize::DEFAULT.bytes() as usize, 0);
        assert_eq!(feed(&switched), Ok(()), "what a switch leaves is empty");
    }

    #[test]
    fn a_flipped_bit_in_any_record_is_noticed() {
        let log = sample();
        for at in (LONG_HEADER + 16..100_000).step_by(811) {
            let mut damaged = Log { bytes: log.bytes.clone(), start: log.start };
            if at as u64 % PAGE < SHORT_HEADER as u64 {
                continue;
            }
            damaged.bytes[at] ^= 0x40;
            let found = marks(&damaged, 0, usize::MAX);
            // A bit in the padding between two records changes nothing.
            assert!(found.is_err() || found.as_ref() == Ok(&marks(&log, 0, usize::MAX).unwrap()), "{at}");
        }
        let mut damaged = Log { bytes: log.bytes.clone(), start: log.start };
        damaged.bytes[LONG_HEADER + 26] ^= 1;
        assert!(marks(&damaged, 0, usize::MAX).is_err());
    }
}
