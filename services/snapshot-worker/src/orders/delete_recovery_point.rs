//! Removes a recovery point's snapshot from its vault. What is gone already is success.

use attempt_control::{Steering, WorkError};
use job_events::DeleteRecoveryPointOrder;
use job_model::{Arn, FailureCode, RecoveryPointId};
use vault_engine::{SnapshotListing, Vault, recovery_point_tag};
use vault_format::Id;

use crate::work::Tools;

pub(crate) fn run(tools: &Tools, order: &DeleteRecoveryPointOrder, steering: &Steering) -> Result<(), WorkError> {
    let id = recovery_point_id(&order.recovery_point)?;
    let snapshot_id: Id = order.snapshot_id.parse().map_err(|e| {
        WorkError::refused(FailureCode::OrderInvalid, format!("`snapshot_id`: {e}; look at the planner's version"))
    })?;
    // A move between the repositories of the vault may have left a snapshot in the other one; of an id that nobody knows.
    let others = order.also.iter().map(|access| (access, None));
    for (access, snapshot_id) in others.chain([(&order.vault, Some(snapshot_id))]) {
        let vault = Vault::open(access, &tools.profiles, &tools.surroundings)?;
        for snapshot in to_forget(&vault.snapshots()?, &recovery_point_tag(id), snapshot_id)? {
            steering.guard()?;
            fail::fail_point!("snapshot-worker::before_forget");
            let was_there = vault.forget(snapshot)?;
            tracing::info!(recovery_point = %order.recovery_point, %snapshot, was_there, "snapshot forgotten");
        }
        // What a stream has outside of snapshots; mostly there is none.
        steering.guard()?;
        vault.remove_stream(id)?;
    }
    tools.kept.discard_of(id);
    Ok(())
}

/// Which snapshots to forget: those with the recovery point's tag (whoever rewrote them with other tags or under another
/// id), and the ordered one when its file is damaged and nothing can be read of it. A readable snapshot of that id with
/// another tag belongs to somebody else and is never touched.
fn to_forget(listing: &SnapshotListing, tag: &str, ordered: Option<Id>) -> Result<Vec<Id>, WorkError> {
    let tagged = |tags: &[String]| tags.iter().any(|t| t == tag);
    if let Some(other) = listing.readable.iter().find(|s| Some(s.id) == ordered && !tagged(&s.tags)) {
        return Err(WorkError::refused(
            FailureCode::SnapshotDiffers,
            format!("snapshot `{}` has not the tag `{tag}`; nothing was removed, remove it by hand", other.id),
        ));
    }
    let mut ids: Vec<Id> = listing.readable.iter().filter(|s| tagged(&s.tags)).map(|s| s.id).collect();
    ids.extend(ordered.filter(|id| listing.damaged.iter().any(|file| file.path.ends_with(&id.to_hex()))));
    Ok(ids)
}

/// The id at the end of a recovery point's ARN.
fn recovery_point_id(arn: &Arn) -> Result<RecoveryPointId, WorkError> {
    let id = arn.resource().strip_prefix("recovery-point:").and_then(|id| id.parse().ok());
    id.ok_or_else(|| {
        WorkError::refused(
            FailureCode::OrderInvalid,
            format!("`{arn}` is no recovery point; look at the planner's version"),
        )
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use vault_engine::{DamagedFile, SnapshotSummary};

    use super::*;

    fn snapshot(byte: u8, tags: &[&str]) -> SnapshotSummary {
        SnapshotSummary {
            id: Id::new([byte; 32]),
            tree: Id::new([0; 32]),
            time: Timestamp::UNIX_EPOCH,
            hostname: String::new(),
            paths: Vec::new(),
            tags: tags.iter().map(|&t| t.to_owned()).collect(),
            parent: None,
        }
    }

    fn listing(readable: Vec<SnapshotSummary>) -> SnapshotListing {
        SnapshotListing { readable, damaged: Vec::new() }
    }

    #[test]
    fn what_is_gone_already_leaves_nothing_to_forget() {
        let found = to_forget(&listing(vec![snapshot(2, &["b"])]), "a", Some(Id::new([1; 32]))).unwrap();
        assert!(found.is_empty());
    }

    #[test]
    fn a_snapshot_that_was_rewritten_under_another_id_is_found_by_its_tag() {
        let found = to_forget(&listing(vec![snapshot(2, &["x", "a"])]), "a", Some(Id::new([1; 32]))).unwrap();
        assert_eq!(found, [Id::new([2; 32])]);
    }

    #[test]
    fn a_snapshot_of_somebody_else_is_never_touched() {
        let error = to_forget(&listing(vec![snapshot(1, &["b"])]), "a", Some(Id::new([1; 32]))).unwrap_err();
        assert_eq!(error.code(), FailureCode::SnapshotDiffers);
    }

    #[test]
    fn a_damaged_snapshot_file_can_be_removed() {
        let id = Id::new([1; 32]);
        let damaged = vec![DamagedFile { path: format!("snapshots/{id}"), problem: "short".to_owned() }];
        let listing = SnapshotListing { readable: Vec::new(), damaged };
        assert_eq!(to_forget(&listing, "a", Some(id)).unwrap(), [id]);
    }

    #[test]
    fn only_recovery_points_have_an_id() {
        let id = "0192f0c1-2345-7000-8000-000000000001";
        let arn = format!("arn:aws:backup:ap-northeast-1:000000000000:recovery-point:{id}").parse().unwrap();
        assert_eq!(recovery_point_id(&arn).unwrap().to_string(), id);
        let vault = "arn:aws:backup:ap-northeast-1:000000000000:backup-vault:main".parse().unwrap();
        assert!(recovery_point_id(&vault).is_err());
    }
}
