//! Continuous recovery points: what can be restored of one, and how its capture fares.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Intervals and gaps that a recovery point carries; the vault's own record has all.
pub const LISTED_MAX: usize = 8;

/// Whether the resource is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FollowState {
    /// A worker was told to, and none has said yet that it does.
    #[default]
    Starting,
    /// What is written becomes durable in the vault as it comes.
    Following,
    /// It cannot be followed at the moment; the message says why.
    Interrupted,
    /// No longer followed. What was received stays restorable until its retention ends.
    Stopped,
}

/// Instants that can be restored: after `from` and before `to`. Positions are those of the resource's own log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestorableInterval {
    /// The end of its earliest full capture.
    pub from: Timestamp,
    /// The latest change that is durable in the vault.
    pub to: Timestamp,
    /// Position of `from`.
    pub from_position: String,
    /// Position after `to`.
    pub to_position: String,
}

/// A part of the log that is lost for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogGap {
    /// The log ends here.
    pub from_position: String,
    /// It goes on here.
    pub to_position: String,
    /// When that was noticed.
    pub noticed_at: Timestamp,
    /// Why.
    pub reason: String,
}

/// What its worker last said of a continuous recovery point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Continuous {
    /// Any instant of so many days is kept restorable.
    pub keep_days: u32,
    /// Whether the resource is followed.
    pub state: FollowState,
    /// Why it is not, or what endangers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What can be restored, the newest intervals last, at most eight.
    #[serde(default)]
    pub window: Vec<RestorableInterval>,
    /// How many parts of the log are lost.
    #[serde(default)]
    pub gap_count: u64,
    /// The newest of them, at most eight.
    #[serde(default)]
    pub gaps: Vec<LogGap>,
    /// Full captures that the window starts from.
    #[serde(default)]
    pub bases: u64,
    /// Bytes that the resource has written and that are not durable yet.
    #[serde(default)]
    pub lag_bytes: u64,
    /// Milliseconds that the newest bytes took from the resource until they were durable.
    #[serde(default)]
    pub delay_ms: u64,
    /// When its worker said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<Timestamp>,
    /// Since when it is no longer followed: its retention counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
}
