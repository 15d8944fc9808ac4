//! `endpoint.json`: what a running `holdfast up` tells the command line about itself.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use job_model::Region;
use serde::{Deserialize, Serialize};

/// The name of the file in the state directory.
pub(crate) const FILE_NAME: &str = "endpoint.json";

/// Where the services of a state directory are. Holds no secret, only the file that has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// Address of the private bus.
    pub(crate) url: String,
    /// The operator's user on it.
    pub(crate) user: String,
    /// File with that user's password.
    pub(crate) password_file: PathBuf,
    /// The regions served; the first is the default of the command line.
    pub(crate) regions: Vec<Region>,
    /// File with the key and store profiles that the workers open vaults with.
    pub(crate) profiles_file: PathBuf,
    /// Where vaults go that are made without a location.
    pub(crate) vaults_dir: PathBuf,
    /// Address of the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) api_url: Option<String>,
    /// File with access keys of the API, as the AWS command line reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aws_credentials_file: Option<PathBuf>,
    /// Process id of `holdfast up`.
    pub(crate) pid: u32,
    /// When it was started.
    pub(crate) started_at: Timestamp,
}

impl Endpoint {
    /// Reads the description in a state directory; none where nothing runs.
    ///
    /// # Errors
    /// When the file is there and cannot be read or understood.
    pub(crate) fn read(state: &Path) -> io::Result<Option<Self>> {
        match fs::read(state.join(FILE_NAME)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(Into::into),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes the description, whole or not at all.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub(crate) fn write(&self, state: &Path) -> io::Result<()> {
        write_private(&state.join(FILE_NAME), &serde_json::to_vec_pretty(self)?)
    }

    /// Takes the description away: nothing runs any more.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub(crate) fn remove(state: &Path) -> io::Result<()> {
        match fs::remove_file(state.join(FILE_NAME)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// Writes a file that only its owner may read (mode 0600), whole or not at all, and durably.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let temporary = path.with_extension("new");
    // A leftover of a crash may have other rights.
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            url: "nats://127.0.0.1:4222".to_owned(),
            user: "operator".to_owned(),
            password_file: "/s/operator.password".into(),
            regions: vec!["ap-northeast-1".parse().unwrap()],
            profiles_file: "/s/profiles.toml".into(),
            vaults_dir: "/s/vaults".into(),
            api_url: None,
            aws_credentials_file: None,
            pid: 7,
            started_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_gone_after_removal() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Endpoint::read(dir.path()).unwrap(), None);
        endpoint().write(dir.path()).unwrap();
        assert_eq!(Endpoint::read(dir.path()).unwrap(), Some(endpoint()));
        Endpoint::remove(dir.path()).unwrap();
        Endpoint::remove(dir.path()).unwrap();
        assert_eq!(Endpoint::read(dir.path()).unwrap(), None);
    }

    #[test]
    fn a_private_file_is_readable_by_its_owner_only_even_after_a_crash_left_an_open_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.password");
        fs::write(path.with_extension("new"), "leftover").unwrap();
        write_private(&path, b"value").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"value");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
