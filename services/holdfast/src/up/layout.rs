//! The directory of `holdfast up`: what lies where.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use job_model::Region;

/// Paths in a state directory.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes the directory and those in it, readable by their owner only, and resolves it: children get absolute paths.
    pub(super) fn create(root: &Path) -> io::Result<Self> {
        private_dir(root)?;
        let layout = Self { root: root.canonicalize()? };
        for dir in ["config", "secrets", "keys", "nats", "services", "logs", "sandbox", "vaults", "reports"] {
            private_dir(&layout.root.join(dir))?;
        }
        Ok(layout)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Held while `up` runs.
    pub(super) fn lock_file(&self) -> PathBuf {
        self.root.join("up.lock")
    }

    /// Key and store profiles, for browsing from the command line.
    pub(super) fn profiles_file(&self) -> PathBuf {
        self.root.join("profiles.toml")
    }

    /// What services are told about PostgreSQL; written by the operator.
    pub(super) fn postgres_file(&self) -> PathBuf {
        self.root.join(super::POSTGRES_FILE)
    }

    /// The configuration of a process.
    pub(super) fn config_file(&self, instance: &str) -> PathBuf {
        self.root.join("config").join(format!("{instance}.toml"))
    }

    /// The password of a user of the bus.
    pub(super) fn bus_password_file(&self, user: &str) -> PathBuf {
        self.root.join("secrets").join(format!("{user}.password"))
    }

    /// Passwords of vaults, one file per key profile.
    pub(super) fn keys_dir(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The secret of an access key of the API.
    pub(super) fn api_secret_file(&self, key_id: &str) -> PathBuf {
        self.root.join("secrets").join(format!("{key_id}.secret"))
    }

    /// Access keys of the API in the shape that the AWS command line reads.
    pub(super) fn aws_credentials_file(&self) -> PathBuf {
        self.root.join("aws-credentials")
    }

    /// The port of the API at the last run.
    pub(super) fn api_port_file(&self) -> PathBuf {
        self.root.join("api-port")
    }

    /// Configuration, store and port of the bus.
    pub(super) fn nats_dir(&self) -> PathBuf {
        self.root.join("nats")
    }

    /// The durable state of a service.
    pub(super) fn state_dir(&self, instance: &str) -> PathBuf {
        self.root.join("services").join(instance)
    }

    /// The log of a process.
    pub(super) fn log_file(&self, instance: &str) -> PathBuf {
        self.root.join("logs").join(format!("{instance}.log"))
    }

    /// Where restore tests of a region put what they restore.
    pub(super) fn sandbox_dir(&self, region: &Region) -> PathBuf {
        self.root.join("sandbox").join(region.as_str())
    }

    /// Where the cold repositories of vaults go.
    pub(super) fn cold_vaults_dir(&self) -> PathBuf {
        self.root.join("cold-vaults")
    }

    /// Where reports of jobs go.
    pub(super) fn reports_dir(&self) -> PathBuf {
        self.root.join("reports")
    }

    /// Where vaults go that are made without a location.
    pub(super) fn vaults_dir(&self) -> PathBuf {
        self.root.join("vaults")
    }
}

/// The name of a process: its service, and its region where there is one per region.
pub(super) fn instance(service: &str, region: Option<&Region>) -> String {
    match region {
        Some(region) => format!("{service}-{region}"),
        None => service.to_owned(),
    }
}

fn private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // It may have been there with other rights.
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}
