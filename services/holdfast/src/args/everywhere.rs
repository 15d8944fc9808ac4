//! Arguments that stand in many commands.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use job_model::Region;

/// How results are written to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Tables and sentences
    #[default]
    Human,
    /// One JSON document; one object per line for `job watch`
    Json,
}

/// Where the services are and how to speak to them.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Address of the bus, for example `nats://127.0.0.1:4222`, or of the gateway, for example
    /// `https://backup.example.net`; unless given, the bus of the `holdfast up` of --state
    #[arg(long, global = true, env = "HOLDFAST_NATS_URL", value_name = "URL")]
    pub url: Option<String>,
    /// User on the bus
    #[arg(long, global = true, env = "HOLDFAST_NATS_USER", value_name = "NAME", requires = "url")]
    pub user: Option<String>,
    /// File that holds the user's password
    #[arg(long, global = true, env = "HOLDFAST_NATS_PASSWORD_FILE", value_name = "FILE", requires = "url")]
    pub password_file: Option<PathBuf>,
    /// File with access keys of the gateway, as the AWS command line has them; unless given, that of the `holdfast up` of
    /// --state
    #[arg(long, global = true, env = "AWS_SHARED_CREDENTIALS_FILE", value_name = "FILE")]
    pub credentials_file: Option<PathBuf>,
    /// Profile in the file with access keys: `default` unless given
    #[arg(long, global = true, env = "AWS_PROFILE", value_name = "NAME")]
    pub profile: Option<String>,
    /// File with certificates that are trusted beside the system's
    #[arg(long, global = true, env = "AWS_CA_BUNDLE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Directory of `holdfast up`: its state, secrets, logs [default: $XDG_DATA_HOME/holdfast, ~/.local/share/holdfast]
    #[arg(long, global = true, env = "HOLDFAST_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Region, as AWS names it; unless given, the first of the `holdfast up` of --state. `up` takes it more than once
    #[arg(long, global = true, env = "HOLDFAST_REGION", value_name = "REGION", value_delimiter = ',')]
    pub region: Vec<Region>,
    /// Seconds to wait for an answer of a service
    #[arg(long, global = true, env = "HOLDFAST_TIMEOUT_SECONDS", value_name = "SECONDS", default_value_t = 20)]
    pub timeout: u64,
}

/// `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Before the first `=`.
    pub key: String,
    /// After it.
    pub value: String,
}

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
            _ => Err(format!("`{text}` is not a tag: write `KEY=VALUE`")),
        }
    }
}
