//! `holdfast/recovery-point.json`: a recovery point's own description, so that a vault can be read without a planner.

use driver_api::{CaptureWriter, Chunking, ReadError, SnapshotReader, WriteError};
use jiff::Timestamp;
use job_model::{Arn, Consistency, ReadException, ResourceType, SourceReading};
use serde::{Deserialize, Serialize};
use vault_format::{Node, NodeKind, Tree};

/// The newest schema of [`RecoveryPointDescription`].
pub const DESCRIPTION_SCHEMA: u32 = 1;
/// Name of the directory beside `data`.
const DIRECTORY: &str = "holdfast";
/// Name of the file in it.
const FILE: &str = "recovery-point.json";
/// Largest description that is read, in bytes. A million exceptions fit.
const DESCRIPTION_BYTES_MAX: u64 = 256 << 20;

/// What a recovery point is of and how it was captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecoveryPointDescription {
    /// Version of this document; see [`DESCRIPTION_SCHEMA`].
    pub schema: u32,
    /// The recovery point that the capture made. A copy keeps the ARN of its source.
    pub recovery_point: Arn,
    /// What it is a recovery point of.
    pub resource: Arn,
    /// Its type.
    pub resource_type: ResourceType,
    /// What was reached.
    pub consistency: Consistency,
    /// When reading began.
    pub capture_started_at: Timestamp,
    /// When reading ended.
    pub capture_ended_at: Timestamp,
    /// How unchanged data was recognised, in words.
    pub change_detection: String,
    /// The same for programs, with what was read; absent in recovery points of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<SourceReading>,
    /// Content in bytes, holes included.
    pub size_bytes: u64,
    /// Entries (files, extents).
    pub items: u64,
    /// Everything that was not captured as it should be.
    pub exceptions: Vec<ReadException>,
    /// The driver's facts.
    pub driver: serde_json::Value,
}

/// Builds the root tree of a snapshot: the captured `data` and the directory `holdfast` with the description and the
/// driver's sidecars.
///
/// # Errors
/// When the vault fails or the work is to stop.
pub fn snapshot_root(
    writer: &dyn CaptureWriter,
    data: Node,
    description: &RecoveryPointDescription,
    sidecars: Vec<Node>,
    at: Timestamp,
) -> Result<Tree, WriteError> {
    let json = serde_json::to_vec_pretty(description).map_err(|error| WriteError::Vault(Box::new(error)))?;
    let content = writer.write_content(Chunking::ContentDefined, &mut json.as_slice())?;
    let file = Node::unowned(FILE, NodeKind::File { content: content.blobs, size: content.size }, 0o600, at);
    let mut nodes = sidecars;
    nodes.push(file);
    let subtree = writer.write_tree(Tree { nodes })?;
    let directory = Node::unowned(DIRECTORY, NodeKind::Dir { subtree }, 0o700, at);
    Ok(Tree { nodes: vec![data, directory] })
}

/// Reads a snapshot's description.
///
/// # Errors
/// [`ReadError::Damaged`] when there is none, when it is of a newer schema, or when a blob is lost.
pub fn read_description(reader: &dyn SnapshotReader) -> Result<RecoveryPointDescription, ReadError> {
    let damaged = |problem: String| ReadError::Damaged { what: format!("`{DIRECTORY}/{FILE}`"), problem };
    let root = reader.tree(&reader.root())?;
    let subtree = match find(&root, DIRECTORY).map(|node| &node.kind) {
        Some(NodeKind::Dir { subtree }) => *subtree,
        _ => return Err(damaged(format!("the snapshot has no directory `{DIRECTORY}`; it is no recovery point"))),
    };
    let directory = reader.tree(&subtree)?;
    let content = match find(&directory, FILE).map(|node| &node.kind) {
        Some(NodeKind::File { content, size }) if *size <= DESCRIPTION_BYTES_MAX => content,
        Some(NodeKind::File { size, .. }) => return Err(damaged(format!("it has {size} bytes"))),
        _ => return Err(damaged("the file is missing".to_owned())),
    };
    let mut json = Vec::new();
    for id in content {
        json.extend_from_slice(&reader.blob(id)?);
    }
    let description: RecoveryPointDescription =
        serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
    if description.schema > DESCRIPTION_SCHEMA {
        return Err(damaged(format!(
            "it has schema {}, this version reads up to {DESCRIPTION_SCHEMA}; use a newer one",
            description.schema
        )));
    }
    Ok(description)
}

fn find<'a>(tree: &'a Tree, name: &str) -> Option<&'a Node> {
    tree.nodes.iter().find(|node| node.name == name.as_bytes())
}
