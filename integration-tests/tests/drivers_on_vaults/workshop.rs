//! A directory with keys and vaults, and what a worker does with a driver and a vault.

use std::fs;
use std::path::{Path, PathBuf};

use driver_api::{
    CaptureRequest, Check, CheckRequest, Driver, DriverError, NoControl, ParentPoint, QuiesceOutcome, RestoreRequest,
    Restored, SnapshotReader, file_location,
};
use jiff::{SignedDuration, Timestamp};
use job_model::{OverwritePolicy, RecoveryPointId, VaultAccess};
use tempfile::TempDir;
use uuid::Uuid;
use vault_engine::{
    CheckOptions, CheckReport, Committed, Copied, CopyRequest, DESCRIPTION_SCHEMA, KeyProfile, Profiles,
    RecoveryPointDescription, SnapshotInput, Surroundings, Vault, VaultError, WriteStats, copy_snapshot,
    read_description, recovery_point_tag, snapshot_root,
};
use vault_format::Id;

use crate::source::Unlock;

/// The keys of the vaults.
pub(crate) const KEYS: [&str; 2] = ["main", "other"];

/// See the module. What is left at its end is removed, immutable or not.
pub(crate) struct Workshop {
    pub(crate) profiles: Profiles,
    directory: TempDir,
}

impl Drop for Workshop {
    fn drop(&mut self) {
        drop(Unlock(self.directory.path()));
    }
}

/// A recovery point in a vault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) id: RecoveryPointId,
    pub(crate) snapshot: Id,
    pub(crate) tree: Id,
    pub(crate) stats: WriteStats,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let mut profiles = Profiles::default();
        for name in KEYS {
            let password_file = Some(directory.path().join(name));
            fs::write(directory.path().join(name), format!("the secret of {name}\n")).unwrap();
            profiles.keys.insert(name.to_owned(), KeyProfile { password_file, ..KeyProfile::default() });
        }
        Self { profiles, directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// How a vault in a directory is reached.
    pub(crate) fn in_directory(&self, name: &str, key: &str) -> VaultAccess {
        access(&file_location(&self.path(name)).unwrap(), key)
    }

    pub(crate) fn create(&self, access: &VaultAccess) -> Vault {
        Vault::create(access, &self.profiles, &surroundings()).unwrap()
    }

    pub(crate) fn open(&self, access: &VaultAccess) -> Result<Vault, VaultError> {
        Vault::open(access, &self.profiles, &surroundings())
    }

    /// As a worker opens it whose clock is so many days behind.
    pub(crate) fn open_days_ago(&self, access: &VaultAccess, days: i64) -> Vault {
        let ago = SignedDuration::from_hours(24 * days);
        Vault::open(access, &self.profiles, &Surroundings::new(move || now() - ago)).unwrap()
    }
}

pub(crate) fn access(location: &str, key: &str) -> VaultAccess {
    VaultAccess {
        arn: format!("arn:aws:backup:ap-northeast-1:000000000000:backup-vault:{key}").parse().unwrap(),
        location: location.to_owned(),
        key_profile: key.to_owned(),
        repository_id: None,
    }
}

fn surroundings() -> Surroundings {
    Surroundings::new(now)
}

#[expect(clippy::disallowed_methods, reason = "restic and the kernel on the other side use the real clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Captures what lies at `source` as a worker does, and expects no exceptions.
pub(crate) fn capture(vault: &Vault, driver: &dyn Driver, source: &Path, parent: Option<&Point>) -> Point {
    try_capture(vault, driver, source, parent).unwrap()
}

