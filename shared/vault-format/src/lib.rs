//! restic repository format version 2: encode and decode, pure.
//!
//! The source of the format is restic's own design document (`doc/design.rst`, "Repository Format" and "Trees and Data").
//!
//! This crate knows bytes and nothing else: no files, no clock, no source of randomness. Nonces, salts and keys come from
//! the caller. Every decoder treats its input as hostile: it never panics, and what it allocates is bounded by the size
//! of its input or by a stated limit ([`BLOB_BYTES_MAX`], [`UNPACKED_BYTES_MAX`], [`PACK_HEADER_BYTES_MAX`]).

mod blob;
mod config;
mod crypto;
mod digests;
mod error;
mod go_json;
mod id;
mod index;
mod key_file;
mod lock;
mod mode;
mod node;
mod pack;
mod poly1305_lanes;
mod polynomial;
mod quote;
mod snapshot;
mod tree_json;
mod unpacked;

pub use blob::{
    BLOB_BYTES_MAX, BlobCompressor, BlobKind, BlobOpener, BlobSealer, BlobToOpen, OpenedBlob, SealedBlob, open_blob,
    unpack_blob,
};
pub use config::Config;
pub use crypto::{MasterKey, NONCE_BYTES, SEAL_OVERHEAD, TAG_BYTES};
pub use error::FormatError;
pub use id::{Id, InvalidId};
pub use index::{IndexFile, IndexedPack};
pub use key_file::{KdfParams, KeyFile};
pub use lock::{LockFile, LockPurpose};
pub use node::{Node, NodeKind, NodeTime, Tree, Xattr};
pub use pack::{
    PACK_HEADER_BYTES_MAX, PACK_TRAILER_BYTES, PackedBlob, decode_pack_header, encode_pack_header, pack_file_length,
    pack_header_length,
};
pub use polynomial::ChunkerPolynomial;
pub use snapshot::Snapshot;
pub use tree_json::{decode_tree, encode_tree};
pub use unpacked::{ShortLivedSealer, UNPACKED_BYTES_MAX, decode_unpacked, encode_unpacked};
