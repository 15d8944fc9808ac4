//! Chunk, deduplicate, compress, encrypt, pack, index, read, copy and check vaults.

mod check;
mod copy;
mod description;
mod error;
mod index;
mod locks;
mod profiles;
mod ranges;
mod reader;
mod store;
mod surroundings;
mod vault;
mod writer;

pub use check::{CheckFinding, CheckFindingKind, CheckOptions, CheckReport};
pub use copy::{Copied, CopyRequest, copy_snapshot};
pub use description::{DESCRIPTION_SCHEMA, RecoveryPointDescription, read_description, snapshot_root};
pub use error::VaultError;
pub use profiles::{KeyProfile, Profiles, StoreProfile};
pub use reader::Reader;
pub use store::StoreError;
pub use surroundings::Surroundings;
pub use vault::{DamagedFile, SnapshotListing, SnapshotSummary, Vault, recovery_point_tag};
pub use writer::{Committed, SnapshotInput, WriteStats, Writer};
