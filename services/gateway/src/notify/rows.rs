//! The notifier's tables.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use state_store::{Record, Table};

/// How far the facts of a region were looked at for what is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PositionRow {
    /// When the stream of facts was made; another instant is another stream.
    pub(super) stream_made_at: Timestamp,
    /// The last fact that was looked at.
    pub(super) sequence: u64,
}

/// A notice that is not delivered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NoticeRow {
    /// The same for the same fact and vault.
    pub(super) id: String,
    /// The topic's ARN.
    pub(super) topic: String,
    /// The vault's ARN.
    pub(super) vault: String,
    /// The region of the vault, whose bus has the subject.
    pub(super) region: String,
    /// AWS's name of what happened.
    pub(super) event: String,
    /// One sentence.
    pub(super) message: String,
    /// When it happened.
    pub(super) happened_at: Timestamp,
    /// When it was noted.
    pub(super) noted_at: Timestamp,
    /// How often it was tried.
    pub(super) attempts: u32,
    /// Not tried before this instant.
    pub(super) not_before: Timestamp,
}

impl Record for PositionRow {
    const VERSION: u8 = 1;
}

impl Record for NoticeRow {
    const VERSION: u8 = 1;
}

pub(super) const POSITIONS: Table<PositionRow> = Table::new("notify-positions");
pub(super) const NOTICES: Table<NoticeRow> = Table::new("notices");

impl NoticeRow {
    /// By time of the event, then by id, so that a scan gives them in the order in which they are delivered.
    pub(super) fn key(&self) -> Vec<u8> {
        let at = u64::try_from(self.happened_at.as_millisecond()).unwrap_or(0);
        [at.to_be_bytes().as_slice(), self.id.as_bytes()].concat()
    }
}
