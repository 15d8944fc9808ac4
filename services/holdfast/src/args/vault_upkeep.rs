//! `holdfast vault key`, `keep` and `scrub`: what is done to a vault with the keys of this machine, past the services.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use job_model::RecoveryPointId;

/// Where the vault is and what opens it.
#[derive(Debug, Args)]
pub struct OwnVault {
    /// The vault's name or ARN
    pub vault: String,
    /// File with the key and store profiles that open vaults, as in a worker's configuration
    /// [default: the profiles of the `holdfast up` of --state]
    #[arg(long, value_name = "FILE")]
    pub profiles: Option<PathBuf>,
    /// The vault's cold repository instead of its warm one
    #[arg(long)]
    pub cold: bool,
}

/// `holdfast vault key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the secrets that open a vault
    List(OwnVault),
    /// Let the secret of another key profile open it too; no data is rewritten
    Add {
        /// Where
        #[command(flatten)]
        on: OwnVault,
        /// The key profile with the new secret
        #[arg(long, value_name = "NAME")]
        new_key_profile: String,
    },
    /// Take a secret away; the one that opens the vault for this command stays
    Revoke {
        /// Where
        #[command(flatten)]
        on: OwnVault,
        /// The key's id, as `list` shows it
        #[arg(long, value_name = "ID")]
        key: String,
    },
}

/// `holdfast vault keep`.
#[derive(Debug, Subcommand)]
pub enum KeepCommand {
    /// Show what protects the vault's recovery points
    Show(OwnVault),
    /// Keep a recovery point at least until a time; never shortened
    Retain {
        /// Where
        #[command(flatten)]
        on: OwnVault,
        /// Id of the recovery point
        #[arg(long, value_name = "ID")]
        recovery_point: RecoveryPointId,
        /// Until when, such as `2027-01-01T00:00:00Z`
        #[arg(long, value_name = "TIME")]
        until: Timestamp,
    },
    /// Keep recovery points until the hold is released
    Hold {
        /// Where
        #[command(flatten)]
        on: OwnVault,
        /// Name of the hold
        #[arg(long, value_name = "NAME")]
        hold: String,
        /// Id of a recovery point, may be repeated; without any it holds all there are and will be
        #[arg(long = "recovery-point", value_name = "ID")]
        recovery_points: Vec<RecoveryPointId>,
    },
    /// End a hold
    Release {
        /// Where
        #[command(flatten)]
        on: OwnVault,
        /// Name of the hold
        #[arg(long, value_name = "NAME")]
        hold: String,
    },
    /// Let no recovery point be deleted before it is so many days old
    Lock {
        /// Where
        #[command(flatten)]
        on: OwnVault,
        /// So many days
        #[arg(long, value_name = "DAYS")]
        min_retention_days: u32,
        /// From when on the lock can only become stricter; without it the lock can be taken away
        #[arg(long, value_name = "TIME")]
        fixed_from: Option<Timestamp>,
    },
    /// Take the lock away, as long as it is not fixed
    Unlock(OwnVault),
}

/// `holdfast vault scrub`.
#[derive(Debug, Args)]
pub struct Scrub {
    /// Where
    #[command(flatten)]
    pub on: OwnVault,
    /// Read packs of so many MiB, those first that were read longest ago
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    pub read_mib: u64,
}
