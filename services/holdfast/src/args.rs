//! The command line: nouns, then verbs.

mod bus;
mod catalogue;
mod everywhere;
mod jobs;
mod process;
mod vault_upkeep;

use clap::{Parser, Subcommand};

pub use bus::BusCommand;
pub use catalogue::{
    PlanCommand, ResourceAdd, ResourceCommand, SelectionCommand, SelectionCreate, VaultCommand, VaultCreate,
};
pub use everywhere::{Connection, OutputFormat, Tag};
pub use jobs::{
    BackupCommand, BackupStart, Browse, CheckArgs, CopyCommand, CopyStart, JobCommand, JobList, RecoveryPointCommand,
    RestoreCommand, RestoreStart, RestoreTestCommand,
};
pub use process::{DemoArgs, GuardArgs, ServiceArgs, ServiceName, UpArgs};
pub use vault_upkeep::{KeepCommand, KeyCommand, OwnVault, Scrub};

/// Data protection that proves it can restore.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, about, after_help = crate::exit::Exit::help(), max_term_width = 120)]
pub struct Cli {
    /// Where the services are and how to speak to them.
    #[command(flatten)]
    pub connection: Connection,
    /// How results are written to standard output.
    #[arg(long, global = true, value_enum, default_value_t, env = "HOLDFAST_OUTPUT")]
    pub output: OutputFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Protected things: register, list, remove
    #[command(subcommand)]
    Resource(ResourceCommand),
    /// Vaults (restic repositories): make, list, delete
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Backup plans: what is backed up when, kept how long, copied where
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Selections: which resources a plan protects
    #[command(subcommand)]
    Selection(SelectionCommand),
    /// Back a resource up now
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Copy a recovery point to another vault now
    #[command(subcommand)]
    Copy(CopyCommand),
    /// Restore a recovery point
    #[command(subcommand)]
    Restore(RestoreCommand),
    /// Restore tests: prove that recovery points can be restored
    #[command(subcommand)]
    RestoreTest(RestoreTestCommand),
    /// Jobs: list, look at, follow, stop
    #[command(subcommand)]
    Job(JobCommand),
    /// Recovery points: list, look at, browse, delete
    #[command(subcommand)]
    RecoveryPoint(RecoveryPointCommand),
    /// Look for damage in a vault and wait for the result
    Check(CheckArgs),
    /// The bus: set up its streams, look at what nobody could handle
    #[command(subcommand)]
    Bus(BusCommand),
    /// Run everything on this machine: a private bus and all services, supervised
    Up(UpArgs),
    /// Show on your own data, in under three minutes, that scheduled backups, copies and restores work
    Demo(DemoArgs),
    /// Run one service in this process
    Service(ServiceArgs),
    /// Write the completions of a shell to standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Replace this process by another program that ends when the supervisor does
    #[command(hide = true)]
    Guard(GuardArgs),
}

#[cfg(test)]
mod tests;
