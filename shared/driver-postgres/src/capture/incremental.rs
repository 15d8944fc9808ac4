//! Incremental base backups of PostgreSQL 17 and later. The server knows from its summaries of the log which blocks were
//! written since a backup whose manifest it is given, and reads and sends only those:
//! <https://www.postgresql.org/docs/17/protocol-replication.html#PROTOCOL-REPLICATION-UPLOAD-MANIFEST>.
//!
//! Only the reading is incremental. The recovery point is a whole data directory like any other: what was not sent is taken
//! over from the recovery point before, and its manifest has the checksum of each whole file.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};

use driver_api::{BlobSpan, CaptureRequest, DriverError, ReadError, SnapshotReader};
use vault_format::{Id, NodeKind};

use super::manifest::{self, Known};
use crate::error::PgError;
use crate::facts::PhysicalFacts;
use crate::page::PAGE_BYTES;

/// What the names of files begin with of which only changed blocks are sent.
const PREFIX: &str = "INCREMENTAL.";

/// Begins such a file; `INCREMENTAL_MAGIC` in PostgreSQL's `backup/basebackup_incremental.h`.
const MAGIC: u32 = 0xD3AE_1F0D;

/// Blocks of a segment of a relation, at most.
const BLOCKS_MAX: u32 = 131_072;

/// The recovery point before, as far as the next one takes its blocks from it.
pub(super) struct Base<'a> {
    reader: &'a dyn SnapshotReader,
    /// As the server is given it.
    pub(super) manifest: String,
    known: BTreeMap<String, Known>,
    files: HashMap<String, (Vec<Id>, u64)>,
}

impl<'a> Base<'a> {
    /// Loads what is needed of the parent, or says why nothing can be taken over from it.
    pub(super) fn load(
        request: &CaptureRequest<'a>,
        facts: &PhysicalFacts,
    ) -> Result<Result<Self, String>, DriverError> {
        let Some(parent) = &request.parent else { return Ok(Err("there is no recovery point before".to_owned())) };
        let Ok(before) = PhysicalFacts::read(parent.description) else {
            return Ok(Err("the recovery point before is of another kind".to_owned()));
        };
        if before.system_identifier != facts.system_identifier {
            return Ok(Err(format!(
                "the recovery point before is of the cluster {}, and this is {}",
                before.system_identifier, facts.system_identifier
            )));
        }
        if before.damaged_pages > 0 {
            return Ok(Err("the recovery point before has damaged pages, which are looked at again".to_owned()));
        }
        match Self::read(parent.reader) {
            Ok(Some(base)) if base.files.values().all(|(content, _)| request.writer.has_content(content)) => {
                Ok(Ok(base))
            }
            Ok(Some(_)) => Ok(Err("the vault has lost content of the recovery point before".to_owned())),
            Ok(None) => Ok(Err("the recovery point before has no manifest that the server takes".to_owned())),
            Err(ReadError::Stopped) => Err(DriverError::Stopped),
            Err(error) => Ok(Err(format!("the recovery point before cannot be read: {error}"))),
        }
    }

    fn read(reader: &'a dyn SnapshotReader) -> Result<Option<Self>, ReadError> {
        let mut files = HashMap::new();
        let mut open = vec![(String::new(), reader.root())];
        while let Some((path, tree)) = open.pop() {
            for node in reader.tree(&tree)?.nodes {
                let name = String::from_utf8_lossy(&node.name).into_owned();
                let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                match node.kind {
                    NodeKind::Dir { subtree } if path == "data" || path.starts_with("data/") => {
                        open.push((path, subtree));
                    }
                    NodeKind::File { content, size } => {
                        if let Some(path) = path.strip_prefix("data/") {
                            files.insert(path.to_owned(), (content, size));
                        }
                    }
                    _ => {}
                }
            }
        }
        let Some((content, _)) = files.get(manifest::NAME) else { return Ok(None) };
        let mut text = String::new();
        if let Err(error) = reader.open(content).read_to_string(&mut text) {
            return Err(ReadError::Damaged { what: manifest::NAME.to_owned(), problem: error.to_string() });
        }
        let Some(known) = manifest::known(&text) else { return Ok(None) };
        Ok(Some(Self { reader, manifest: text, known, files }))
    }

