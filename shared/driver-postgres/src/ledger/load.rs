//! Reads what the vault holds: the newest snapshot of the stream and the pieces after it.

use driver_api::{PieceSpan, ReadError, SnapshotReader, StreamSource, StreamState};
use vault_format::{Id, Node, NodeKind};

use super::{STREAM_KIND, STREAM_SCHEMA, StreamFacts};
use crate::timeline::History;
use crate::wal::{Lsn, Segment, SegmentSize, WalScanner};
use crate::window::{Log, SegmentFacts};

/// Longest document that is read.
const DOCUMENT_BYTES_MAX: usize = 64 << 20;

/// Why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The vault failed.
    #[error("read the log in the vault")]
    Vault(#[from] ReadError),
    /// What is there makes no sense.
    #[error("the log in the vault is not as it was written: {problem}")]
    Damaged {
        /// How it shows.
        problem: String,
    },
}

/// All that is durable of one stream.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Of the newest snapshot; none before the first.
    pub facts: Option<StreamFacts>,
    /// Segments in the snapshot, sorted.
    pub segments: Vec<SegmentFacts>,
    /// Histories in the snapshot, by timeline.
    pub histories: Vec<History>,
    /// Pieces that hold what the snapshot does not, without overlap, sorted; each lane's without holes up to its end.
    pub pieces: Vec<PieceSpan>,
    /// Pieces that the snapshot or other pieces cover.
    pub covered: Vec<PieceSpan>,
}

impl Stored {
    /// The log as a window sees it. Reads the pieces.
    ///
    /// # Errors
    /// When a piece cannot be read.
    pub fn log(&self, source: &dyn StreamSource, size: SegmentSize) -> Result<Log, LedgerError> {
        let newest = self.segments.iter().map(|facts| facts.timeline).chain(self.pieces.iter().map(|p| p.lane)).max();
        let timeline = newest.max(self.histories.last().map(|history| history.timeline)).unwrap_or(1);
        let history = self.histories.iter().find(|history| history.timeline == timeline).cloned();
        let mut segments = self.segments.clone();
        for facts in scan_pieces(&self.pieces, size, |span| Ok(source.piece(span)?))? {
            match segments.iter_mut().find(|known| known.segment() == facts.segment()) {
                Some(known) if known.until.is_some() => *known = facts,
                Some(_) => {}
                None => segments.push(facts),
            }
        }
        segments.sort_by_key(|facts| (facts.timeline, facts.number));
        Ok(Log { size, history: history.unwrap_or_else(|| History::of_first(timeline)), segments })
    }
}

/// Facts of the segments that pieces make up.
fn scan_pieces(
    pieces: &[PieceSpan],
    size: SegmentSize,
    read: impl Fn(PieceSpan) -> Result<Vec<u8>, LedgerError>,
) -> Result<Vec<SegmentFacts>, LedgerError> {
    let mut found: Vec<SegmentFacts> = Vec::new();
    let mut scanner: Option<(u32, WalScanner)> = None;
    for span in pieces {
        let read_to = scanner.as_ref().filter(|(lane, _)| *lane == span.lane).map(|(_, s)| s.position().0);
        if read_to.is_none_or(|to| !(span.start..=span.end).contains(&to)) {
            scanner = Some((span.lane, WalScanner::new(size, Lsn(span.start))));
        }
        let Some((lane, scanner)) = &mut scanner else { continue };
        let bytes = read(*span)?;
        let mut at = scanner.position().0;
        let mut rest = &bytes[(at - span.start) as usize..];
        while !rest.is_empty() {
            let segment = size.segment_at(*lane, Lsn(at));
            if found.last().is_none_or(|facts| facts.segment() != segment) {
                found.push(SegmentFacts::new(segment));
            }
            let end = segment.end(size);
            let taken = rest.len().min((end.0 - at) as usize);
            if let Some(facts) = found.last_mut() {
                scanner
                    .feed(&rest[..taken], &mut |mark| facts.add(mark))
                    .map_err(|damage| LedgerError::Damaged { problem: damage.to_string() })?;
                at += taken as u64;
                facts.until = (Lsn(at) < end).then_some(Lsn(at));
            }
            rest = &rest[taken..];
        }
    }
    Ok(found)
}

/// How often to look again when pieces went between looking and reading, because the follower took them up.
pub(crate) const TRIES: usize = 5;

