//! Reads a vault through and says what is wrong with it.

use attempt_control::{Steering, WorkError};
use job_events::{AttemptHeader, CheckVault, VaultChecked};
use job_model::{Finding, FindingKind, RecoveryPointId, ScrubCoverage, Severity};
use vault_engine::{
    CheckFinding, CheckFindingKind, CheckOptions, CheckReport, ScrubOptions, SnapshotListing, SnapshotSummary, Vault,
};
use vault_format::Id;

use crate::work::Tools;

/// Findings that a fact carries; a message is no place for a million of them.
const FINDINGS_MAX: usize = 100;

/// What came of an order.
pub(crate) struct Checked {
    report: CheckReport,
    /// The recovery points of the snapshots that cannot be restored whole.
    recovery_points: Vec<RecoveryPointId>,
    coverage: Option<ScrubCoverage>,
}

pub(crate) fn run(tools: &Tools, order: &CheckVault, steering: &Steering) -> Result<Checked, WorkError> {
    let vault = Vault::open(&order.vault, &tools.profiles, &tools.surroundings)?;
    let (report, coverage) = match order.scrub_mib {
        Some(mib) => {
            let scrub = vault.scrub(&ScrubOptions { read_bytes: u64::from(mib) << 20, control: steering })?;
            let coverage = ScrubCoverage {
                packs: scrub.packs,
                bytes: scrub.bytes,
                packs_covered: scrub.packs_covered,
                bytes_covered: scrub.bytes_covered,
                oldest_read: scrub.oldest_read,
            };
            (scrub.check, Some(coverage))
        }
        None => (vault.check(&CheckOptions { read_data: order.read_data, control: steering })?, None),
    };
    tracing::info!(
        vault = %order.vault.arn,
        findings = report.findings.len(),
        packs_read = report.packs_read,
        snapshots = report.snapshots,
        "vault checked"
    );
    let listing = if report.snapshots_affected.is_empty() { SnapshotListing::default() } else { vault.snapshots()? };
    let recovery_points = points_of(&listing, &report.snapshots_affected);
    Ok(Checked { report, recovery_points, coverage })
}

/// The recovery points that these snapshots are of.
fn points_of(listing: &SnapshotListing, affected: &[Id]) -> Vec<RecoveryPointId> {
    let snapshots = listing.readable.iter().filter(|snapshot| affected.contains(&snapshot.id));
    let mut points: Vec<RecoveryPointId> = snapshots.filter_map(SnapshotSummary::recovery_point).collect();
    points.sort_unstable();
    points.dedup();
    points
}

pub(crate) fn fact(checked: &Checked, attempt: AttemptHeader) -> VaultChecked {
    let Checked { report, recovery_points, coverage } = checked;
    VaultChecked {
        attempt,
        findings: findings(report),
        packs_read: report.packs_read,
        bytes_read: report.bytes_read,
        snapshots: report.snapshots,
        recovery_points_damaged: recovery_points.len() as u64,
        recovery_points: recovery_points.iter().take(FINDINGS_MAX).copied().collect(),
        coverage: *coverage,
    }
}

/// The first findings, then one that says how many there are and which snapshots they concern.
fn findings(report: &CheckReport) -> Vec<Finding> {
    let mut findings: Vec<Finding> = report.findings.iter().take(FINDINGS_MAX).map(finding).collect();
    if !report.findings.is_empty() {
        let affected: Vec<String> =
            report.snapshots_affected.iter().take(FINDINGS_MAX).map(ToString::to_string).collect();
        let points: Vec<String> =
            report.recovery_points_affected.iter().take(FINDINGS_MAX).map(ToString::to_string).collect();
        findings.push(Finding {
            kind: FindingKind::CheckFailed,
            severity: if affected.is_empty() && points.is_empty() { Severity::Warning } else { Severity::Failure },
            subject: String::new(),
            message: format!(
                "{} findings in all; {} snapshots cannot be restored whole: {}; recovery points: {}",
                report.findings.len(),
                report.snapshots_affected.len(),
                affected.join(", "),
                points.join(", ")
            ),
        });
    }
    findings
}

fn finding(found: &CheckFinding) -> Finding {
    let kind = match found.kind {
        CheckFindingKind::PackMissing | CheckFindingKind::BlobMissing => FindingKind::EntryMissing,
        CheckFindingKind::IndexDamaged
        | CheckFindingKind::KeyDamaged
        | CheckFindingKind::KeepBroken
        | CheckFindingKind::NoteDamaged
        | CheckFindingKind::PieceDamaged
        | CheckFindingKind::SnapshotDamaged
        | CheckFindingKind::PackDamaged
        | CheckFindingKind::BlobDamaged
        | CheckFindingKind::TreeDamaged => FindingKind::ContentDiffers,
        CheckFindingKind::LockShort => FindingKind::MetadataDiffers,
    };
    Finding { kind, severity: Severity::Failure, subject: found.subject.clone(), message: found.message.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_vault_has_no_findings() {
        assert!(findings(&CheckReport::default()).is_empty());
    }

    #[test]
    fn many_findings_are_cut_and_counted() {
        let one = CheckFinding {
            kind: CheckFindingKind::PackMissing,
            subject: "data/00".to_owned(),
            message: "not in the store".to_owned(),
        };
        let report = CheckReport {
            findings: vec![one; 1000],
            snapshots_affected: vec![Id::new([1; 32])],
            ..CheckReport::default()
        };
        let findings = findings(&report);
        assert_eq!(findings.len(), FINDINGS_MAX + 1);
        assert!(findings[FINDINGS_MAX].message.starts_with("1000 findings"), "{}", findings[FINDINGS_MAX].message);
        assert_eq!(findings[FINDINGS_MAX].severity, Severity::Failure);
    }
}
