//! Passwords of the bus and of vaults: drawn once, kept in files that only their owner reads.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rand::TryRngCore;
use rand::rngs::OsRng;
use vault_engine::{KeyProfile, Profiles};

use crate::endpoint::write_private;
use crate::error::CliError;

/// Bytes of randomness in a password; twice as many hexadecimal digits.
const PASSWORD_BYTES: usize = 32;
/// How the files of passwords end.
const EXTENSION: &str = "password";

/// Makes a file with a random password unless it exists. An existing one is never touched: it opens vaults.
pub(super) fn ensure_password(path: &Path) -> Result<(), CliError> {
    let failed = |source| CliError::Io { step: format!("make the password file `{}`", path.display()), source };
    if path.try_exists().map_err(failed)? {
        return Ok(());
    }
    let mut bytes = [0; PASSWORD_BYTES];
    OsRng.try_fill_bytes(&mut bytes).map_err(|e| failed(io::Error::other(e)))?;
    write_private(path, format!("{}\n", hex::encode(bytes)).as_bytes()).map_err(failed)
}

/// The first line of a password file.
pub(super) fn read_password(path: &Path) -> Result<String, CliError> {
    let text =
        fs::read_to_string(path).map_err(CliError::io(format!("read the password file `{}`", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Makes the wanted key profiles that are missing, and returns all there are in the directory.
pub(super) fn key_profiles(dir: &Path, wanted: &[String]) -> Result<Profiles, CliError> {
    for name in wanted {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(CliError::usage(format!(
                "`{name}` is no name of a key profile: use letters, digits, `-` and `_`"
            )));
        }
        ensure_password(&dir.join(format!("{name}.{EXTENSION}")))?;
    }
    let listed = fs::read_dir(dir)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(CliError::io(format!("list the keys in `{}`", dir.display())))?;
    let keys: BTreeMap<String, KeyProfile> = listed.into_iter().filter_map(|e| profile(&e.path())).collect();
    Ok(Profiles { keys, ..Profiles::default() })
}

fn profile(path: &Path) -> Option<(String, KeyProfile)> {
    let is_password = path.extension().is_some_and(|e| e == EXTENSION);
    let name = path.file_stem().filter(|_| is_password)?.to_str()?.to_owned();
    Some((name, KeyProfile { password_file: Some(PathBuf::from(path)), ..KeyProfile::default() }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_drawn_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = ["default".to_owned(), "osaka".to_owned()];
        let profiles = key_profiles(dir.path(), &wanted).unwrap();
        assert_eq!(profiles.keys.keys().collect::<Vec<_>>(), ["default", "osaka"]);
        let file = profiles.keys["osaka"].password_file.clone().unwrap();
        let password = read_password(&file).unwrap();
        assert_eq!(password.len(), 64);
        assert_ne!(password, read_password(&dir.path().join("default.password")).unwrap());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        key_profiles(dir.path(), &wanted).unwrap();
        assert_eq!(read_password(&file).unwrap(), password);
    }

    #[test]
    fn a_key_somebody_put_into_the_directory_is_a_profile_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("archive.password"), "theirs\n").unwrap();
        let profiles = key_profiles(dir.path(), &[]).unwrap();
        assert_eq!(profiles.keys.keys().collect::<Vec<_>>(), ["archive"]);
    }

    #[test]
    fn a_profile_name_cannot_leave_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(key_profiles(dir.path(), &["../x".to_owned()]), Err(CliError::Usage { .. })));
    }
}