/// What is durable, and the log that it makes up.
///
/// # Errors
/// When the vault fails, or what is there makes no sense.
pub fn survey(source: &dyn StreamSource, size: SegmentSize) -> Result<(Stored, Log), LedgerError> {
    let mut tries = 0;
    loop {
        let stored = load(source)?;
        tries += 1;
        match stored.log(source, size) {
            Ok(log) => return Ok((stored, log)),
            Err(LedgerError::Vault(ReadError::Damaged { .. })) if tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

/// Loads what is durable.
///
/// # Errors
/// When the vault fails or what is there makes no sense.
pub fn load(source: &dyn StreamSource) -> Result<Stored, LedgerError> {
    // Pieces first: one that is taken up by a new snapshot meanwhile is then known twice, never not at all.
    let listed = source.pieces()?;
    let mut loaded = None;
    source.look(&mut |state| {
        loaded = Some(match state {
            Some(state) => load_state(&state),
            None => Ok((None, Vec::new(), Vec::new())),
        });
        Ok(())
    })?;
    let Some(loaded) = loaded else {
        return Err(LedgerError::Damaged { problem: "the stream showed nothing".to_owned() });
    };
    let (facts, segments, histories) = loaded?;
    let size = facts.as_ref().map(|facts| facts.segment_size);
    let (pieces, covered) = chain(listed, |span| {
        let size = size?;
        let whole = |segment: Segment| {
            segments.iter().any(|f| f.segment() == segment && f.until.is_none_or(|until| until.0 >= span.end))
        };
        let first = size.segment_at(span.lane, Lsn(span.start));
        let last = size.segment_at(span.lane, Lsn(span.end - 1));
        (first.number..=last.number).all(|number| whole(Segment { timeline: span.lane, number })).then_some(())
    });
    Ok(Stored { facts, segments, histories, pieces, covered })
}

/// Chooses from pieces that may overlap (a merge was cut short, two followers) those that make up the whole, the longest
/// first; the others are covered. What the snapshot has needs none.
fn chain(listed: Vec<PieceSpan>, in_snapshot: impl Fn(PieceSpan) -> Option<()>) -> (Vec<PieceSpan>, Vec<PieceSpan>) {
    let (mut covered, mut rest): (Vec<_>, Vec<_>) = listed.into_iter().partition(|span| in_snapshot(*span).is_some());
    rest.sort_by_key(|span| (span.lane, span.start, std::cmp::Reverse(span.end)));
    let mut chosen: Vec<PieceSpan> = Vec::new();
    for span in rest {
        match chosen.last() {
            Some(last) if last.lane == span.lane && span.end <= last.end => covered.push(span),
            _ => chosen.push(span),
        }
    }
    (chosen, covered)
}

type State = (Option<StreamFacts>, Vec<SegmentFacts>, Vec<History>);

fn load_state(state: &StreamState<'_>) -> Result<State, LedgerError> {
    let damaged = |problem: String| LedgerError::Damaged { problem };
    let facts: StreamFacts =
        serde_json::from_value(state.facts.clone()).map_err(|error| damaged(format!("its facts: {error}")))?;
    if facts.kind != STREAM_KIND || facts.schema > STREAM_SCHEMA {
        return Err(damaged(format!(
            "it is of kind `{}` and schema {}; this version reads `{STREAM_KIND}` up to {STREAM_SCHEMA}",
            facts.kind, facts.schema
        )));
    }
    let root = state.reader.root();
    let mut segments: Vec<SegmentFacts> = Vec::new();
    for node in directory(state.reader, root, &["holdfast"])? {
        if node.name.starts_with(b"wal-") {
            let json = content(state.reader, &node)?;
            let of_log: Vec<SegmentFacts> =
                serde_json::from_slice(&json).map_err(|error| damaged(format!("facts of a log: {error}")))?;
            segments.extend(of_log);
        }
    }
    segments.sort_by_key(|facts| (facts.timeline, facts.number));
    let mut histories = Vec::new();
    for node in directory(state.reader, root, &["data", "wal", "history"])? {
        let name = String::from_utf8_lossy(&node.name).into_owned();
        let Some(timeline) = History::parse_file_name(&name) else { continue };
        let text = String::from_utf8_lossy(&content(state.reader, &node)?).into_owned();
        histories.push(History::parse(timeline, &text).map_err(|error| damaged(error.to_string()))?);
    }
    histories.sort_by_key(|history| history.timeline);
    Ok((Some(facts), segments, histories))
}

/// The entries of a directory; none when it is not there.
pub(super) fn directory(reader: &dyn SnapshotReader, root: Id, path: &[&str]) -> Result<Vec<Node>, ReadError> {
    let mut nodes = reader.tree(&root)?.nodes;
    for name in path {
        let found = nodes.iter().find(|node| node.name == name.as_bytes()).map(|node| &node.kind);
        let Some(NodeKind::Dir { subtree }) = found else { return Ok(Vec::new()) };
        nodes = reader.tree(subtree)?.nodes;
    }
    Ok(nodes)
}

/// An entry of the stream's snapshot, by its path.
///
/// # Errors
/// When the vault fails.
pub fn node_named(reader: &dyn SnapshotReader, path: &[&str]) -> Result<Option<Node>, ReadError> {
    let Some((name, parents)) = path.split_last() else { return Ok(None) };
    Ok(directory(reader, reader.root(), parents)?.into_iter().find(|node| node.name == name.as_bytes()))
}

fn content(reader: &dyn SnapshotReader, node: &Node) -> Result<Vec<u8>, LedgerError> {
    let NodeKind::File { content, size } = &node.kind else {
        let problem = format!("`{}` is no file", String::from_utf8_lossy(&node.name));
        return Err(LedgerError::Damaged { problem });
    };
    let mut bytes = Vec::with_capacity((*size as usize).min(DOCUMENT_BYTES_MAX));
    for id in content {
        bytes.extend(reader.blob(id)?);
        if bytes.len() > DOCUMENT_BYTES_MAX {
            let problem = format!("`{}` is too long", String::from_utf8_lossy(&node.name));
            return Err(LedgerError::Damaged { problem });
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(lane: u32, start: u64, end: u64) -> PieceSpan {
        PieceSpan { lane, start, end }
    }

    #[test]
    fn pieces_that_overlap_are_used_once() {
        let listed = vec![span(1, 0, 10), span(1, 10, 20), span(1, 0, 20), span(1, 20, 30), span(2, 5, 9)];
        let (chosen, covered) = chain(listed, |_| None);
        assert_eq!(chosen, [span(1, 0, 20), span(1, 20, 30), span(2, 5, 9)]);
        assert_eq!(covered, [span(1, 0, 10), span(1, 10, 20)]);
    }

    #[test]
    fn what_the_snapshot_has_is_covered() {
        let (chosen, covered) = chain(vec![span(1, 0, 10), span(1, 10, 20)], |p| (p.end <= 10).then_some(()));
        assert_eq!((chosen, covered), (vec![span(1, 10, 20)], vec![span(1, 0, 10)]));
    }
}
