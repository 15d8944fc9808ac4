//! Access keys of the API, drawn once, and the credentials file that the AWS command line reads them from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gateway::{AccessKey, Role};
use job_model::AccountId;

use super::layout::Layout;
use super::secrets::{ensure_password, read_password};
use crate::endpoint::write_private;
use crate::error::CliError;

/// The installation's own account.
const ACCOUNT: &str = "000000000000";
/// A key of each role; the first one is the default profile.
const KEYS: [(&str, Role, &str); 4] = [
    ("HOLDFAST0ADMIN", Role::Administrator, "default"),
    ("HOLDFAST0OPERATOR", Role::Operator, "operator"),
    ("HOLDFAST0RESTORE", Role::RestoreOnly, "restore-only"),
    ("HOLDFAST0AUDIT", Role::Auditor, "auditor"),
];

/// The keys as the gateway's configuration names them.
pub(super) fn configured(layout: &Layout) -> BTreeMap<String, AccessKey> {
    let Ok(account) = ACCOUNT.parse::<AccountId>() else { return BTreeMap::new() };
    KEYS.iter()
        .map(|(id, role, _)| {
            let key = AccessKey {
                account: account.clone(),
                role: *role,
                secret_file: Some(layout.api_secret_file(id)),
                secret_env: None,
            };
            ((*id).to_owned(), key)
        })
        .collect()
}

/// Draws missing secrets and writes the credentials file, which only its owner may read.
pub(super) fn prepare(layout: &Layout) -> Result<(), CliError> {
    let mut text = String::from("# Written at every start of `holdfast up`; changes are lost.\n");
    for (id, _, profile) in KEYS {
        let file = layout.api_secret_file(id);
        ensure_password(&file)?;
        let secret = read_password(&file)?;
        // Writing into a string cannot fail.
        let _ = write!(text, "\n[{profile}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    }
    let path = layout.aws_credentials_file();
    write_private(&path, text.as_bytes()).map_err(CliError::io(format!("write `{}`", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_drawn_once_and_the_credentials_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        prepare(&layout).unwrap();
        let first = std::fs::read_to_string(layout.aws_credentials_file()).unwrap();
        prepare(&layout).unwrap();
        assert_eq!(std::fs::read_to_string(layout.aws_credentials_file()).unwrap(), first);
        assert!(first.contains("[default]\naws_access_key_id = HOLDFAST0ADMIN\n"));
        let mode = std::fs::metadata(layout.aws_credentials_file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
