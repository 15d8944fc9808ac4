//! The number of the newest acknowledged commit, kept beside the database.
//!
//! A database whose file lost its tail opens without complaint in an older state. The mark tells: it is written after each
//! barrier and never before, so it is a number that the database must at least have. It is not synced; after a power cut it
//! may lag behind, never run ahead. It fits into one sector and is overwritten in place.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::row;

/// The file's name, in the directory of the database.
const NAME: &str = "acknowledged";

/// The file's length: the number and its checksum.
const BYTES: u64 = 12;

/// The open mark file.
#[derive(Debug)]
pub(crate) struct Mark(File);

impl Mark {
    /// Opens the file for writing.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(NAME)).map(Self)
    }

    /// Remembers a number.
    pub(crate) fn set(&self, number: u64) -> io::Result<()> {
        self.0.write_all_at(&row::seal(number.to_be_bytes().to_vec()), 0)
    }

    /// Remembers a number in a file that may be new or damaged.
    pub(crate) fn reset(&self, number: u64) -> io::Result<()> {
        self.set(number)?;
        self.0.set_len(BYTES)?;
        self.0.sync_all()
    }

    /// The number in a directory; `None` when the file is missing or damaged.
    pub(crate) fn read(dir: &Path) -> Option<u64> {
        let bytes = std::fs::read(dir.join(NAME)).ok()?;
        let body = row::unseal(&bytes)?;
        body.try_into().ok().map(u64::from_be_bytes)
    }
}
