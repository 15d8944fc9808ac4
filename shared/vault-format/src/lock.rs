//! Lock files.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::FormatError;
use crate::go_json::go_time;

/// `locks/<id>`: somebody works with the repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockFile {
    /// When the holder last said that it is alive.
    #[serde(with = "go_time")]
    pub time: Timestamp,
    /// Whether nobody else may work meanwhile.
    pub exclusive: bool,
    /// The holder's machine.
    #[serde(default)]
    pub hostname: String,
    /// The holder's user.
    #[serde(default)]
    pub username: String,
    /// The holder's process.
    #[serde(default)]
    pub pid: u32,
    /// What only Holdfast's own locks say; restic passes over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdfast: Option<LockPurpose>,
}

/// Who holds a lock of ours, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockPurpose {
    /// Drawn when the lock is taken; the same in every renewal, which makes a new file.
    pub holder: String,
    /// What the holder does: `work` or `prune`.
    pub operation: String,
}

impl LockFile {
    /// Its JSON.
    ///
    /// # Errors
    /// [`FormatError::Json`].
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// From its JSON.
    ///
    /// # Errors
    /// [`FormatError::Json`].
    pub fn decode(json: &[u8]) -> Result<Self, FormatError> {
        Ok(serde_json::from_slice(json)?)
    }
}
