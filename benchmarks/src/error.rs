//! Why a measurement could not be made.

use std::io;
use std::path::PathBuf;

use driver_api::{DriverError, ReadError, WriteError};
use driver_postgres::error::PgError;
use driver_postgres::follow::FollowError;
use driver_postgres::ledger::LedgerError;
use vault_engine::VaultError;
use vault_format::FormatError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{action} `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{program}` ended with {status}; its messages are in `{}`", log.display())]
    Failed { program: String, status: std::process::ExitStatus, log: PathBuf },
    #[error("the vault")]
    Vault(#[from] VaultError),
    #[error("the driver")]
    Driver(#[from] DriverError),
    #[error("read from the vault")]
    Read(#[from] ReadError),
    #[error("write to the vault")]
    Write(#[from] WriteError),
    #[error("the server")]
    Server(#[from] PgError),
    #[error("the follower")]
    Follow(#[from] FollowError),
    #[error("the followed log")]
    Ledger(#[from] LedgerError),
    #[error("the format")]
    Format(#[from] FormatError),
    #[error("JSON")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Wrong(String),
}

impl BenchError {
    /// For `map_err` of a file operation.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