    /// What a file was, which is now sent in part.
    pub(super) fn file(&self, path: &str) -> Result<Old<'_>, DriverError> {
        let (content, size) = self.files.get(path).ok_or_else(|| {
            unexpected(format!("blocks of `{path}`, which is not in the recovery point whose manifest it has"))
        })?;
        let spans = self.reader.spans(content)?;
        let checksum = self.known.get(path).filter(|known| known.bytes == *size).and_then(|known| known.crc);
        Ok(Old { reader: self.reader, content, spans, size: *size, checksum })
    }
}

/// A file of the recovery point before.
pub(super) struct Old<'a> {
    reader: &'a dyn SnapshotReader,
    content: &'a [Id],
    spans: Vec<BlobSpan>,
    pub(super) size: u64,
    checksum: Option<u32>,
}

impl Old<'_> {
    /// The chunk that is exactly there.
    pub(super) fn chunk(&self, offset: u64, length: usize) -> Option<Id> {
        let at = self.spans.binary_search_by_key(&offset, |span| span.offset).ok()?;
        (self.spans[at].length as usize == length).then_some(self.spans[at].id)
    }

    /// The chunks that have bytes of a range.
    pub(super) fn overlapping(&self, offset: u64, length: usize) -> Vec<BlobSpan> {
        let end = offset + length as u64;
        let from = self.spans.partition_point(|span| span.offset + u64::from(span.length) <= offset);
        self.spans[from..].iter().take_while(|span| span.offset < end).copied().collect()
    }

    /// The checksum of the old content at a new length: cut, or with zeros behind it.
    pub(super) fn checksum_at(&self, size: u64) -> Result<u32, DriverError> {
        let kept = size.min(self.size);
        let crc = match self.checksum.filter(|_| kept == self.size) {
            Some(crc) => crc,
            None => {
                let mut crc = 0;
                let mut content = self.reader.open(self.content).take(kept);
                let mut buffer = vec![0; 1 << 16];
                loop {
                    match content.read(&mut buffer) {
                        Ok(0) => break crc,
                        Ok(bytes) => crc = crc32c::crc32c_append(crc, &buffer[..bytes]),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => {
                            return Err(
                                ReadError::Damaged { what: "a file".to_owned(), problem: error.to_string() }.into()
                            );
                        }
                    }
                }
            }
        };
        let zeros = [0; PAGE_BYTES];
        let mut missing = size - kept;
        let mut extended = crc;
        while missing > 0 {
            let bytes = missing.min(PAGE_BYTES as u64);
            // At most a page, so it fits.
            extended = crc32c::crc32c_append(extended, &zeros[..bytes as usize]);
            missing -= bytes;
        }
        Ok(extended)
    }
}

/// Bytes of a range of the old file, zeros where it had none.
pub(super) fn old_bytes(
    reader: &dyn SnapshotReader,
    spans: &[BlobSpan],
    offset: u64,
    length: usize,
) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; length];
    let end = offset + length as u64;
    for span in spans {
        let blob = reader.blob(&span.id)?;
        let from = offset.max(span.offset);
        let to = end.min(span.offset + blob.len() as u64);
        if from < to {
            // Both are within the range and the blob.
            let (at, start) = ((from - offset) as usize, (from - span.offset) as usize);
            let count = (to - from) as usize;
            bytes[at..at + count].copy_from_slice(&blob[start..start + count]);
        }
    }
    Ok(bytes)
}

/// What the checksum of a file changes by when a range of it changes; `behind` bytes come after the range.
pub(super) fn checksum_change(before: &[u8], after: &[u8], behind: u64) -> u32 {
    let change = crc32c::crc32c(before) ^ crc32c::crc32c(after);
    // A segment of a relation has at most 1 GiB.
    crc32c::crc32c_combine(change, 0, usize::try_from(behind).unwrap_or(usize::MAX))
}

/// The path of the whole file, for one of which only changed blocks are sent.
pub(super) fn whole_path(path: &str) -> Option<String> {
    let (directory, name) = path.rsplit_once('/')?;
    Some(format!("{directory}/{}", name.strip_prefix(PREFIX)?))
}

/// The front of such a file: `push_to_chunk` of PostgreSQL's `basebackup.c` writes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The file's blocks, unless a later one follows.
    truncation_blocks: u32,
    /// Those that follow, in their order.
    pub(super) blocks: Vec<u32>,
}

