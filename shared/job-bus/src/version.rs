//! Which servers are new enough.

use std::fmt;
use std::str::FromStr;

/// The oldest server whose streams behave as this crate needs (durability fixes and settings older ones drop silently).
pub const MINIMUM_SERVER: ServerVersion = ServerVersion { major: 2, minor: 14, patch: 0 };

/// A version of nats-server. A pre-release counts as the version it precedes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerVersion {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub patch: u32,
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for ServerVersion {
    type Err = ();

    /// Reads `2.15.1`, `v2.15.1` and `2.15.1-RC.2`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers = text.trim().trim_start_matches('v');
        let numbers = numbers.split(['-', '+', ' ']).next().unwrap_or_default();
        let mut parts = numbers.split('.').map(|part| part.parse::<u32>().map_err(|_| ()));
        let version = Self {
            major: parts.next().ok_or(())??,
            minor: parts.next().ok_or(())??,
            patch: parts.next().unwrap_or(Ok(0))?,
        };
        if parts.next().is_some() { Err(()) } else { Ok(version) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number_and_not_by_text() {
        let old: ServerVersion = "2.9.10".parse().unwrap();
        let new: ServerVersion = "v2.15.1-RC.2".parse().unwrap();
        assert!(old < MINIMUM_SERVER);
        assert!(MINIMUM_SERVER < new);
        assert_eq!(new.to_string(), "2.15.1");
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "2", "two.three", "2.14.0.1", "2.x"] {
            assert!(text.parse::<ServerVersion>().is_err(), "{text}");
        }
    }
}
