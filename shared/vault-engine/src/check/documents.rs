//! Whether what lies in a vault beside snapshots, indexes and packs is as it was written: keys, protections, notes, and the
//! pieces of streams.

use std::collections::BTreeSet;

use driver_api::Control;
use job_model::RecoveryPointId;
use serde::de::IgnoredAny;

use super::{CheckFindingKind, CheckReport};
use crate::prune::MARKS;
use crate::retention::RETENTION;
use crate::{SnapshotListing, SnapshotSummary, Vault, VaultError, documents};

/// Everything but the pieces of streams.
pub(super) fn check(vault: &Vault, listing: &SnapshotListing, report: &mut CheckReport) -> Result<(), VaultError> {
    for file in vault.keys()?.1 {
        report.add(CheckFindingKind::KeyDamaged, file.path, file.problem);
    }
    for (problem, recovery_point) in vault.keep_problems(listing)? {
        report.add(CheckFindingKind::KeepBroken, "holdfast/keep", problem);
        report.recovery_points_affected.extend(recovery_point);
    }
    for directory in [MARKS, RETENTION, super::scrub::DIRECTORY] {
        // What stands in them is judged by who uses it; whether it is authentic JSON shows here.
        for file in documents::read_all::<IgnoredAny>(vault, directory)?.1 {
            report.add(CheckFindingKind::NoteDamaged, file.path, file.problem);
        }
    }
    Ok(())
}

/// Reads every piece of the streams whose recovery points have a snapshot.
pub(super) fn check_pieces(vault: &Vault, control: &dyn Control, report: &mut CheckReport) -> Result<(), VaultError> {
    let readable = vault.snapshots()?.readable;
    let of_streams = readable.iter().filter(|snapshot| snapshot.is_of_stream());
    let ids: BTreeSet<RecoveryPointId> = of_streams.filter_map(SnapshotSummary::recovery_point).collect();
    for id in ids {
        let stream = vault.stream(id);
        for span in stream.spans()? {
            if control.is_stopped() {
                return Err(VaultError::Stopped);
            }
            let Err(error) = stream.read_piece(span) else { continue };
            let VaultError::Damaged { what, problem } = error else { return Err(error) };
            // Whoever follows takes pieces away once they are part of a snapshot.
            if stream.spans()?.contains(&span) {
                report.add(CheckFindingKind::PieceDamaged, what, problem);
                report.recovery_points_affected.insert(id);
            }
        }
    }
    Ok(())
}
