//! Recovery points: what can be restored.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Arn, Continuous, CreatedBy, Generations, JobId, Lifecycle, RecoveryPointId, ResourceType, Verdict};

/// What a recovery point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RecoveryPointKind {
    /// One instant.
    Snapshot,
    /// A window of instants.
    Continuous,
}

/// AWS's states of a recovery point that a snapshot can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RecoveryPointStatus {
    /// Whole and restorable.
    Completed,
    /// Restorable, but some entries could not be captured; the exceptions say which.
    Partial,
    /// A worker was told to delete it.
    Deleting,
    /// Past its retention, but it could not be deleted.
    Expired,
}

/// Where in its vault a recovery point lies: AWS's storage classes of what is not deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StorageClass {
    /// In the vault's own repository.
    #[default]
    Warm,
    /// In the vault's cold repository.
    Cold,
}

impl StorageClass {
    /// Whether it is the usual one.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        *self == Self::Warm
    }
}

/// How well the resource was at rest while it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// As after a power cut, or worse for files read one after the other.
    Crash,
    /// The file system was frozen or snapshotted.
    Filesystem,
    /// The application was quiesced by its hooks.
    Application,
    /// The database's own backup protocol.
    Database,
}

/// Why an entry of the source is not in the recovery point as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExceptionKind {
    /// It changed while it was read, also on the second try; its content is a mixture.
    ChangedWhileReading,
    /// It was listed and then gone.
    Vanished,
    /// The operating system refused.
    PermissionDenied,
    /// Any other read error.
    ReadFailed,
    /// Some metadata could not be read.
    MetadataIncomplete,
    /// It is damaged at the source; its content is kept as it is.
    Damaged,
}

/// One entry that was not captured as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadException {
    /// Path below the resource, with bytes that are no UTF-8 replaced.
    pub path: String,
    /// What kind.
    pub kind: ExceptionKind,
    /// The operating system's words.
    pub message: String,
}

/// How a capture learned what had changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeMethod {
    /// All of the source was read and hashed.
    FullRead,
    /// Files whose metadata had not changed were not read.
    FileMetadata,
    /// Only those parts were read whose place on the disk was another than in the parent's clone.
    ExtentComparison,
    /// Only those parts were read that a bitmap of whoever serves the volume says were written since the parent.
    DirtyBitmap,
    /// Only those blocks were read that a database's own summaries of its log say were written since the parent.
    LogSummary,
}

/// What a capture read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceView {
    /// The source itself, while it might be written.
    Live,
    /// A clone of the file, made in an instant.
    ReflinkClone,
    /// A snapshot of the whole tree, made in an instant.
    SubvolumeSnapshot,
    /// Clones of the large files of a tree, each made in an instant; what is smaller, live.
    LargeFileClones,
    /// An instant of the volume that whoever serves it keeps for the reader.
    ServedSnapshot,
}

/// How a source was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceReading {
    /// How changes were found.
    pub method: ChangeMethod,
    /// What was read from.
    pub view: SourceView,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Bytes of the source's file system that only the parent's clone or snapshot kept from being freed, as far as was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_bytes: Option<u64>,
    /// Why changes could not be tracked this time, so that more was read than had changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

/// What a capture did and what it made. Copies keep the summary of their source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureSummary {
    /// Id of the root tree in the vault: a digest over every name, every piece of metadata and every content, computed
    /// from the source's bytes. A copy has the same; a restore is compared with it.
    pub tree_id: String,
    /// What was reached, not what was wished for.
    pub consistency: Consistency,
    /// When reading began.
    pub capture_started_at: Timestamp,
    /// When reading ended.
    pub capture_ended_at: Timestamp,
    /// Content of the recovery point in bytes, holes included.
    pub size_bytes: u64,
    /// Entries (files, extents).
    pub items: u64,
    /// How unchanged data was recognised, for example `file metadata` or `full read by hashing`.
    pub change_detection: String,
    /// The same for programs, with what was read; absent in recovery points of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<SourceReading>,
    /// How many entries were not captured as they should be.
    pub exception_count: u64,
    /// The first of them, at most 20; the vault's own record has all.
    pub exceptions: Vec<ReadException>,
}

/// A recovery point as the planner's catalogue knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryPoint {
    /// Its id.
    pub id: RecoveryPointId,
    /// Its ARN.
    pub arn: Arn,
    /// Snapshot or continuous.
    pub kind: RecoveryPointKind,
    /// The vault that holds it.
    pub vault: Arn,
    /// Which of the vault's repositories holds it.
    #[serde(default, skip_serializing_if = "StorageClass::is_warm")]
    pub storage_class: StorageClass,
    /// The snapshot in that repository (64 hexadecimal digits).
    pub snapshot_id: String,
    /// What it is a recovery point of.
    pub resource: Arn,
    /// Its type.
    pub resource_type: ResourceType,
    /// Its state.
    pub status: RecoveryPointStatus,
    /// Why it is in that state, when that needs saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
    /// The job that made it (a copy job for a copy).
    pub job_id: JobId,
    /// The plan and rule behind that job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<CreatedBy>,
    /// The recovery point this one is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_from: Option<Arn>,
    /// When the backup or copy that made it was started; retention counts from here.
    pub created_at: Timestamp,
    /// When it was whole.
    pub completed_at: Timestamp,
    /// What the capture did.
    pub summary: CaptureSummary,
    /// Retention by age.
    pub lifecycle: Lifecycle,
    /// Retention by generations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generations: Option<Generations>,
    /// The rule's time zone: where days and weeks begin for generations.
    pub time_zone: String,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The trace of the protection cycle it belongs to (W3C `traceparent`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What the last restore test of it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verdict: Option<Verdict>,
    /// The credential profile it was made with (`IamRoleArn`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_role: Option<String>,
    /// When it was last restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_restored_at: Option<Timestamp>,
    /// Of a continuous one: its window, and how its capture fares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continuous: Option<Continuous>,
}

impl RecoveryPoint {
    /// When its lifecycle ends: AWS's calculated lifecycle. None: nothing limits its age. A continuous recovery point has
    /// no age as long as its resource is followed; afterwards it counts from the end of that.
    #[must_use]
    pub fn delete_at(&self) -> Option<Timestamp> {
        let days = self.lifecycle.delete_after_days?;
        let from = match &self.continuous {
            Some(continuous) => continuous.stopped_at?,
            None => self.created_at,
        };
        Some(days_after(from, days))
    }

    /// When it moves, or moved, to cold storage by its lifecycle: AWS's calculated lifecycle. None: never.
    #[must_use]
    pub fn move_to_cold_at(&self) -> Option<Timestamp> {
        self.lifecycle.move_to_cold_after_days.map(|days| days_after(self.created_at, days))
    }
}

fn days_after(from: Timestamp, days: u32) -> Timestamp {
    from.checked_add(jiff::SignedDuration::from_hours(i64::from(days) * 24)).unwrap_or(Timestamp::MAX)
}
