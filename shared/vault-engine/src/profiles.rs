//! Keys and credentials of stores, by name, from a worker's own configuration. Messages carry only the names.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::VaultError;

/// Longest secret that is read, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// All profiles of a worker: `[keys.NAME]` and `[stores.NAME]` of its configuration. The store profile of a vault has the
/// same name as its key profile; a vault in a directory needs none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profiles {
    /// Secrets that open vaults.
    pub keys: BTreeMap<String, KeyProfile>,
    /// How remote stores are reached.
    pub stores: BTreeMap<String, StoreProfile>,
}

/// Where the secret of a vault comes from. Exactly one of the three is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyProfile {
    /// A file with the password; white space around it is not part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// An environment variable of the worker's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
    /// A program and its arguments that prints the password; no shell is involved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_command: Option<Vec<String>>,
}

/// How a remote store is reached. The credentials come from files or environment variables, never from this text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreProfile {
    /// URL of the service where it is not the cloud's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The store's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A file with the access key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id_file: Option<PathBuf>,
    /// An environment variable with the access key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id_env: Option<String>,
    /// A file with the secret key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key_file: Option<PathBuf>,
    /// An environment variable with the secret key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key_env: Option<String>,
    /// How long, in seconds, a request that failed for a passing reason is repeated before the vault counts as
    /// unreachable; 180 when it is not set, at most 240: requests are signed for five minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_seconds: Option<u64>,
    /// Whether the store's own object lock is used for what a vault's lock, a legal hold or a minimum retention keeps.
    #[serde(skip_serializing_if = "ObjectLockUse::is_auto")]
    pub object_lock: ObjectLockUse,
    /// Whether plain HTTP is allowed. Content is encrypted either way; names and sizes are not.
    pub allow_http: bool,
}

/// Whether a store's object lock is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectLockUse {
    /// Where a bucket of S3 has it.
    #[default]
    Auto,
    /// Never; the store is not asked either.
    Off,
}

impl ObjectLockUse {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
    const fn is_auto(&self) -> bool {
        matches!(self, Self::Auto)
    }
}

impl Profiles {
    /// The secret of a key profile.
    pub(crate) fn password(&self, name: &str) -> Result<SecretString, VaultError> {
        let profile = self.keys.get(name).ok_or_else(|| VaultError::KeyProfileUnknown { name: name.to_owned() })?;
        profile.secret().map_err(|problem| VaultError::KeyUnreadable { name: name.to_owned(), problem })
    }
}

impl KeyProfile {
    fn secret(&self) -> Result<SecretString, String> {
        match (&self.password_file, &self.password_env, &self.password_command) {
            (Some(path), None, None) => read_file(path),
            (None, Some(name), None) => read_variable(name),
            (None, None, Some(command)) => run_command(command),
            _ => Err("set exactly one of `password_file`, `password_env` and `password_command`".to_owned()),
        }
    }
}

/// Longest time for repetitions, in seconds.
const RETRY_SECONDS_MAX: u64 = 240;
/// Time for repetitions where the profile says nothing, in seconds.
const RETRY_SECONDS: u64 = 180;

impl StoreProfile {
    /// How long failed requests are repeated.
    pub(crate) fn retry_for(&self) -> Result<Duration, String> {
        match self.retry_seconds.unwrap_or(RETRY_SECONDS) {
            seconds if seconds <= RETRY_SECONDS_MAX => Ok(Duration::from_secs(seconds)),
            seconds => Err(format!("its store profile's `retry_seconds` is `{seconds}`, at most {RETRY_SECONDS_MAX}")),
        }
    }

    /// In the words of `object_store`.
    pub(crate) fn options(&self, name: &str) -> Result<Vec<(String, String)>, VaultError> {
        let unreadable = |problem| VaultError::KeyUnreadable { name: name.to_owned(), problem };
        let mut options = vec![
            ("allow_http".to_owned(), self.allow_http.to_string()),
            ("connect_timeout".to_owned(), "10 seconds".to_owned()),
            // One pack over a slow line.
            ("timeout".to_owned(), "5 minutes".to_owned()),
            // S3 compares it before it acknowledges, keeps it with the object, and takes nothing without one into a bucket
            // that locks what it gets. It is computed for the signature in any case.
            ("checksum_algorithm".to_owned(), "sha256".to_owned()),
        ];
        for (key, value) in [("endpoint", &self.endpoint), ("region", &self.region)] {
            options.extend(value.clone().map(|value| (key.to_owned(), value)));
        }
        let secrets = [
            ("access_key_id", &self.access_key_id_file, &self.access_key_id_env),
            ("secret_access_key", &self.secret_access_key_file, &self.secret_access_key_env),
        ];
        for (key, file, variable) in secrets {
            let secret = match (file, variable) {
                (None, None) => continue,
                (Some(path), None) => read_file(path),
                (None, Some(variable)) => read_variable(variable),
                _ => Err(format!("set one of `{key}_file` and `{key}_env`, not both")),
            };
            options.push((key.to_owned(), secret.map_err(unreadable)?.expose_secret().to_owned()));
        }
        Ok(options)
    }
}

fn read_file(path: &Path) -> Result<SecretString, String> {
    let problem = |error| format!("read `{}`: {error}", path.display());
    let file = std::fs::File::open(path).map_err(problem)?;
    // As long as it can become, so that no copy of it is left behind by growing; zeroed when it is dropped.
    let mut text = zeroize::Zeroizing::new(String::with_capacity(SECRET_BYTES_MAX as usize));
    file.take(SECRET_BYTES_MAX).read_to_string(&mut text).map_err(problem)?;
    trimmed(std::mem::take(&mut *text)).ok_or_else(|| format!("`{}` is empty", path.display()))
}

fn read_variable(name: &str) -> Result<SecretString, String> {
    let value = std::env::var(name).map_err(|_| format!("the environment variable `{name}` is not set"))?;
    trimmed(value).ok_or_else(|| format!("the environment variable `{name}` is empty"))
}

fn run_command(command: &[String]) -> Result<SecretString, String> {
    let [program, arguments @ ..] = command else { return Err("`password_command` is empty".to_owned()) };
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("run `{program}`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{program}` ended with {}; run it by hand as the worker's user", output.status));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| format!("`{program}` printed no UTF-8"))?;
    trimmed(text).ok_or_else(|| format!("`{program}` printed nothing"))
}

/// As restic does: white space around it does not belong to the secret.
fn trimmed(text: String) -> Option<SecretString> {
    let text = zeroize::Zeroizing::new(text);
    let secret = text.trim();
    (!secret.is_empty()).then(|| SecretString::from(secret.to_owned()))
}
