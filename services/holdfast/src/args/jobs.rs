//! What is started, followed and looked at.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use job_model::{JobId, JobKind, JobState, OverwritePolicy};

use super::Tag;

/// `holdfast backup`.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Back a resource up now
    Start(BackupStart),
}

/// `holdfast backup start`.
#[derive(Debug, Args)]
pub struct BackupStart {
    /// The resource's name or ARN
    pub resource: String,
    /// The vault's name or ARN
    #[arg(long, value_name = "VAULT")]
    pub vault: String,
    /// Days the recovery point is kept; for ever unless given
    #[arg(long, value_name = "DAYS")]
    pub delete_after_days: Option<u32>,
    /// Vault to copy the recovery point to afterwards; may be repeated
    #[arg(long = "copy-to", value_name = "VAULT")]
    pub copy_to: Vec<String>,
    /// Tag of the recovery point, `KEY=VALUE`; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub tags: Vec<Tag>,
    /// Wait until the job ended
    #[arg(long)]
    pub wait: bool,
}

/// `holdfast copy`.
#[derive(Debug, Subcommand)]
pub enum CopyCommand {
    /// Copy a recovery point to another vault now
    Start(CopyStart),
}

/// `holdfast copy start`.
#[derive(Debug, Args)]
pub struct CopyStart {
    /// The recovery point's ARN or id
    pub recovery_point: String,
    /// The other vault's name or ARN
    #[arg(long = "to", value_name = "VAULT")]
    pub to: String,
    /// Days the copy is kept; for ever unless given
    #[arg(long, value_name = "DAYS")]
    pub delete_after_days: Option<u32>,
    /// Wait until the job ended
    #[arg(long)]
    pub wait: bool,
}

/// What a restore may do where something exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OverwriteName {
    /// The target must not exist, or be an empty directory
    #[default]
    Refuse,
    /// Replace what differs, keep the rest
    IfChanged,
    /// Replace what is older than in the recovery point
    IfNewer,
    /// Add what is missing, touch nothing else
    Never,
    /// Make the target equal to the recovery point; deletes what the recovery point does not have
    Exact,
}

impl From<OverwriteName> for OverwritePolicy {
    fn from(name: OverwriteName) -> Self {
        match name {
            OverwriteName::Refuse => Self::Refuse,
            OverwriteName::IfChanged => Self::IfChanged,
            OverwriteName::IfNewer => Self::IfNewer,
            OverwriteName::Never => Self::Never,
            OverwriteName::Exact => Self::Exact,
        }
    }
}

/// `holdfast restore`.
#[derive(Debug, Subcommand)]
pub enum RestoreCommand {
    /// Restore a recovery point to a place of your choice
    Start(RestoreStart),
}

/// `holdfast restore start`.
#[derive(Debug, Args)]
pub struct RestoreStart {
    /// The recovery point's ARN or id
    pub recovery_point: String,
    /// Where to, on the machine of the restore-worker: a path, or a `file://` URL
    #[arg(long = "to", value_name = "PATH")]
    pub to: String,
    /// Of a continuous recovery point: everything up to and including this instant, `2026-11-20T05:00:07Z`; the newest
    /// unless given
    #[arg(long, value_name = "INSTANT", group = "instant")]
    pub to_time: Option<jiff::Timestamp>,
    /// Of a continuous recovery point: up to and including this position of its log, `0/3000148`
    #[arg(long, value_name = "LSN", group = "instant")]
    pub to_lsn: Option<String>,
    /// Of a continuous recovery point: up to the point that was given this name with `pg_create_restore_point`
    #[arg(long, value_name = "NAME", group = "instant")]
    pub to_point: Option<String>,
    /// Of a continuous recovery point: the newest instant
    #[arg(long, group = "instant")]
    pub to_latest: bool,
    /// What may be touched there
    #[arg(long, value_enum, default_value_t)]
    pub overwrite: OverwriteName,
    /// Path below the resource to restore; may be repeated, all unless given
    #[arg(long = "include", value_name = "PATH")]
    pub include: Vec<String>,
    /// Restore metadata, by AWS's names or the driver's own, for example `StartServer=true` and `Port=5433` for a
    /// PostgreSQL server; may be repeated
    #[arg(long = "metadata", value_name = "KEY=VALUE")]
    pub metadata: Vec<Tag>,
    /// Wait until the job ended
    #[arg(long)]
    pub wait: bool,
}

