//! Whose an archive directory is: the follower that empties it puts its name there, because two of them would each get half
//! of the log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::FollowError;

/// The file with the name of the follower.
const FOLLOWER: &str = ".holdfast-follower";

/// Takes a directory for a follower, durably.
///
/// # Errors
/// [`FollowError::Archive`] when another follower has it; [`FollowError::Spool`] when it cannot be read or written.
pub(super) fn claim(directory: &Path, name: &str) -> Result<(), FollowError> {
    let path = directory.join(FOLLOWER);
    if read(&path)?.is_none() {
        let unfinished = directory.join(format!("{FOLLOWER}.{name}"));
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished)?;
            file.write_all(format!("{name}\n").as_bytes())?;
            file.sync_all()?;
            // A link refuses where a rename would replace.
            match fs::hard_link(&unfinished, &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => File::open(directory)?.sync_all(),
            }
        };
        let written = write();
        let removed = fs::remove_file(&unfinished);
        written.map_err(FollowError::spool("write", &path))?;
        removed.map_err(FollowError::spool("remove", &unfinished))?;
    }
    match read(&path)? {
        Some(found) if found == name => Ok(()),
        found => Err(FollowError::Archive {
            path: path.display().to_string(),
            problem: format!(
                "follower `{}` takes the log out of this directory, and `{name}` would get what it leaves; give each \
                 server and each continuous recovery point a directory of its own, or remove this file if that follower is no \
                 more",
                found.unwrap_or_default()
            ),
        }),
    }
}

/// Gives a directory back. What is gone already, or another's, is no error.
///
/// # Errors
/// When the operating system refuses.
pub fn give_back_archive(directory: &Path, name: &str) -> Result<(), FollowError> {
    let path = directory.join(FOLLOWER);
    if read(&path)?.as_deref() != Some(name) {
        return Ok(());
    }
    fs::remove_file(&path).map_err(FollowError::spool("remove", &path))
}

fn read(path: &PathBuf) -> Result<Option<String>, FollowError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FollowError::spool("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_followers_until_it_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        claim(directory, "holdfast_a").unwrap();
        claim(directory, "holdfast_a").unwrap();
        let refused = claim(directory, "holdfast_b").unwrap_err().to_string();
        assert!(refused.contains("`holdfast_a`") && refused.contains(".holdfast-follower"), "{refused}");
        give_back_archive(directory, "holdfast_b").unwrap();
        assert!(claim(directory, "holdfast_b").is_err());
        give_back_archive(directory, "holdfast_a").unwrap();
        give_back_archive(directory, "holdfast_a").unwrap();
        claim(directory, "holdfast_b").unwrap();
        assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
        let missing = claim(&directory.join("none"), "holdfast_b").unwrap_err();
        assert!(matches!(missing, FollowError::Spool { .. }), "{missing}");
    }
}
