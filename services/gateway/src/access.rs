//! Access keys: who signs, for which account, in which role; and what a role may do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use job_model::{AccountId, wildcard_matches};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use service_host::ConfigProblem;

/// What a key is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// May do everything.
    Administrator,
    /// Daily work; nothing that weakens protection.
    Operator,
    /// Finds recovery points and restores them.
    RestoreOnly,
    /// Reads everything.
    Auditor,
}

/// One access key of the configuration. Its secret is in a file or a variable, never in the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessKey {
    /// The account whose things it reaches: twelve digits.
    pub account: AccountId,
    /// What it may do there.
    pub role: Role,
    /// File whose first line is the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Variable that holds the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) key_id: String,
    pub(crate) account: AccountId,
    pub(crate) role: Role,
}

/// The keys with their secrets.
#[derive(Debug)]
pub(crate) struct Keys {
    keys: BTreeMap<String, (Caller, SecretString)>,
}

impl Keys {
    /// Reads the secrets.
    pub(crate) fn load(
        configured: &BTreeMap<String, AccessKey>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigProblem> {
        let mut keys = BTreeMap::new();
        for (id, key) in configured {
            let place = format!("access_keys.{id}");
            let secret = match (&key.secret_file, &key.secret_env) {
                (Some(file), None) => std::fs::read_to_string(file).map_err(|error| {
                    ConfigProblem::new(
                        format!("{place}.secret_file"),
                        file.display(),
                        format!("{error}; make it readable"),
                    )
                })?,
                (None, Some(name)) => env(name).ok_or_else(|| {
                    ConfigProblem::new(format!("{place}.secret_env"), name, "the variable is not set; set it")
                })?,
                _ => return Err(ConfigProblem::new(place, id, "name `secret_file` or `secret_env`, one of them")),
            };
            let secret = secret.lines().next().unwrap_or_default().trim().to_owned();
            if secret.len() < 16 {
                return Err(ConfigProblem::new(
                    place,
                    id,
                    "its secret has fewer than 16 characters; draw a longer one",
                ));
            }
            let caller = Caller { key_id: id.clone(), account: key.account.clone(), role: key.role };
            keys.insert(id.clone(), (caller, SecretString::from(secret)));
        }
        Ok(Self { keys })
    }

    /// A key and its secret.
    pub(crate) fn find(&self, id: &str) -> Option<(&Caller, &str)> {
        self.keys.get(id).map(|(caller, secret)| (caller, secret.expose_secret()))
    }
}

#[derive(Debug, Deserialize)]
struct Rights {
    allow: Vec<String>,
    deny: Vec<String>,
}

static MATRIX: LazyLock<BTreeMap<Role, Rights>> = LazyLock::new(|| {
    // Part of the source; a test reads all of it.
    toml::from_str(include_str!("roles.toml")).unwrap_or_else(|error| unreachable!("roles.toml: {error}"))
});

impl Role {
    /// Whether the role may call an operation.
    pub(crate) fn may(self, operation: &str) -> bool {
        let matches = |patterns: &[String]| patterns.iter().any(|pattern| wildcard_matches(pattern, operation));
        MATRIX.get(&self).is_some_and(|rights| matches(&rights.allow) && !matches(&rights.deny))
    }

    /// As it stands in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Operator => "operator",
            Self::RestoreOnly => "restore-only",
            Self::Auditor => "auditor",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_its_own_work_and_no_more() {
        let cases = [
            ("ListBackupVaults", [true, true, true, true]),
            ("CreateBackupPlan", [true, true, false, false]),
            ("StartBackupJob", [true, true, false, false]),
            ("StartRestoreJob", [true, true, true, false]),
            ("DeleteRecoveryPoint", [true, false, false, false]),
            ("DeleteBackupVault", [true, false, false, false]),
            ("PutBackupVaultLockConfiguration", [true, false, false, false]),
            ("UpdateRecoveryPointLifecycle", [true, false, false, false]),
            ("CancelLegalHold", [true, false, false, false]),
            ("UpdateGlobalSettings", [true, false, false, false]),
            ("StartReportJob", [true, true, false, true]),
            ("GetBackupVaultAccessPolicy", [true, true, false, true]),
            ("holdfast:RunRestoreTest", [true, true, false, false]),
            ("holdfast:StopRestoreJob", [true, true, true, false]),
            ("holdfast:DeregisterResource", [true, false, false, false]),
            ("holdfast:Query", [true, true, false, true]),
            ("holdfast:Request", [true, false, false, false]),
        ];
        let roles = [Role::Administrator, Role::Operator, Role::RestoreOnly, Role::Auditor];
        for (operation, expected) in cases {
            assert_eq!(roles.map(|role| role.may(operation)), expected, "{operation}");
        }
    }

    #[test]
    fn a_role_that_only_reads_may_call_nothing_that_changes() {
        for (name, operation) in &crate::model::api().operations {
            if operation.method != "GET" && Role::Auditor.may(name) {
                // Some read with another method than GET.
                let reads = name.starts_with("List") || name.starts_with("Get");
                assert!(reads || name == "StartReportJob", "{name}");
            }
        }
    }

    #[test]
    fn a_secret_comes_from_a_file_or_a_variable_and_does_not_show() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "a-secret-of-some-length\n").unwrap();
        let key = |file: Option<PathBuf>, variable: Option<&str>| AccessKey {
            account: "000000000000".parse().unwrap(),
            role: Role::Operator,
            secret_file: file,
            secret_env: variable.map(str::to_owned),
        };
        let load =
            |key| Keys::load(&BTreeMap::from([("AK".to_owned(), key)]), |_| Some("from-the-environment".to_owned()));
        let keys = load(key(Some(file.clone()), None)).unwrap();
        assert_eq!(keys.find("AK").unwrap().1, "a-secret-of-some-length");
        assert!(!format!("{keys:?}").contains("a-secret"));
        assert_eq!(load(key(None, Some("X"))).unwrap().find("AK").unwrap().1, "from-the-environment");
        assert_eq!(load(key(None, None)).unwrap_err().key, "access_keys.AK");
        assert_eq!(load(key(Some(file), Some("X"))).unwrap_err().key, "access_keys.AK");
    }
}
