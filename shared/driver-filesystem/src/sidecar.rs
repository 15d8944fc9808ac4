//! What a restic node cannot hold: one JSON line for each entry that has something of it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};

use driver_api::{DriverError, SnapshotReader};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vault_format::{Id, NodeKind, Tree};

use crate::extents::Extent;

/// The file in the recovery point's `holdfast` directory: newline-delimited JSON. The first line is
/// `{"format":"holdfast-filesystem-attributes","version":1}`; each other line has `path` (or `path_hex`, where it is no
/// UTF-8) below the resource, empty for its root, and any of `flags` (as `FS_IOC_GETFLAGS` gives them, those a user can
/// set), `project` (project id) and `data` (pairs of offset and length: all else of the file is holes).
pub const SIDECAR_NAME: &str = "filesystem-attributes.ndjson";

const FORMAT: &str = "holdfast-filesystem-attributes";
const VERSION: u32 = 1;

/// The attributes of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attributes {
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) flags: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) project: u32,
    /// Extents with data of a sparse file; none for all other files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Vec<Extent>>,
}

impl Attributes {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(flatten)]
    attributes: Attributes,
}

/// Attributes by path. Of a path only as much of its digest is held as makes it unlike all others: there may be as many as
/// there are entries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sidecar(HashMap<[u8; 16], Attributes>);

impl Sidecar {
    /// What it says about a path below the resource.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Attributes> {
        // Most recovery points have no sidecar.
        if self.is_empty() { None } else { self.0.get(&Self::key(path)) }
    }

    /// Whether it says nothing about any.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn key(path: &[u8]) -> [u8; 16] {
        let mut key = [0; 16];
        key.copy_from_slice(&Sha256::digest(path)[..16]);
        key
    }
}

impl FromIterator<(Vec<u8>, Attributes)> for Sidecar {
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, Attributes)>>(records: I) -> Self {
        Self(records.into_iter().map(|(path, attributes)| (Self::key(&path), attributes)).collect())
    }
}

/// The file's bytes, sorted by path; none when there is nothing to say.
pub(crate) fn encode(mut records: Vec<(Vec<u8>, Attributes)>) -> Option<Vec<u8>> {
    if records.is_empty() {
        return None;
    }
    records.sort_by(|a, b| a.0.cmp(&b.0));
    let mut bytes = Vec::new();
    let mut line = |value: serde_json::Result<String>| {
        // Strings, numbers and sequences of them always have a JSON form.
        if let Ok(text) = value {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(b'\n');
        }
    };
    line(serde_json::to_string(&Header { format: FORMAT.to_owned(), version: VERSION }));
    for (path, attributes) in records {
        let (path, path_hex) = match String::from_utf8(path) {
            Ok(path) => (Some(path), None),
            Err(error) => (None, Some(hex::encode(error.into_bytes()))),
        };
        line(serde_json::to_string(&Line { path, path_hex, attributes }));
    }
    Some(bytes)
}

fn decode(reader: impl BufRead) -> Result<Sidecar, String> {
    let mut lines = reader.lines();
    let header = lines.next().ok_or("it is empty")?.map_err(|e| e.to_string())?;
    let header: Header = serde_json::from_str(&header).map_err(|e| e.to_string())?;
    if header.format != FORMAT || header.version != VERSION {
        return Err(format!("it has format `{}` version {}", header.format, header.version));
    }
    lines
        .map(|line| {
            let line: Line = serde_json::from_str(&line.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
            let path = match (line.path, line.path_hex) {
                (Some(path), None) => path.into_bytes(),
                (None, Some(path)) => hex::decode(path).map_err(|e| e.to_string())?,
                _ => return Err("a line has no path or two".to_owned()),
            };
            validate(&line.attributes).map_err(|e| format!("{e} of `{}`", crate::display(&path)))?;
            Ok((path, line.attributes))
        })
        .collect()
}

/// Later code relies on extents that are sorted, apart and do not overflow.
fn validate(attributes: &Attributes) -> Result<(), &'static str> {
    let mut position = 0;
    for &(start, length) in attributes.data.iter().flatten() {
        if start < position || length == 0 {
            return Err("extents are out of order");
        }
        position = start.checked_add(length).ok_or("extents overflow")?;
    }
    Ok(())
}

/// Reads the sidecar of a recovery point; empty when its facts say that it has none.
pub(crate) fn read(reader: &dyn SnapshotReader, description: &serde_json::Value) -> Result<Sidecar, DriverError> {
    let broken = |problem: String| DriverError::NotOurs { problem: format!("`holdfast/{SIDECAR_NAME}`: {problem}") };
    if description.pointer("/driver/sidecar").and_then(serde_json::Value::as_str) != Some(SIDECAR_NAME) {
        return Ok(Sidecar::default());
    }
    let root = reader.tree(&reader.root())?;
    let holdfast = subtree(&root, b"holdfast").ok_or_else(|| broken("there is no `holdfast` directory".to_owned()))?;
    let holdfast = reader.tree(&holdfast)?;
    let content = holdfast.nodes.iter().find_map(|n| match &n.kind {
        NodeKind::File { content, .. } if n.name == SIDECAR_NAME.as_bytes() => Some(content),
        _ => None,
    });
    let content = content.ok_or_else(|| broken("it is missing".to_owned()))?;
    // Asked first, so that a lost blob is named as such.
    reader.spans(content)?;
    decode(BufReader::new(reader.open(content))).map_err(broken)
}

/// The tree of a directory's child directory.
pub(crate) fn subtree(tree: &Tree, name: &[u8]) -> Option<Id> {
    tree.nodes.iter().find_map(|node| match node.kind {
        NodeKind::Dir { subtree } if node.name == name => Some(subtree),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_encoding_whatever_the_path() {
        let records = vec![
            (b"b\xff\n".to_vec(), Attributes { flags: 0x10, ..Attributes::default() }),
            (b"a \"x\"".to_vec(), Attributes { data: Some(vec![(0, 1), (4096, 7)]), ..Attributes::default() }),
            (Vec::new(), Attributes { project: 7, data: Some(vec![]), flags: 1 }),
        ];
        let bytes = encode(records.clone()).unwrap();
        assert_eq!(decode(&bytes[..]).unwrap(), records.into_iter().collect());
        assert_eq!(encode(Vec::new()), None);
    }

    #[test]
    fn broken_sidecars_are_refused() {
        let header = r#"{"format":"holdfast-filesystem-attributes","version":1}"#;
        for bad in [
            String::new(),
            r#"{"format":"holdfast-filesystem-attributes","version":2}"#.to_owned(),
            format!("{header}\n{{\"flags\":1}}"),
            format!("{header}\n{{\"path\":\"a\",\"data\":[[10,10],[5,1]]}}"),
            format!("{header}\n{{\"path\":\"a\",\"data\":[[18446744073709551615,1]]}}"),
        ] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
