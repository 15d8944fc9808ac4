//! The next snapshot of a stream, from the one before and what came since.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;

use driver_api::{CaptureWriter, Chunking, SnapshotReader, StreamContent, StreamState, WriteError};
use jiff::Timestamp;
use vault_format::{Id, Node, NodeKind, Tree};

use super::load::directory;
use super::{SEGMENT_CHUNK_BYTES, StreamFacts, facts_name};
use crate::timeline::History;
use crate::wal::{Lsn, SegmentSize};
use crate::window::SegmentFacts;

/// A segment to take up.
#[derive(Clone, Debug)]
pub struct NewSegment {
    /// What it holds.
    pub facts: SegmentFacts,
    /// Its content.
    pub file: PathBuf,
}

/// A history to take up.
#[derive(Clone, Debug)]
pub struct NewHistory {
    /// Its timeline.
    pub timeline: u32,
    /// Its file as the server gave it.
    pub text: String,
}

/// What the next snapshot is made of.
#[derive(Clone, Copy, Debug)]
pub struct NextContent<'a> {
    /// Its facts.
    pub facts: &'a StreamFacts,
    /// All segments of the snapshot before.
    pub before: &'a [SegmentFacts],
    /// All segments that it will hold, the new ones included; what is not in it is dropped.
    pub segments: &'a [SegmentFacts],
    /// Those that the one before does not have, or has otherwise.
    pub new: &'a [NewSegment],
    /// Histories to add.
    pub histories: &'a [NewHistory],
    /// When it is made.
    pub at: Timestamp,
}

/// Builds the snapshot. Logs in which nothing changed are neither read nor written.
///
/// # Errors
/// When the vault fails, or a file cannot be read.
pub fn next_content(
    writer: &dyn CaptureWriter,
    earlier: Option<&StreamState<'_>>,
    next: &NextContent<'_>,
) -> Result<StreamContent, WriteError> {
    let NextContent { facts, before, segments, new, histories, at } = *next;
    let size = facts.segment_size;
    let builder = Builder { writer, earlier: earlier.map(|state| state.reader), at };
    let logs = by_log(segments, size);
    let counts: BTreeMap<(u32, u64), usize> =
        by_log(before, size).into_iter().map(|(log, of_log)| (log, of_log.len())).collect();
    let changed: BTreeSet<(u32, u64)> =
        new.iter().map(|new| (new.facts.timeline, new.facts.segment().log(size))).collect();
    let old_sidecars = builder.earlier_directory(&["holdfast"])?;
    let mut sidecars = Vec::new();
    let mut timelines: BTreeMap<u32, Vec<Node>> = BTreeMap::new();
    let mut old_logs: BTreeMap<u32, Vec<Node>> = BTreeMap::new();
    for ((timeline, log), of_log) in &logs {
        let name = facts_name(*timeline, *log);
        let (timeline_name, log_name) = (format!("{timeline:08X}"), format!("{log:08X}"));
        if !old_logs.contains_key(timeline) {
            old_logs.insert(*timeline, builder.earlier_directory(&["data", "wal", &timeline_name])?);
        }
        let named = |nodes: &[Node], name: &str| nodes.iter().find(|node| node.name == name.as_bytes()).cloned();
        let old_log = old_logs.get(timeline).and_then(|nodes| named(nodes, &log_name));
        let is_same = !changed.contains(&(*timeline, *log)) && counts.get(&(*timeline, *log)) == Some(&of_log.len());
        if let (true, Some(log), Some(sidecar)) = (is_same, &old_log, named(&old_sidecars, &name)) {
            sidecars.push(sidecar);
            timelines.entry(*timeline).or_default().push(log.clone());
            continue;
        }
        let json = serde_json::to_vec(of_log).map_err(|error| WriteError::Vault(Box::new(error)))?;
        sidecars.push(builder.file(&name, &mut json.as_slice())?);
        let old = builder.earlier_directory(&["data", "wal", &timeline_name, &log_name])?;
        let mut nodes = Vec::with_capacity(of_log.len());
        for facts in of_log {
            let name = facts.segment().name(size);
            nodes.push(match new.iter().find(|new| new.facts.segment() == facts.segment()) {
                Some(new) => {
                    let mut file = File::open(&new.file).map_err(WriteError::Source)?;
                    builder.file(&name, &mut file)?
                }
                None => named(&old, &name).ok_or_else(|| {
                    WriteError::Source(std::io::Error::other(format!("segment `{name}` is not in the snapshot before")))
                })?,
            });
        }
        timelines.entry(*timeline).or_default().push(builder.directory(&log_name, nodes)?);
    }
    let mut wal = Vec::new();
    for (timeline, logs) in timelines {
        wal.push(builder.directory(&format!("{timeline:08X}"), logs)?);
    }
    let mut kept = builder.earlier_directory(&["data", "wal", "history"])?;
    for history in histories {
        let name = History::file_name(history.timeline);
        kept.retain(|node| node.name != name.as_bytes());
        kept.push(builder.file(&name, &mut history.text.as_bytes())?);
    }
    wal.push(builder.directory("history", kept)?);
    let wal = builder.directory("wal", wal)?;
    let data = builder.directory("data", vec![wal])?;
    let facts = serde_json::to_value(facts).map_err(|error| WriteError::Vault(Box::new(error)))?;
    let length = |f: &SegmentFacts| f.until.map_or(size.bytes(), |u: Lsn| u.0 - f.segment().start(size).0);
    Ok(StreamContent {
        data,
        sidecars,
        size_bytes: segments.iter().map(length).sum(),
        items: segments.len() as u64,
        facts,
    })
}

/// Segments by timeline and log.
fn by_log(segments: &[SegmentFacts], size: SegmentSize) -> BTreeMap<(u32, u64), Vec<&SegmentFacts>> {
    let mut by_log: BTreeMap<(u32, u64), Vec<&SegmentFacts>> = BTreeMap::new();
    for facts in segments {
        by_log.entry((facts.timeline, facts.segment().log(size))).or_default().push(facts);
    }
    by_log
}

struct Builder<'a> {
    writer: &'a dyn CaptureWriter,
    earlier: Option<&'a dyn SnapshotReader>,
    at: Timestamp,
}

impl Builder<'_> {
    fn earlier_directory(&self, path: &[&str]) -> Result<Vec<Node>, WriteError> {
        let Some(reader) = self.earlier else { return Ok(Vec::new()) };
        directory(reader, reader.root(), path).map_err(|error| WriteError::Vault(Box::new(error)))
    }

    fn file(&self, name: &str, source: &mut dyn std::io::Read) -> Result<Node, WriteError> {
        let content = self.writer.write_content(Chunking::Fixed(SEGMENT_CHUNK_BYTES), source)?;
        Ok(self.node(name, NodeKind::File { content: content.blobs, size: content.size }, 0o600))
    }

    fn directory(&self, name: &str, nodes: Vec<Node>) -> Result<Node, WriteError> {
        let subtree: Id = self.writer.write_tree(Tree { nodes })?;
        Ok(self.node(name, NodeKind::Dir { subtree }, 0o700))
    }

    /// What does not change keeps its time: a directory that is written again unchanged is the same.
    fn node(&self, name: &str, kind: NodeKind, mode: u32) -> Node {
        let at = match kind {
            NodeKind::File { .. } => self.at,
            _ => Timestamp::UNIX_EPOCH,
        };
        Node::unowned(name, kind, mode, at)
    }
}
