//! Resources, vaults, plans, selections.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use job_model::{AccountId, ResourceType};

use super::{KeepCommand, KeyCommand, Scrub, Tag};

/// What kind of thing a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TypeName {
    /// A directory tree with all its metadata
    Files,
    /// A raw volume: an image file or a block device
    Volume,
    /// A PostgreSQL server, `--location postgresql://host:5432/?profile=NAME`; or a data directory at rest
    #[value(alias = "rds")]
    Postgres,
}

impl From<TypeName> for ResourceType {
    fn from(name: TypeName) -> Self {
        match name {
            TypeName::Files => Self::Files,
            TypeName::Volume => Self::Volume,
            TypeName::Postgres => Self::Rds,
        }
    }
}

/// `holdfast resource`.
#[derive(Debug, Subcommand)]
pub enum ResourceCommand {
    /// Register a resource, or change what is known of it
    Add(ResourceAdd),
    /// List all resources
    List,
    /// Take a resource out of the registry; its recovery points stay until their retention ends
    Remove {
        /// Its name or ARN
        resource: String,
    },
}

/// `holdfast resource add`.
#[derive(Debug, Args)]
pub struct ResourceAdd {
    /// Its name, or a full ARN
    pub name: String,
    /// What kind of thing it is
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub resource_type: TypeName,
    /// Where it lies on the machine of its workers: a directory, an image file or a block device
    #[arg(long, value_name = "PATH", required_unless_present = "location", conflicts_with = "location")]
    pub path: Option<PathBuf>,
    /// Where it lies, as a URL
    #[arg(long, value_name = "URL")]
    pub location: Option<String>,
    /// Hook set of the workers' configuration to quiesce it with
    #[arg(long, value_name = "NAME")]
    pub hooks: Option<String>,
    /// Tag, `KEY=VALUE`; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub tags: Vec<Tag>,
    /// Account in the ARN that is made of a name
    #[arg(long, env = "HOLDFAST_ACCOUNT", default_value = "000000000000", value_name = "ACCOUNT")]
    pub account: AccountId,
}

/// `holdfast vault`.
#[derive(Debug, Subcommand)]
pub enum VaultCommand {
    /// Make a vault and wait until its repository is there
    Create(VaultCreate),
    /// List all vaults
    List,
    /// Show a vault: its repositories, its lock, and what the last checks of it saw
    Show {
        /// Its name or ARN
        vault: String,
    },
    /// Free what no recovery point needs any more; what is found unused goes with a later prune, a day on
    Prune {
        /// Its name or ARN
        vault: String,
        /// Only say what would be done, and why
        #[arg(long)]
        plan: bool,
        /// The vault's cold repository instead of its warm one
        #[arg(long)]
        cold: bool,
    },
    /// The secrets that open a vault: list, add, revoke
    #[command(subcommand)]
    Key(KeyCommand),
    /// What protects recovery points, written into the vault itself: locks, holds, minimum retention
    #[command(subcommand)]
    Keep(KeepCommand),
    /// Read a part of a vault's packs, another one each time, and say how much has been read by now
    Scrub(Scrub),
    /// Forget an empty vault; its repository is left where it is
    Delete {
        /// Its name or ARN
        vault: String,
    },
}

/// `holdfast vault create`.
#[derive(Debug, Args)]
pub struct VaultCreate {
    /// 2 to 50 letters, digits, hyphens and underscores
    pub name: String,
    /// Where its repository goes: a path on the workers' machine, or a URL such as `s3://bucket/prefix`
    /// [default: `vaults/<name>` in the directory of `holdfast up`]
    #[arg(long, value_name = "PATH|URL")]
    pub location: Option<String>,
    /// Key of the workers' configuration that opens it
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub key_profile: String,
    /// Where its cold repository goes, for recovery points whose lifecycle moves them to cold storage
    /// [default: what the planner's configuration has for the region]
    #[arg(long, value_name = "PATH|URL")]
    pub cold_location: Option<String>,
    /// Key of the workers' configuration that opens the cold repository [default: the same]
    #[arg(long, value_name = "NAME", requires = "cold_location")]
    pub cold_key_profile: Option<String>,
    /// Backups that would be kept for fewer days are refused
    #[arg(long, value_name = "DAYS")]
    pub min_retention_days: Option<u32>,
    /// Backups that would be kept for more days are refused
    #[arg(long, value_name = "DAYS")]
    pub max_retention_days: Option<u32>,
    /// Do not wait until the repository is there
    #[arg(long)]
    pub no_wait: bool,
}

/// `holdfast plan`.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Make a plan of a file in TOML or JSON
    Create {
        /// The file (docs/reference/plan-file.md); `-` reads JSON from standard input
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// List all plans
    List,
    /// Show a plan with its rules
    Show {
        /// Its name or id
        plan: String,
    },
    /// Give a plan a new version
    Update {
        /// Its name or id
        plan: String,
        /// The file; `-` reads JSON from standard input
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Delete a plan that has no selections
    Delete {
        /// Its name or id
        plan: String,
    },
    /// Show when a plan's rules run next
    NextRuns {
        /// Its name or id
        plan: String,
        /// How many runs of each rule
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10))]
        count: u32,
    },
}

/// `holdfast selection`.
#[derive(Debug, Subcommand)]
pub enum SelectionCommand {
    /// Let a plan protect resources
    Create(SelectionCreate),
    /// List selections
    List {
        /// Only of this plan
        #[arg(long, value_name = "PLAN")]
        plan: Option<String>,
    },
    /// Take a selection from a plan
    Delete {
        /// The plan's name or id
        plan: String,
        /// The selection's name or id
        selection: String,
    },
}

/// `holdfast selection create`.
#[derive(Debug, Args)]
pub struct SelectionCreate {
    /// The plan's name or id
    pub plan: String,
    /// 1 to 50 letters, digits, hyphens, underscores and dots
    pub name: String,
    /// Name of a resource, or an ARN pattern with `*`; may be repeated. With neither this nor --tag: every resource
    #[arg(long = "resource", value_name = "NAME|PATTERN")]
    pub resources: Vec<String>,
    /// Name or ARN pattern to leave out; may be repeated
    #[arg(long = "not-resource", value_name = "NAME|PATTERN")]
    pub not_resources: Vec<String>,
    /// Resources with this tag; may be repeated, any one is enough
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub tags: Vec<Tag>,
}
