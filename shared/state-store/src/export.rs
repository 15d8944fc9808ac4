//! The logical copy of all rows.
//!
//! Format: `HOLDFAST-STATE-1\n`; a header (`u32` length, JSON: [`Header`]); records (`u32` length, then `u16` index of the
//! tree in the header, `u32` length of the key, key, value); a trailer (`u32` zero, `u64` number of records, SHA-256 of
//! everything before it). Numbers are big-endian. The rows are the stored bytes, the store's own tree is not among them.
//!
//! Files are `state-<UTC>.export`, so that their names sort by time. One that exists under this name was finished.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::backend::{ALL_KEYS, Direction};
use crate::engine::Engine;
use crate::error::{ExportError, ImportError, StoreError};
use crate::scan::{Digest, META};
use crate::{KEY_BYTES_MAX, row};

const MAGIC: &[u8] = b"HOLDFAST-STATE-1\n";

/// How many exports stay: two days of hourly ones.
const KEEP: usize = 48;

const PREFIX: &str = "state-";
const SUFFIX: &str = ".export";

/// No header is longer; a length above it is damage, not a reason to allocate.
const HEADER_BYTES_MAX: u32 = 1 << 20;

/// What stands at the beginning of an export.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) instance: String,
    /// Number of the newest commit in it.
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    trees: Vec<TreeHeader>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TreeHeader {
    name: String,
    rows: u64,
}

impl Header {
    pub(crate) fn rows(&self) -> u64 {
        self.trees.iter().map(|tree| tree.rows).sum()
    }
}

/// What an import brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportSummary {
    /// Tables, with the store's own ones for pieces and counters.
    pub tables: usize,
    /// Rows in them.
    pub rows: u64,
    /// When the export was made.
    pub exported_at: Timestamp,
    /// Identity of the state it was made from.
    pub exported_from: String,
    /// Number of the newest transaction in it.
    pub number: u64,
    /// Identity of the new state.
    pub instance: String,
}

/// A writer that hashes what it writes.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Hashed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.inner.write_all(bytes)
    }
}

/// All exports of a directory, oldest first.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            files.push(dir.join(name.as_ref()));
        }
    }
    files.sort();
    Ok(files)
}

/// Writes an export, durable when this returns, and removes the oldest.
pub(crate) fn export(engine: &Engine, dir: &Path, at: Timestamp) -> Result<PathBuf, ExportError> {
    if let Some(failure) = engine.failure() {
        return Err(failure.into());
    }
    let fail = |step, path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::Io { step, path, source }
    };
    std::fs::create_dir_all(dir).map_err(fail("create directory", dir))?;
    let name = format!("{PREFIX}{}{SUFFIX}", at.strftime("%Y%m%dT%H%M%S.%9fZ"));
    let (temporary, path) = (dir.join(format!("{name}.tmp")), dir.join(name));
    let written = File::create(&temporary).map_err(fail("create", &temporary)).and_then(|file| {
        let mut out = Hashed { inner: BufWriter::new(file), hash: Sha256::new() };
        write_rows(engine, at, &mut out).map_err(|error| match error {
            WriteError::Io(source) => ExportError::Io { step: "write", path: temporary.clone(), source },
            WriteError::Store(error) => ExportError::Store(error),
        })?;
        let file = out.inner.into_inner().map_err(|e| e.into_error()).map_err(fail("write", &temporary))?;
        file.sync_all().map_err(fail("sync", &temporary))?;
        std::fs::rename(&temporary, &path).map_err(fail("rename", &temporary))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail("sync directory", dir))
    });
    if let Err(error) = written {
        // The unfinished file is only in the way; the first error is the one to tell.
        let _left = std::fs::remove_file(&temporary);
        return Err(error);
    }
    let files = list(dir).map_err(fail("list", dir))?;
    for old in files.iter().take(files.len().saturating_sub(KEEP)) {
        std::fs::remove_file(old).map_err(fail("remove the old export", old))?;
    }
    Ok(path)
}

