//! What a worker can be told about PostgreSQL: `[postgres]` in its configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::PgError;
use crate::priority::Priority;
use crate::server::{self, CredentialProfile, Credentials};

/// What to do about pages that are damaged at the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DamagePolicy {
    /// The recovery point is kept and lists them; it is PARTIAL.
    #[default]
    Partial,
    /// The capture fails.
    Fail,
}

/// How a server is asked to begin a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checkpoint {
    /// With a checkpoint as fast as its disk can: the capture begins at once, and how long it takes does not depend on the
    /// server's settings.
    #[default]
    Fast,
    /// With one that is spread over the time that the server gives its own (`checkpoint_timeout` times
    /// `checkpoint_completion_target`, 4.5 minutes unless set): what else writes there does not feel it, the capture waits.
    Spread,
}

/// Fewest bytes a second that captures can be held to, and most: what the replication protocol takes.
const READ_BYTES_PER_SECOND: std::ops::RangeInclusive<u64> = (32 << 10)..=(1 << 30);

/// `[postgres]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresSettings {
    /// Who logs in where, by name: `[postgres.profiles.NAME]`. Locations name one.
    pub profiles: BTreeMap<String, CredentialProfile>,
    /// Directory of PostgreSQL's programs; `{major}` stands for the major version. Without it Debian's place, Red Hat's
    /// and the path of searches are looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bin_dir: Option<PathBuf>,
    /// A directory for dumps on their way and for what servers in sandboxes need besides their data; the user that servers
    /// run as must be able to pass through it. `/tmp` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work_dir: Option<PathBuf>,
    /// The program `holdfast-wal`, which recovering servers fetch their log with; the one beside this program unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_helper: Option<PathBuf>,
    /// The user restored servers belong to and run as when this worker is root.
    pub run_as: String,
    /// What to do about pages that are damaged at the source: `partial` or `fail`.
    pub on_damaged_page: DamagePolicy,
    /// What captures of a server on this machine, and the compression of its log, leave to the server: `idle` takes the
    /// processors and the disk when nobody else wants them, and a twentieth of the processors where they are always wanted; `low` a
    /// tenth; `normal` an equal share.
    pub beside_server: Priority,
    /// How a server is asked to begin a backup: `fast` or `spread`.
    pub checkpoint: Checkpoint,
    /// Most bytes that a capture reads of a server's files in a second, from 32768 (32 KiB) to 1073741824 (1 GiB); as fast as it
    /// can unless given. Rows are counted, and dumps are made, by queries, which it does not hold back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bytes_per_second_max: Option<u64>,
    /// Whether rows are counted at each capture, so that restore tests can compare.
    pub count_rows: bool,
    /// Larger tables are counted in a sample of about so many bytes.
    pub count_bytes_max: u64,
    /// Seconds a server in a sandbox may take to replay the log and answer.
    pub start_timeout_seconds: u64,
    /// Seconds all checks inside a sandbox's server may take together.
    pub check_timeout_seconds: u64,
    /// Memory in MiB a server in a sandbox may use for its buffers.
    pub sandbox_buffers_mib: u32,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            profiles: BTreeMap::new(),
            bin_dir: None,
            work_dir: None,
            wal_helper: None,
            run_as: "postgres".to_owned(),
            on_damaged_page: DamagePolicy::Partial,
            beside_server: Priority::Idle,
            checkpoint: Checkpoint::Fast,
            read_bytes_per_second_max: None,
            count_rows: true,
            count_bytes_max: 256 << 20,
            start_timeout_seconds: 3600,
            check_timeout_seconds: 4 * 3600,
            sandbox_buffers_mib: 128,
        }
    }
}

