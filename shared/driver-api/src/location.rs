//! Locations of resources that lie in this machine's file system: `file:///srv/data`.

use std::path::{Path, PathBuf};

use url::Url;

use crate::DriverError;

/// The path of a `file:` location. Bytes that cannot stand in a URL are percent-encoded there, so that names that are no
/// UTF-8 can be written too.
///
/// # Errors
/// [`DriverError::BadLocation`] when it is not an absolute `file:` URL without host.
pub fn file_path(location: &str) -> Result<PathBuf, DriverError> {
    let bad = |problem: &str| DriverError::BadLocation { location: location.to_owned(), problem: problem.to_owned() };
    let url = Url::parse(location).map_err(|e| bad(&format!("{e}; write it as `file:///path`")))?;
    if url.scheme() != "file" {
        return Err(bad("only `file:///path` is understood here"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("write `?` as `%3F` and `#` as `%23`"));
    }
    url.to_file_path().map_err(|()| bad("a host is not understood; write it as `file:///path`"))
}

/// The location of an absolute path; none for a relative one.
#[must_use]
pub fn file_location(path: &Path) -> Option<String> {
    Url::from_file_path(path).ok().map(String::from)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn every_path_survives_the_way_to_a_location_and_back() {
        for raw in [&b"/srv/data"[..], b"/a b/?#%", b"/\xff\xfe/x", "/größe".as_bytes()] {
            let path = Path::new(OsStr::from_bytes(raw));
            assert_eq!(file_path(&file_location(path).unwrap()).unwrap(), path);
        }
    }

    #[test]
    fn other_schemes_hosts_and_relative_paths_are_refused() {
        for location in ["s3://bucket/key", "file://host/x", "srv/data", "file:///x?y", ""] {
            assert!(matches!(file_path(location), Err(DriverError::BadLocation { .. })), "{location}");
        }
        assert_eq!(file_location(Path::new("relative")), None);
    }
}