enum WriteError {
    Io(io::Error),
    Store(StoreError),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn write_rows<W: Write>(engine: &Engine, at: Timestamp, out: &mut Hashed<W>) -> Result<(), WriteError> {
    let trees: Vec<_> = engine.digests().iter().collect();
    let header = Header {
        instance: engine.instance().to_owned(),
        number: engine.number(),
        at,
        trees: trees.iter().map(|(name, digest)| TreeHeader { name: (*name).clone(), rows: digest.rows }).collect(),
    };
    let header = serde_json::to_vec(&header).map_err(io::Error::from)?;
    out.put(MAGIC)?;
    out.put(&length(header.len())?)?;
    out.put(&header)?;
    let mut count: u64 = 0;
    for (index, (tree, expected)) in trees.into_iter().enumerate() {
        let index = u16::try_from(index).map_err(io::Error::other)?;
        let mut found = Digest::default();
        let mut problem = None;
        let visited = engine.backend().visit(tree, ALL_KEYS, Direction::Forward, &mut |key, value| {
            found.add(key, value);
            count += 1;
            match write_record(out, index, key, value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    problem = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        let unreadable = |source| StoreError::Read { table: tree.clone(), source: Arc::new(source) };
        visited.map_err(|source| WriteError::Store(unreadable(source)))?;
        if let Some(error) = problem {
            return Err(error.into());
        }
        if found != *expected {
            let problem = "the rows do not add up to what was written".to_owned();
            return Err(WriteError::Store(StoreError::Damaged { table: tree.clone(), key: "*".to_owned(), problem }));
        }
    }
    out.put(&[0; 4])?;
    out.put(&count.to_be_bytes())?;
    let hash = out.hash.clone().finalize();
    out.put(&hash)?;
    Ok(())
}

fn write_record<W: Write>(out: &mut Hashed<W>, tree: u16, key: &[u8], value: &[u8]) -> io::Result<()> {
    out.put(&length(2 + 4 + key.len() + value.len())?)?;
    out.put(&tree.to_be_bytes())?;
    out.put(&length(key.len())?)?;
    out.put(key)?;
    out.put(value)
}

fn length(bytes: usize) -> io::Result<[u8; 4]> {
    u32::try_from(bytes).map(u32::to_be_bytes).map_err(io::Error::other)
}

/// What is done with a row: tree, key, value.
pub(crate) type Take<'a> = &'a mut dyn FnMut(&str, &[u8], &[u8]) -> Result<(), ImportError>;

/// Reads an export; it is whole and unchanged only when this returns `Ok`.
pub(crate) fn read(path: &Path, take: Take<'_>) -> Result<Header, ImportError> {
    let damaged = |problem: String| ImportError::Damaged { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|source| ImportError::Io { step: "open", path: path.to_owned(), source })?;
    let mut input = Input { inner: BufReader::new(file), hash: Sha256::new(), path };
    if input.bytes(MAGIC.len())? != MAGIC {
        return Err(damaged("it does not begin as one".to_owned()));
    }
    let header = input.length(HEADER_BYTES_MAX)?;
    let header = input.bytes(header)?;
    let header: Header = serde_json::from_slice(&header).map_err(|e| damaged(format!("its header is wrong: {e}")))?;
    let mut counts = BTreeMap::<u16, u64>::new();
    // Of a record: tree, length of the key, key, and a row or piece with its frame.
    let longest = 2 + 4 + (KEY_BYTES_MAX + 4 + row::PIECE_BYTES + 64) as u32;
    loop {
        let bytes = input.length(longest)?;
        if bytes == 0 {
            break;
        }
        let record = input.bytes(bytes)?;
        let (tree, key, value) = split(&record).ok_or_else(|| damaged("a record is malformed".to_owned()))?;
        let name = header.trees.get(usize::from(tree)).map(|tree| tree.name.as_str());
        let name = name.filter(|name| *name != META).ok_or_else(|| damaged("a record is of no table".to_owned()))?;
        *counts.entry(tree).or_default() += 1;
        take(name, key, value)?;
    }
    let count = input.bytes(8)?;
    let hash = input.hash.clone().finalize();
    if input.bytes(32)? != hash.as_slice() {
        return Err(damaged("its checksum is wrong".to_owned()));
    }
    let promised = |(index, tree): (usize, &TreeHeader)| {
        u16::try_from(index).is_ok_and(|index| counts.get(&index).copied().unwrap_or_default() == tree.rows)
    };
    if count != counts.values().sum::<u64>().to_be_bytes() || !header.trees.iter().enumerate().all(promised) {
        return Err(damaged("it does not hold the rows it promises".to_owned()));
    }
    Ok(header)
}

fn split(record: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (tree, rest) = record.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_first_chunk::<4>()?;
    let (key, value) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*key)).ok()?)?;
    Some((u16::from_be_bytes(*tree), key, value))
}

/// A reader that hashes what it reads.
struct Input<'a> {
    inner: BufReader<File>,
    hash: Sha256,
    path: &'a Path,
}

impl Input<'_> {
    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, ImportError> {
        let path = || self.path.to_owned();
        let mut bytes = vec![0; count];
        match self.inner.read_exact(&mut bytes) {
            Ok(()) => {
                self.hash.update(&bytes);
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(ImportError::Damaged { path: path(), problem: "it is cut".to_owned() })
            }
            Err(source) => Err(ImportError::Io { step: "read", path: path(), source }),
        }
    }

    fn length(&mut self, most: u32) -> Result<usize, ImportError> {
        let bytes = self.bytes(4)?;
        let length = bytes.as_slice().try_into().map_or(u32::MAX, u32::from_be_bytes);
        let damaged = || ImportError::Damaged { path: self.path.to_owned(), problem: "a length is absurd".to_owned() };
        if length > most { Err(damaged()) } else { usize::try_from(length).map_err(|_| damaged()) }
    }
}
