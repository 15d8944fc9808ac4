//! What checks see and what the verifier concludes.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::JobId;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Not as it should be, but the data is there.
    Warning,
    /// The restore cannot be trusted.
    Failure,
}

/// What kind of thing a check saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The snapshot in the vault is not the one that was captured.
    TreeDiffers,
    /// An entry is missing from what was restored.
    EntryMissing,
    /// An entry is there that was not captured.
    EntryUnexpected,
    /// The content is not what was captured.
    ContentDiffers,
    /// Type, owner, mode, times, attributes, holes or links are not what was captured.
    MetadataDiffers,
    /// Something could not be read back or checked at all.
    CheckFailed,
    /// No recovery point met the selection: nothing proves that the resource can be restored.
    NoEligibleRecoveryPoint,
    /// The restore itself failed.
    RestoreFailed,
    /// The capture had exceptions, so the recovery point is not all of the resource.
    CaptureIncomplete,
    /// The check did not end within its time.
    TimedOut,
}

/// One thing a check saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What kind.
    pub kind: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// The path, extent or object it is about; empty for the whole.
    pub subject: String,
    /// What was expected and what was seen.
    pub message: String,
}

/// What the verifier concludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VerdictStatus {
    /// Restored and found equal to what was captured.
    Successful,
    /// Not proven.
    Failed,
}

/// The conclusion of one restore test of one recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The conclusion.
    pub status: VerdictStatus,
    /// One sentence for a person.
    pub message: String,
    /// When it was reached.
    pub judged_at: Timestamp,
    /// The restore job it is about; none where no recovery point was eligible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_job_id: Option<JobId>,
    /// From the restore order to the first correct read, in milliseconds.
    pub rto_ms: u64,
    /// Age of the newest restorable and checked state when it was judged, in milliseconds.
    pub rpo_ms: u64,
}
