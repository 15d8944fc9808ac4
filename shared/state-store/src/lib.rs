//! Durable state of one service: the only crate that links sled.
//!
//! It knows how a change becomes durable and how damage is noticed. It does not know what the rows mean, and nothing of
//! the bus.
//!
//! * One writer thread owns the database. Callers send it closures ([`StateStore::transact`]); it runs each against an
//!   overlay, commits what the closure wrote in every table at once, and answers a whole group after **one** barrier:
//!   `flush()` *and* `fdatasync` of the data file, because sled's flush is no fsync. What `transact` returned is on disk.
//! * Every row carries its version and a CRC-32C. Every table has a running count and digest, and every commit a number
//!   that is also kept beside the data, so that a full scan at the start notices a row that was lost, a row that came back
//!   and a file that was cut. A damaged directory is moved aside, and the newest good export takes its place, loudly.
//! * An error of a commit or a barrier cannot be retried (the kernel may have dropped the pages): the process aborts, and
//!   what was not acknowledged is done again after the restart.
//! * [`StateStore::in_memory`] has the same semantics and no thread, for simulations and tests.
//!
//! A closure that panics changes nothing, and the panic continues in the caller. Rows above 3 KiB are stored in pieces,
//! because sled writes large pages to files it never syncs.

mod backend;
mod config;
mod engine;
mod error;
mod export;
mod instance;
mod open;
mod record;
mod row;
mod scan;
mod store;
mod tx;

pub use config::{OnFatal, StoreConfig};
pub use error::{BackendError, ExportError, ImportError, OpenError, StoreError, TransactError};
pub use export::ImportSummary;
pub use open::{Opened, Recovery};
pub use record::{Record, Table};
pub use store::StateStore;
pub use tx::Tx;

/// Largest row, encoded, in bytes. Bulk data belongs into a vault.
pub const ROW_BYTES_MAX: usize = 1 << 20;

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 512;
