//! How a row looks on disk.
//!
//! A row of up to [`PIECE_BYTES`]: version (1 byte, never 0), JSON, CRC-32C of both (4 bytes, big-endian). A larger one is
//! cut: its table holds a header (0, length, number of pieces, CRC-32C of these), and the tree `<table>~pieces` holds the
//! pieces of the encoded row under `<key><index>`. All numbers are big-endian `u32`. A piece's key is injective because the
//! index has a fixed width.

use crate::record::Record;

/// Longest row or piece stored in one value. sled writes a page of more than 128 KiB to a file it never syncs; a page has
/// at most 17 items, so 3 KiB and a key of 512 bytes stay far below.
pub(crate) const PIECE_BYTES: usize = 3 << 10;

const CRC: usize = 4;
const HEADER: usize = 1 + 4 + 4 + CRC;

/// What the value of a row in its own table says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// The row itself.
    Whole,
    /// The row is in pieces.
    Pieces { bytes: u32, count: u32 },
}

/// Tree of a table's pieces.
pub(crate) fn pieces_tree(table: &str) -> String {
    format!("{table}~pieces")
}

/// Key of one piece.
pub(crate) fn piece_key(key: &[u8], index: u32) -> Vec<u8> {
    let mut piece = Vec::with_capacity(key.len() + 4);
    piece.extend_from_slice(key);
    piece.extend_from_slice(&index.to_be_bytes());
    piece
}

/// Appends the checksum of what is there.
pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// What stands before a right checksum.
pub(crate) fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (body, crc) = bytes.split_last_chunk::<CRC>()?;
    (crc32c::crc32c(body) == u32::from_be_bytes(*crc)).then_some(body)
}

/// The row of a value.
pub(crate) fn encode<R: Record>(record: &R) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = vec![R::VERSION];
    serde_json::to_writer(&mut bytes, record)?;
    Ok(seal(bytes))
}

/// The header of a row in pieces.
pub(crate) fn header(bytes: u32, count: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    header.push(0);
    header.extend_from_slice(&bytes.to_be_bytes());
    header.extend_from_slice(&count.to_be_bytes());
    seal(header)
}

/// Looks at the value of a row in its own table.
pub(crate) fn inspect(value: &[u8]) -> Result<Stored, &'static str> {
    let body = unseal(value).ok_or("its checksum is wrong")?;
    match body {
        [0, rest @ ..] => {
            let (bytes, count) = rest.split_first_chunk::<4>().ok_or("its header is cut")?;
            let count = count.try_into().map_err(|_| "its header has the wrong length")?;
            Ok(Stored::Pieces { bytes: u32::from_be_bytes(*bytes), count: u32::from_be_bytes(count) })
        }
        [_, ..] => Ok(Stored::Whole),
        [] => Err("it is empty"),
    }
}

/// Version and JSON of a whole row.
pub(crate) fn open(row: &[u8]) -> Result<(u8, &[u8]), &'static str> {
    match unseal(row).ok_or("its checksum is wrong")? {
        [0, ..] | [] => Err("it has no version"),
        [version, json @ ..] => Ok((*version, json)),
    }
}

/// The value of a row's JSON.
pub(crate) fn decode<R: Record>(version: u8, json: &[u8]) -> Result<R, String> {
    if version == R::VERSION {
        return serde_json::from_slice(json).map_err(|e| e.to_string());
    }
    if version > R::VERSION {
        return Err(format!("this version knows shapes up to {}", R::VERSION));
    }
    let value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    serde_json::from_value(R::upgrade(version, value)?).map_err(|e| e.to_string())
}