impl Header {
    /// Reads it with what fills it up to a whole page.
    pub(super) fn read(source: &mut dyn Read) -> Result<Self, DriverError> {
        let mut word = || -> io::Result<u32> {
            let mut bytes = [0; 4];
            source.read_exact(&mut bytes)?;
            Ok(u32::from_le_bytes(bytes))
        };
        let broken = PgError::Broken;
        if word().map_err(broken)? != MAGIC {
            return Err(unexpected("a file of changed blocks that does not begin as one".to_owned()));
        }
        let (count, truncation_blocks) = (word().map_err(broken)?, word().map_err(broken)?);
        if count > BLOCKS_MAX || truncation_blocks > BLOCKS_MAX {
            return Err(unexpected(format!("a file of {count} changed blocks")));
        }
        let blocks = (0..count).map(|_| word()).collect::<io::Result<Vec<u32>>>().map_err(broken)?;
        if blocks.iter().any(|block| *block >= BLOCKS_MAX) || blocks.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(unexpected("changed blocks that are not in order".to_owned()));
        }
        if count > 0 {
            let bytes = 12 + 4 * blocks.len();
            let mut filling = vec![0; bytes.next_multiple_of(PAGE_BYTES) - bytes];
            source.read_exact(&mut filling).map_err(broken)?;
        }
        Ok(Self { truncation_blocks, blocks })
    }

    /// Bytes of the whole file.
    pub(super) fn size(&self) -> u64 {
        let blocks = self.blocks.last().map_or(0, |last| last + 1).max(self.truncation_blocks);
        u64::from(blocks) * PAGE_BYTES as u64
    }
}

/// The label without the lines that say that the directory is not whole.
pub(super) fn label_of_whole(label: &str) -> String {
    label.split_inclusive('\n').filter(|line| !line.starts_with("INCREMENTAL FROM ")).collect()
}

fn unexpected(problem: String) -> DriverError {
    PgError::Unexpected { problem: format!("the server sent {problem}") }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(words: &[u32]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        if words[1] > 0 {
            bytes.resize(bytes.len().next_multiple_of(PAGE_BYTES), 0);
        }
        bytes
    }

    #[test]
    fn a_header_says_which_blocks_follow_and_how_long_the_file_is() {
        let read = |words: &[u32]| Header::read(&mut &header(words)[..]);
        assert_eq!(read(&[MAGIC, 0, 7]).unwrap().size(), 7 * 8192);
        let some = read(&[MAGIC, 2, 3, 1, 9]).unwrap();
        assert_eq!((some.size(), some.blocks), (10 * 8192, vec![1, 9]));
        let bytes = header(&[MAGIC, 1, 3, 1]);
        let mut rest = &[&bytes[..], b"block"].concat()[..];
        Header::read(&mut rest).unwrap();
        assert_eq!(rest, b"block");
        for words in [&[1, 0, 0][..], &[MAGIC, BLOCKS_MAX + 1, 0], &[MAGIC, 2, 3, 9, 1], &[MAGIC, 1, 3, BLOCKS_MAX]] {
            assert!(read(words).is_err(), "{words:?}");
        }
        assert!(Header::read(&mut &bytes[..100]).is_err());
    }

    #[test]
    fn a_checksum_follows_the_changes_of_ranges() {
        let mut file: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(n) >> 3) as u8).collect();
        let mut crc = crc32c::crc32c(&file);
        for (offset, length) in [(0, 8192), (40_000, 1), (99_999, 1), (50_000, 50_000)] {
            let before = file[offset..offset + length].to_vec();
            file[offset..offset + length].iter_mut().for_each(|byte| *byte ^= 0x5A);
            let behind = (file.len() - offset - length) as u64;
            crc ^= checksum_change(&before, &file[offset..offset + length], behind);
            assert_eq!(crc, crc32c::crc32c(&file), "{offset}");
        }
    }

    #[test]
    fn names_and_labels_become_those_of_a_whole_backup() {
        assert_eq!(whole_path("base/5/INCREMENTAL.1259_vm").as_deref(), Some("base/5/1259_vm"));
        assert_eq!(whole_path("base/5/1259"), None);
        let label = "START WAL LOCATION: 0/28\nINCREMENTAL FROM LSN: 0/20\nINCREMENTAL FROM TLI: 1\nLABEL: x\n";
        assert_eq!(label_of_whole(label), "START WAL LOCATION: 0/28\nLABEL: x\n");
    }
}