impl PostgresSettings {
    /// Whether they can be used: the key and what is wrong with it.
    ///
    /// # Errors
    /// The first key that cannot.
    pub fn validate(&self) -> Result<(), (String, String)> {
        for (name, profile) in &self.profiles {
            profile
                .validate()
                .map_err(|(key, problem)| (format!("postgres.profiles.{name}.{key}"), problem.to_owned()))?;
        }
        let mut directories = BTreeMap::new();
        for (name, directory) in self.profiles.iter().filter_map(|(name, p)| Some((name, p.archive_dir.as_ref()?))) {
            if let Some(other) = directories.insert(directory, name) {
                let mend = format!("profile `{other}` names it too; give each server a directory of its own");
                return Err((format!("postgres.profiles.{name}.archive_dir"), mend));
            }
        }
        let wrong = |key: &str, mend: &str| Err((format!("postgres.{key}"), mend.to_owned()));
        if self.run_as.is_empty() || self.run_as == "root" {
            return wrong("run_as", "name an unprivileged user, for example `postgres`");
        }
        if self.work_dir.as_ref().is_some_and(|directory| !directory.is_absolute()) {
            return wrong("work_dir", "name an absolute directory");
        }
        if self.wal_helper.as_ref().is_some_and(|helper| !helper.is_absolute()) {
            return wrong("wal_helper", "name an absolute path");
        }
        if let Some(bytes) = self.read_bytes_per_second_max.filter(|bytes| !READ_BYTES_PER_SECOND.contains(bytes)) {
            let mend = format!(
                "{bytes} is no rate that a server takes; write 32768 (32 KiB) to 1073741824 (1 GiB), or leave it out to read as fast \
                 as it goes"
            );
            return wrong("read_bytes_per_second_max", &mend);
        }
        if self.start_timeout_seconds == 0 {
            return wrong("start_timeout_seconds", "give servers at least a second");
        }
        if self.check_timeout_seconds == 0 {
            return wrong("check_timeout_seconds", "give checks at least a second");
        }
        if !(1..=1 << 20).contains(&self.sandbox_buffers_mib) {
            return wrong("sandbox_buffers_mib", "write 1 or more, for example 128");
        }
        Ok(())
    }

    /// The directory for what is needed for a while.
    #[must_use]
    pub fn work_dir(&self) -> PathBuf {
        self.work_dir.clone().unwrap_or_else(|| PathBuf::from("/tmp"))
    }

    /// The directory that the server of a profile archives to.
    ///
    /// # Errors
    /// When there is no profile of that name, or it names no directory.
    pub fn archive_dir(&self, profile: &str) -> Result<PathBuf, PgError> {
        let directory = self.profiles.get(profile).and_then(|profile| profile.archive_dir.clone());
        directory.ok_or_else(|| PgError::Profile {
            name: profile.to_owned(),
            problem: format!(
                "the location says `log=archive`, and this worker's configuration does not say where that is; write \
                 `archive_dir = \"/the/directory\"` into `[postgres.profiles.{profile}]`"
            ),
        })
    }

    /// The credentials of a profile.
    ///
    /// # Errors
    /// When there is none of that name, or its secret cannot be read.
    pub fn credentials(&self, profile: &str) -> Result<Credentials, PgError> {
        server::credentials(&self.profiles, profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_the_server_would_not_take_is_refused_by_name() {
        let with = |bytes| PostgresSettings { read_bytes_per_second_max: Some(bytes), ..PostgresSettings::default() };
        for right in [32 << 10, 50_000_000, 1 << 30] {
            assert_eq!(with(right).validate(), Ok(()), "{right}");
        }
        for bad in [0, (32 << 10) - 1, (1 << 30) + 1] {
            let (key, mend) = with(bad).validate().unwrap_err();
            assert_eq!(key, "postgres.read_bytes_per_second_max");
            assert!(
                mend.contains(&format!("{bad} is")) && mend.contains("32768") && mend.contains("1073741824"),
                "{mend}"
            );
        }
    }

    #[test]
    fn a_server_has_an_archive_of_its_own_or_is_told_that_none_is_named() {
        let profile = |directory: &str| CredentialProfile {
            user: "holdfast".to_owned(),
            archive_dir: Some(PathBuf::from(directory)),
            ..CredentialProfile::default()
        };
        let mut settings = PostgresSettings::default();
        settings.profiles.insert("a".to_owned(), profile("/srv/wal/a"));
        settings.profiles.insert("b".to_owned(), profile("/srv/wal/b"));
        assert_eq!(settings.validate(), Ok(()));
        assert_eq!(settings.archive_dir("a").unwrap(), PathBuf::from("/srv/wal/a"));
        let missing = settings.archive_dir("c").unwrap_err().to_string();
        assert!(missing.contains("archive_dir") && missing.contains("[postgres.profiles.c]"), "{missing}");
        settings.profiles.insert("b".to_owned(), profile("/srv/wal/a"));
        let (key, mend) = settings.validate().unwrap_err();
        assert_eq!(key, "postgres.profiles.b.archive_dir");
        assert!(mend.contains("`a`"), "{mend}");
        settings.profiles.insert("b".to_owned(), profile("wal/b"));
        assert_eq!(settings.validate().unwrap_err().0, "postgres.profiles.b.archive_dir");
    }
}
