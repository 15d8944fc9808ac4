//! What must hold after every step, however it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use driver_api::NoControl;
use jiff::SignedDuration;
use job_model::RecoveryPointId;
use tempfile::TempDir;

use super::scene::{Content, PASSWORD, Scene, bytes_of, restore, shown, tag};
use crate::{CheckOptions, PruneOptions, PruneReport, Vault, VaultError};

/// What a vault must hold, by the numbers of the recovery points.
#[derive(Clone, Default)]
pub(super) struct Expected {
    /// Acknowledged, and not deleted since.
    pub(super) certain: BTreeMap<u64, Content>,
    /// Begun and not acknowledged: there or not, but whole if there.
    pub(super) doubtful: BTreeMap<u64, Content>,
    /// A recovery point with content of another shape, which its own test judges.
    pub(super) others: Option<RecoveryPointId>,
}

impl Expected {
    /// Every recovery point that is there restores byte for byte, none that was acknowledged is missing, no other is
    /// there, and a check that reads everything finds nothing. `context` tells how the vault came to be as it is.
    pub(super) fn hold(&self, scene: &Scene, context: &str) {
        let vault = scene.open();
        self.restore_all(&vault, context);
        let report = vault.check(&CheckOptions { read_data: true, control: &NoControl });
        let report = report.unwrap_or_else(|error| panic!("{context}: the check ends with {error:?}"));
        assert!(report.is_sound(), "{context}: {:#?}", report.findings);
    }

    /// The first part of [`Expected::hold`], for vaults with files that are damaged.
    pub(super) fn restore_all(&self, vault: &Vault, context: &str) {
        let listing = vault.snapshots().unwrap_or_else(|error| panic!("{context}: the listing ends with {error:?}"));
        let mut seen = BTreeSet::new();
        for snapshot in listing.readable {
            if self.others.is_some() && snapshot.recovery_point() == self.others {
                continue;
            }
            let all = self.certain.iter().chain(&self.doubtful);
            let found = all.into_iter().find(|(number, _)| snapshot.tags.contains(&tag(**number)));
            let Some((number, content)) = found else { panic!("{context}: nobody made {snapshot:?}") };
            let restored = restore(vault, snapshot.id)
                .unwrap_or_else(|error| panic!("{context}: recovery point {number} does not restore: {error}"));
            let same = restored.len() == content.len()
                && content.iter().all(|(path, blocks)| restored.get(path) == Some(&bytes_of(blocks)));
            assert!(same, "{context}: recovery point {number} restores to something else");
            seen.insert(*number);
        }
        let lost: Vec<_> = self.certain.keys().filter(|number| !seen.contains(number)).collect();
        assert!(lost.is_empty(), "{context}: recovery points {lost:?} were acknowledged and are not there");
    }
}

/// restic reads every byte and finds nothing.
pub(super) fn restic_agrees(scene: &Scene, context: &str) {
    let directory = TempDir::new().unwrap();
    for name in ["data", "index", "keys", "locks", "snapshots"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    for (path, bytes) in scene.disk.files() {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let output = Command::new("restic")
        .arg("--repo")
        .arg(directory.path())
        .args(["--no-cache", "--quiet", "--no-lock", "check", "--read-data"])
        .env("RESTIC_PASSWORD", PASSWORD)
        .env_remove("RESTIC_REPOSITORY")
        .output()
        .unwrap_or_else(|error| panic!("these tests need restic on the PATH (`apt install restic`): {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{context}: restic says {}\n{said}", String::from_utf8_lossy(&output.stdout));
}

/// One run of a prune that keeps nothing unused.
pub(super) fn prune(vault: &Vault) -> Result<PruneReport, VaultError> {
    vault.prune(&PruneOptions { max_unused_percent: 0, ..PruneOptions::new(&NoControl) })
}

/// After prunes with the grace period between them every pack in the store is in the index and nothing in it is unused.
pub(super) fn assert_nothing_is_left_over(scene: &Scene, context: &str) {
    for _ in 0..3 {
        scene.wait(SignedDuration::from_hours(30));
        prune(&scene.open()).unwrap_or_else(|error| panic!("{context}: a later prune ends with {}", shown(&error)));
    }
    let vault = scene.open();
    let report = vault.check(&CheckOptions { read_data: false, control: &NoControl }).unwrap();
    assert_eq!(report.packs_unreferenced, 0, "{context}: packs are left over");
    let plan = vault.prune_plan(&PruneOptions { max_unused_percent: 0, ..PruneOptions::new(&NoControl) }).unwrap();
    let idle =
        plan.unreferenced.is_empty() && plan.repack.is_empty() && plan.remove.is_empty() && plan.waiting.is_empty();
    assert!(idle, "{context}: there is still work: {plan:?}");
    let locks = scene.disk.files().keys().filter(|path| path.starts_with("locks/")).count();
    assert_eq!(locks, 0, "{context}: locks are left over");
}
