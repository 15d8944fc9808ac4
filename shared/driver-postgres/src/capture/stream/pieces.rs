//! Stores what arrives, on threads of its own.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;

use driver_api::{BlobSpan, DriverError};
use parking_lot::Mutex;
use vault_format::Id;

use crate::capture::online::Online;
use crate::capture::{Store, incremental};
use crate::page::PAGE_BYTES;

/// Reads pages again, over the connection for queries; a role without the right to do so cannot.
pub(super) struct PageReader<'a, 'b> {
    pub(super) online: &'a mut Online<'b>,
    pub(super) usable: bool,
}

impl PageReader<'_, '_> {
    fn read(&mut self, path: &str, page: u32) -> Option<Vec<u8>> {
        if !self.usable {
            return None;
        }
        let offset = u64::from(page) * PAGE_BYTES as u64;
        let path = path.replace('\'', "''");
        let sql = format!("SELECT encode(pg_read_binary_file('{path}', {offset}, {PAGE_BYTES}, true), 'hex')");
        match self.online.queries.query(&sql) {
            Ok(rows) => hex::decode(rows.value(0, 0)?).ok(),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "pages cannot be read again; make the role a member of `pg_read_server_files`"
                );
                self.usable = false;
                None
            }
        }
    }
}

/// What a thread is given.
pub(super) struct Piece {
    /// The file's number.
    pub(super) number: usize,
    pub(super) path: String,
    pub(super) offset: u64,
    pub(super) content: Content,
}

pub(super) enum Content {
    /// All of it, to be cut into chunks.
    Sent { bytes: Vec<u8>, chunk_bytes: usize },
    /// One chunk, of which some blocks were sent.
    Changed { length: usize, behind: u64, old: Vec<BlobSpan>, blocks: Vec<(u32, Vec<u8>)> },
}

#[derive(Default)]
pub(super) struct Stored {
    pub(super) pieces: BTreeMap<usize, Vec<(u64, Vec<Id>)>>,
    /// By how much the checksums of files change that were sent in part.
    pub(super) changes: BTreeMap<usize, u32>,
    pub(super) failed: Option<DriverError>,
}

pub(super) fn store_pieces(
    store: &Store<'_>,
    receiver: &Mutex<Receiver<Piece>>,
    stored: &Mutex<Stored>,
    pages: &Mutex<PageReader<'_, '_>>,
) {
    loop {
        let received = receiver.lock().recv();
        let Ok(piece) = received else { return };
        if stored.lock().failed.is_some() {
            continue;
        }
        if let Err(error) = store_piece(store, &piece, stored, pages) {
            stored.lock().failed.get_or_insert(error);
        }
    }
}

fn store_piece(
    store: &Store<'_>,
    piece: &Piece,
    stored: &Mutex<Stored>,
    pages: &Mutex<PageReader<'_, '_>>,
) -> Result<(), DriverError> {
    match &piece.content {
        Content::Sent { bytes, chunk_bytes } => {
            // What cannot be read again counts as it was read: a page that is right needs no second look.
            let read_again = |path: &str, page: u32| {
                let again = pages.lock().read(path, page);
                again.or_else(|| {
                    let from = (u64::from(page) * PAGE_BYTES as u64).checked_sub(piece.offset)?;
                    let from = usize::try_from(from).ok()?;
                    bytes.get(from..from + PAGE_BYTES).map(<[u8]>::to_vec)
                })
            };
            let ids = store.piece(&piece.path, piece.offset, bytes, *chunk_bytes, &read_again)?;
            stored.lock().pieces.entry(piece.number).or_default().push((piece.offset, ids));
        }
        Content::Changed { length, behind, old, blocks } => {
            let Some(parent) = &store.request.parent else { return Ok(()) };
            let before = incremental::old_bytes(parent.reader, old, piece.offset, *length)?;
            let mut after = before.clone();
            for (block, bytes) in blocks {
                let read_again = |path: &str, page: u32| pages.lock().read(path, page).or_else(|| Some(bytes.clone()));
                store.judge_block(&piece.path, *block, bytes, &read_again);
                // Blocks are given to the chunk that they lie in.
                let at = (u64::from(*block) * PAGE_BYTES as u64 - piece.offset) as usize;
                after[at..at + PAGE_BYTES].copy_from_slice(bytes);
            }
            let id = store.chunk(&after, (blocks.len() * PAGE_BYTES) as u64)?;
            let change = incremental::checksum_change(&before, &after, *behind);
            let mut stored = stored.lock();
            *stored.changes.entry(piece.number).or_default() ^= change;
            stored.pieces.entry(piece.number).or_default().push((piece.offset, vec![id]));
        }
    }
    Ok(())
}
