//! How new the states of a resource are that a vault can bring back: what a disaster now would cost, by vault and region.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{Arn, RecoveryPoint, RecoveryPointStatus, VerdictStatus};

/// The newest states of one resource in one vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recency {
    /// The vault; that of a copy is in the copy's region.
    pub vault: Arn,
    /// The newest state that can be restored: the end of a capture, or the newest commit that is durable.
    pub restorable_at: Timestamp,
    /// The newest state that a restore test brought back and found right; none where none did.
    pub checked_at: Option<Timestamp>,
    /// The oldest state: since when there is something to check.
    pub since: Timestamp,
}

impl RecoveryPoint {
    /// The newest state that can be restored from it: of a snapshot the end of its capture, of a continuous one the newest
    /// commit that is known to be durable.
    #[must_use]
    pub fn restorable_at(&self) -> Timestamp {
        let followed = self.continuous.as_ref().and_then(|continuous| continuous.window.last());
        followed.map_or(self.summary.capture_ended_at, |interval| interval.to.max(self.summary.capture_ended_at))
    }

    /// The state that its last restore test brought back and found right; none where it was not tested, or failed.
    #[must_use]
    pub fn checked_at(&self) -> Option<Timestamp> {
        let verdict = self.last_verdict.as_ref().filter(|verdict| verdict.status == VerdictStatus::Successful)?;
        // The verdict tells the age of what it judged.
        let age = SignedDuration::from_millis(i64::try_from(verdict.rpo_ms).ok()?);
        verdict.judged_at.checked_sub(age).ok()
    }
}

/// The newest states of one resource in each vault that has a whole recovery point of it.
#[must_use]
pub fn recency_by_vault<'a>(points: impl IntoIterator<Item = &'a RecoveryPoint>) -> Vec<Recency> {
    let mut by_vault = BTreeMap::<&Arn, Recency>::new();
    for point in points.into_iter().filter(|point| point.status == RecoveryPointStatus::Completed) {
        let (restorable_at, checked_at) = (point.restorable_at(), point.checked_at());
        let since = point.summary.capture_ended_at;
        by_vault
            .entry(&point.vault)
            .and_modify(|known| {
                known.restorable_at = known.restorable_at.max(restorable_at);
                known.checked_at = known.checked_at.max(checked_at);
                known.since = known.since.min(since);
            })
            .or_insert_with(|| Recency { vault: point.vault.clone(), restorable_at, checked_at, since });
    }
    by_vault.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Continuous, RestorableInterval, Verdict};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A snapshot that was captured at a second.
    fn point(vault: &str, captured: i64) -> RecoveryPoint {
        serde_json::from_value(json!({
            "id": "018f0000-0000-7000-8000-000000000002",
            "arn": "arn:aws:backup:ap-northeast-1:000000000000:recovery-point:018f0000-0000-7000-8000-000000000002",
            "kind": "SNAPSHOT",
            "vault": format!("arn:aws:backup:ap-northeast-1:000000000000:backup-vault:{vault}"),
            "snapshot_id": "", "resource": "arn:aws:rds:ap-northeast-1:000000000000:db:shop", "resource_type": "RDS",
            "status": "COMPLETED", "job_id": "018f0000-0000-7000-8000-000000000001",
            "created_at": at(captured), "completed_at": at(captured + 5),
            "summary": {
                "tree_id": "", "consistency": "database", "capture_started_at": at(captured - 1),
                "capture_ended_at": at(captured), "size_bytes": 1, "items": 1, "change_detection": "full",
                "exception_count": 0, "exceptions": [],
            },
            "lifecycle": {}, "time_zone": "UTC",
        }))
        .unwrap()
    }

    fn judged(mut point: RecoveryPoint, status: VerdictStatus, judged: i64, age_seconds: u64) -> RecoveryPoint {
        point.last_verdict = Some(Verdict {
            status,
            message: String::new(),
            judged_at: at(judged),
            restore_job_id: None,
            rto_ms: 1,
            rpo_ms: age_seconds * 1000,
        });
        point
    }

    fn followed(mut point: RecoveryPoint, until: i64) -> RecoveryPoint {
        let interval =
            RestorableInterval { from: at(1), to: at(until), from_position: String::new(), to_position: String::new() };
        point.continuous = Some(Continuous { window: vec![interval], ..Continuous::default() });
        point
    }

    #[test]
    fn the_newest_whole_state_of_each_vault_counts_and_only_what_passed_is_checked() {
        let mut partial = point("tokyo", 900);
        partial.status = RecoveryPointStatus::Partial;
        let points = [
            judged(point("tokyo", 100), VerdictStatus::Successful, 160, 60),
            judged(point("tokyo", 200), VerdictStatus::Failed, 260, 60),
            followed(point("tokyo", 300), 777),
            partial,
            judged(point("osaka", 150), VerdictStatus::Successful, 300, 150),
            point("osaka", 250),
            point("naha", 10),
        ];
        let found: Vec<_> = recency_by_vault(&points)
            .into_iter()
            .map(|recency| {
                let name = recency.vault.as_str().rsplit(':').next().unwrap().to_owned();
                (name, recency.restorable_at, recency.checked_at, recency.since)
            })
            .collect();
        let expected = [
            ("naha".to_owned(), at(10), None, at(10)),
            ("osaka".to_owned(), at(250), Some(at(150)), at(150)),
            ("tokyo".to_owned(), at(777), Some(at(100)), at(100)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_instant_between_two_captures_is_checked_as_that_instant() {
        let point = judged(followed(point("tokyo", 100), 500), VerdictStatus::Successful, 600, 140);
        assert_eq!((point.checked_at(), point.restorable_at()), (Some(at(460)), at(500)));
    }
}
