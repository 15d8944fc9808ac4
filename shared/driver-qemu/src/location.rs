//! Locations of volumes that QEMU serves: `qemu:///disk0?profile=web`.

use driver_api::DriverError;
use url::Url;

/// The scheme.
pub const SCHEME: &str = "qemu";
/// Longest name of a block node: `BDRV_NODE_NAME_MAX_LEN` less its ending zero, of QEMU's `include/block/block-common.h`.
const NODE_NAME_BYTES_MAX: usize = 31;

/// A block node of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// The profile of the process.
    pub(crate) profile: String,
    /// `node-name` of the disk's format, as in `--blockdev driver=qcow2,node-name=disk0,…`.
    pub(crate) node: String,
}

/// Whether a location is of this driver.
pub(crate) fn is_served(location: &str) -> bool {
    location.strip_prefix(SCHEME).is_some_and(|rest| rest.starts_with(':'))
}

impl Location {
    pub(crate) fn parse(location: &str) -> Result<Self, DriverError> {
        let bad = |problem: String| DriverError::BadLocation { location: location.to_owned(), problem };
        let shape = "write it as `qemu:///node-name?profile=name`";
        let url = Url::parse(location).map_err(|error| bad(format!("{error}; {shape}")))?;
        if url.scheme() != SCHEME || url.has_host() && url.host_str() != Some("") || url.fragment().is_some() {
            return Err(bad(shape.to_owned()));
        }
        let node = url.path().strip_prefix('/').unwrap_or_default();
        let fits = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        };
        if !fits(node) || node.len() > NODE_NAME_BYTES_MAX {
            return Err(bad(format!("`{node}` is no name of a block node; {shape}")));
        }
        let mut pairs = url.query_pairs();
        match (pairs.next(), pairs.next()) {
            (Some((key, profile)), None) if key == "profile" && !profile.is_empty() => {
                Ok(Self { profile: profile.into_owned(), node: node.to_owned() })
            }
            _ => Err(bad(format!("it must name a profile of the worker's configuration and nothing else; {shape}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_profile_and_a_node() {
        let parsed = Location::parse("qemu:///disk0?profile=web").unwrap();
        assert_eq!(parsed, Location { profile: "web".to_owned(), node: "disk0".to_owned() });
        let long = format!("qemu:///{}?profile=web", "n".repeat(32));
        for bad in [
            "qemu:///disk0",
            "qemu:///disk0?profile=",
            "qemu:///disk0?profile=a&socket=/run/x",
            "qemu://host/disk0?profile=web",
            "qemu:///a/b?profile=web",
            "qemu:///?profile=web",
            "qemu:///0disk?profile=web",
            "file:///disk0?profile=web",
            &long,
        ] {
            assert!(matches!(Location::parse(bad), Err(DriverError::BadLocation { .. })), "{bad}");
        }
        assert!(is_served("qemu:///x") && !is_served("file:///qemu:"));
    }
}