pub(crate) fn try_capture(
    vault: &Vault,
    driver: &dyn Driver,
    source: &Path,
    parent: Option<&Point>,
) -> Result<Point, DriverError> {
    let writing = |error: VaultError| DriverError::Write(error.into());
    let parent = parent.map(|point| (vault.reader(point.snapshot).unwrap(), point));
    let described = parent.as_ref().map(|(reader, _)| serde_json::to_value(read_description(reader).unwrap()).unwrap());
    let parent_point = parent
        .as_ref()
        .zip(described.as_ref())
        .map(|((reader, _), description)| ParentPoint { reader: reader as &dyn SnapshotReader, description });
    let writer = vault.writer(&NoControl).map_err(writing)?;
    let location = file_location(source).unwrap();
    let started_at = now();
    let capture = driver.capture(CaptureRequest {
        location: &location,
        writer: &writer,
        parent: parent_point,
        quiesced: QuiesceOutcome::NotQuiesced,
        tracking: None,
        parallelism: 2,
        control: &NoControl,
        now: &now,
    })?;
    assert_eq!(capture.exceptions, [], "what is at rest is captured without exceptions");
    let ended_at = now();
    let id = RecoveryPointId::new(Uuid::from_u128(rand::random()));
    let description = RecoveryPointDescription {
        schema: DESCRIPTION_SCHEMA,
        recovery_point: format!("arn:aws:backup:ap-northeast-1:000000000000:recovery-point:{id}").parse().unwrap(),
        resource: "arn:aws:holdfast:ap-northeast-1:000000000000:files/source".parse().unwrap(),
        resource_type: driver.resource_type(),
        consistency: capture.consistency,
        capture_started_at: started_at,
        capture_ended_at: ended_at,
        change_detection: capture.change_detection,
        reading: None,
        size_bytes: capture.size_bytes,
        items: capture.items,
        exceptions: capture.exceptions,
        driver: capture.facts,
    };
    let root = snapshot_root(&writer, capture.data, &description, capture.sidecars, ended_at)?;
    let input = SnapshotInput {
        root,
        time: ended_at,
        hostname: "source".to_owned(),
        paths: vec![location],
        tags: vec![recovery_point_tag(id)],
        parent: parent.map(|(_, point)| point.snapshot),
    };
    let Committed { snapshot_id, tree_id, stats, .. } = writer.commit(input).map_err(writing)?;
    Ok(Point { id, snapshot: snapshot_id, tree: tree_id, stats })
}

/// Copies a recovery point into another vault, and says what it is there.
pub(crate) fn copy(source: &Vault, point: &Point, destination: &Vault) -> Result<Point, VaultError> {
    let Copied { snapshot_id, stats, .. } = copy_snapshot(&CopyRequest {
        source,
        snapshot_id: point.snapshot,
        expected_tree: point.tree,
        destination,
        tags: vec![recovery_point_tag(point.id)],
        parallelism: 2,
        control: &NoControl,
    })?;
    Ok(Point { snapshot: snapshot_id, stats, ..*point })
}

/// Opens a recovery point as a worker does before it restores or checks.
fn with_reader<T>(
    vault: &Vault,
    point: &Point,
    work: impl FnOnce(&dyn SnapshotReader, &serde_json::Value) -> Result<T, DriverError>,
) -> Result<T, DriverError> {
    let reader = vault.reader(point.snapshot).map_err(|error| DriverError::Read(error.into()))?;
    assert_eq!(reader.root(), point.tree);
    let description = serde_json::to_value(read_description(&reader)?).unwrap();
    work(&reader, &description)
}

pub(crate) fn restore(
    vault: &Vault,
    driver: &dyn Driver,
    point: &Point,
    target: &Path,
    overwrite: OverwritePolicy,
) -> Result<Restored, DriverError> {
    with_reader(vault, point, |reader, description| {
        driver.restore(RestoreRequest {
            options: &std::collections::BTreeMap::new(),
            reader,
            description,
            target,
            overwrite,
            include: &[],
            parallelism: 2,
            control: &NoControl,
            elapsed_ms: &|| 0,
        })
    })
}

/// Restores to a new place; all of it must come back.
pub(crate) fn restore_new(vault: &Vault, driver: &dyn Driver, point: &Point, target: &Path) {
    let restored = restore(vault, driver, point, target, OverwritePolicy::Refuse).unwrap();
    assert_eq!(restored.findings, []);
}

/// Lets the driver compare what was restored.
pub(crate) fn check(vault: &Vault, driver: &dyn Driver, point: &Point, restored: &Path) -> Check {
    let checked = with_reader(vault, point, |reader, description| {
        driver.check(CheckRequest {
            options: &std::collections::BTreeMap::new(),
            reader,
            description,
            restored,
            privileged: true,
            parallelism: 2,
            control: &NoControl,
            elapsed_ms: &|| 0,
        })
    });
    checked.unwrap()
}

/// Lets the engine read every byte of the vault.
pub(crate) fn examine(vault: &Vault) -> CheckReport {
    vault.check(&CheckOptions { read_data: true, control: &NoControl }).unwrap()
}
