//! What a disaster now would cost, by the vault that is left: as documents say it.

use jiff::Timestamp;
use job_model::{Arn, Recency};
use serde::Serialize;

/// Ages of the newest states of a resource in one vault.
#[derive(Serialize)]
pub(crate) struct Rpo {
    /// The vault, with its region.
    pub(crate) vault: Arn,
    /// The newest that can be restored.
    pub(crate) restorable_at: Timestamp,
    pub(crate) restorable_age_ms: u64,
    /// The newest that a restore test brought back and found right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checked_age_ms: Option<u64>,
}

impl Rpo {
    pub(crate) fn of(recency: Recency, now: Timestamp) -> Self {
        let age_ms = |at: Timestamp| u64::try_from(now.duration_since(at).as_millis()).unwrap_or_default();
        Self {
            vault: recency.vault,
            restorable_at: recency.restorable_at,
            restorable_age_ms: age_ms(recency.restorable_at),
            checked_at: recency.checked_at,
            checked_age_ms: recency.checked_at.map(age_ms),
        }
    }
}
