//! Snapshot files.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::go_json::go_time;
use crate::{FormatError, Id};

/// `snapshots/<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken.
    #[serde(with = "go_time")]
    pub time: Timestamp,
    /// The snapshot it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// Its root tree.
    pub tree: Id,
    /// What it is of.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub paths: Vec<String>,
    /// Name of the machine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Name of the user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub tags: Vec<String>,
    /// The first snapshot of this content, where a tool rewrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Id>,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Snapshot {
    /// Its JSON.
    ///
    /// # Errors
    /// [`FormatError::Json`].
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// From its JSON; fields that are not known are passed over.
    ///
    /// # Errors
    /// [`FormatError::Json`].
    pub fn decode(json: &[u8]) -> Result<Self, FormatError> {
        Ok(serde_json::from_slice(json)?)
    }
}
