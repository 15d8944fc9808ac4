//! One segment, from the snapshot and the pieces.

use driver_api::{PieceSpan, ReadError, SnapshotReader, StreamSource};
use vault_format::NodeKind;

use super::{Stored, TRIES, load, node_named};
use crate::follow::path_of;
use crate::wal::{Segment, SegmentSize};

/// What there is of a segment, from its start on; empty where there is nothing.
pub(crate) fn read_from(
    source: &dyn StreamSource,
    reader: Option<&dyn SnapshotReader>,
    pieces: &[PieceSpan],
    segment: Segment,
    size: SegmentSize,
) -> Result<Vec<u8>, ReadError> {
    let path = path_of(segment, size);
    let mut bytes = match reader {
        Some(reader) => read_file(reader, &path.each_ref().map(String::as_str))?.unwrap_or_default(),
        None => Vec::new(),
    };
    let end = segment.end(size).0;
    for span in pieces.iter().filter(|span| span.lane == segment.timeline) {
        let known = segment.start(size).0 + bytes.len() as u64;
        let PieceSpan { start, end: piece_end, .. } = *span;
        if start <= known && known < piece_end && known < end {
            let piece = source.piece(*span)?;
            bytes.extend(&piece[(known - start) as usize..(piece_end.min(end) - start) as usize]);
        }
    }
    Ok(bytes)
}

/// The content of a file of the snapshot.
pub(crate) fn read_file(reader: &dyn SnapshotReader, path: &[&str]) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(node) = node_named(reader, path)? else { return Ok(None) };
    let NodeKind::File { content, .. } = &node.kind else { return Ok(None) };
    let mut bytes = Vec::new();
    for id in content {
        bytes.extend(reader.blob(id)?);
    }
    Ok(Some(bytes))
}

/// The same of what is durable now, while a follower takes pieces up.
pub(crate) fn read_now(source: &dyn StreamSource, segment: Segment, size: SegmentSize) -> Result<Vec<u8>, ReadError> {
    let mut tries = 0;
    loop {
        let stored: Stored = load(source).map_err(|error| ReadError::Vault(Box::new(error)))?;
        let mut read = Ok(Vec::new());
        source.look(&mut |state| {
            read = read_from(source, state.as_ref().map(|state| state.reader), &stored.pieces, segment, size);
            Ok(())
        })?;
        tries += 1;
        match read {
            Err(ReadError::Damaged { .. }) if tries < TRIES => {}
            other => return other,
        }
    }
}
