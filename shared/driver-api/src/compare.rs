//! Comparing files with the chunks they were captured as.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use vault_format::Id;

use crate::BlobSpan;

/// Whether the file has the chunk's content at the span. A file that is too short has not. The buffer is reused.
///
/// # Errors
/// When the file cannot be read.
pub fn has_span(file: &File, span: &BlobSpan, buffer: &mut Vec<u8>) -> io::Result<bool> {
    buffer.resize(span.length as usize, 0);
    match file.read_exact_at(buffer, span.offset) {
        Ok(()) => Ok(Id::new(Sha256::digest(&*buffer).into()) == span.id),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ids of chunks of zeros by their length.
#[derive(Debug, Default)]
pub struct ZeroChunks {
    ids: Mutex<HashMap<u32, Id>>,
}

impl ZeroChunks {
    /// Whether the chunk is all zeros, by its id.
    #[must_use]
    pub fn is_zero(&self, span: &BlobSpan) -> bool {
        let mut ids = self.ids.lock();
        *ids.entry(span.length).or_insert_with(|| Id::new(Sha256::digest(vec![0; span.length as usize]).into()))
            == span.id
    }
}