/// `holdfast restore-test`.
#[derive(Debug, Subcommand)]
pub enum RestoreTestCommand {
    /// Make a restore testing plan of a file in TOML or JSON, or replace the one of that name
    Create {
        /// The file (docs/reference/plan-file.md); `-` reads JSON from standard input
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// List restore testing plans
    List,
    /// Run a restore testing plan now
    Run {
        /// Its name
        name: String,
        /// Wait for the verdicts
        #[arg(long)]
        wait: bool,
    },
    /// Show a restore testing plan's newest runs, or one run with its verdicts
    Show {
        /// The plan's name, or the id of a run
        name: String,
    },
    /// Delete a restore testing plan; its verdicts stay
    Delete {
        /// Its name
        name: String,
    },
}

/// Kinds of jobs, as `--kind` takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindName {
    Backup,
    Copy,
    Restore,
    Verification,
    Maintenance,
}

impl From<KindName> for JobKind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Backup => Self::Backup,
            KindName::Copy => Self::Copy,
            KindName::Restore => Self::Restore,
            KindName::Verification => Self::Verification,
            KindName::Maintenance => Self::Maintenance,
        }
    }
}

/// States of jobs, as `--state-is` takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateName {
    Created,
    Pending,
    Running,
    Aborting,
    Aborted,
    Completed,
    Failed,
    Expired,
    Partial,
}

impl From<StateName> for JobState {
    fn from(name: StateName) -> Self {
        match name {
            StateName::Created => Self::Created,
            StateName::Pending => Self::Pending,
            StateName::Running => Self::Running,
            StateName::Aborting => Self::Aborting,
            StateName::Aborted => Self::Aborted,
            StateName::Completed => Self::Completed,
            StateName::Failed => Self::Failed,
            StateName::Expired => Self::Expired,
            StateName::Partial => Self::Partial,
        }
    }
}

/// `holdfast job`.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// List jobs, newest first
    List(JobList),
    /// Show one job
    Show {
        /// Its id
        job: JobId,
    },
    /// Follow one job until it ends, or all jobs until you stop
    Watch {
        /// Its id; all jobs of the region unless given
        job: Option<JobId>,
    },
    /// Ask a job to stop
    Stop {
        /// Its id
        job: JobId,
    },
}

/// `holdfast job list`.
#[derive(Debug, Args)]
pub struct JobList {
    /// Only of this kind
    #[arg(long, value_enum)]
    pub kind: Option<KindName>,
    /// Only in this state
    #[arg(long = "state-is", value_enum, value_name = "STATE")]
    pub state_is: Option<StateName>,
    /// Only of this resource (name or ARN)
    #[arg(long, value_name = "RESOURCE")]
    pub resource: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

/// `holdfast recovery-point`.
#[derive(Debug, Subcommand)]
pub enum RecoveryPointCommand {
    /// List recovery points, newest first
    List {
        /// Only in this vault (name or ARN)
        #[arg(long, value_name = "VAULT")]
        vault: Option<String>,
        /// Only of this resource (name or ARN)
        #[arg(long, value_name = "RESOURCE")]
        resource: Option<String>,
    },
    /// Show one recovery point and why it is kept
    Show {
        /// Its ARN or id
        recovery_point: String,
    },
    /// Look into a recovery point: list a directory or print a file. Opens the vault from here, read-only
    Browse(Browse),
    /// Delete a recovery point
    Delete {
        /// Its ARN or id
        recovery_point: String,
        /// Wait until it is gone from its vault
        #[arg(long)]
        wait: bool,
    },
}

/// `holdfast recovery-point browse`.
#[derive(Debug, Args)]
pub struct Browse {
    /// Its ARN or id
    pub recovery_point: String,
    /// Path in it; `data` is the resource, `holdfast` our description of it
    #[arg(default_value = "/")]
    pub path: String,
    /// Write the content of the file at the path to standard output
    #[arg(long)]
    pub print: bool,
    /// File with the key and store profiles that open vaults, as in a worker's configuration
    /// [default: the profiles of the `holdfast up` of --state]
    #[arg(long, value_name = "FILE")]
    pub profiles: Option<PathBuf>,
}

/// `holdfast check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The vault's name or ARN
    pub vault: String,
    /// Read and verify every byte, not only the structure
    #[arg(long)]
    pub read_data: bool,
    /// The vault's cold repository instead of its warm one
    #[arg(long)]
    pub cold: bool,
}
