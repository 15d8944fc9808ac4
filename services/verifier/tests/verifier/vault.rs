//! A tree of files, captured into a file vault and restored from it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use driver_api::{CaptureRequest, Driver as _, NoControl, QuiesceOutcome, RestoreRequest, SnapshotReader as _};
use driver_filesystem::FilesystemDriver;
use jiff::Timestamp;
use job_model::{Arn, OverwritePolicy, ResourceType, VaultAccess};
use vault_engine::{
    KeyProfile, Profiles, RecoveryPointDescription, SnapshotInput, Surroundings, Vault, read_description, snapshot_root,
};

use crate::world::instant;

/// A captured tree.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) dir: PathBuf,
    pub(crate) access: VaultAccess,
    pub(crate) profiles: Profiles,
    pub(crate) snapshot_id: String,
    pub(crate) tree_id: String,
    pub(crate) ended_at: Timestamp,
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

impl Captured {
    /// Makes a vault below a directory, and captures a small tree into it.
    pub(crate) fn new(dir: &Path, vault: Arn, resource: &Arn, recovery_point: &Arn) -> Self {
        let source = dir.join("source");
        fs::create_dir_all(source.join("etc")).unwrap();
        fs::write(source.join("etc/hosts"), b"127.0.0.1 localhost\n").unwrap();
        fs::write(source.join("notes.txt"), vec![b'n'; 100_000]).unwrap();
        fs::write(dir.join("password"), "correct horse battery staple").unwrap();
        let key = KeyProfile { password_file: Some(dir.join("password")), ..KeyProfile::default() };
        let profiles = Profiles { keys: [("main".to_owned(), key)].into(), ..Profiles::default() };
        fs::create_dir_all(dir.join("vault")).unwrap();
        let mut access = VaultAccess {
            arn: vault,
            location: url(&dir.join("vault")),
            key_profile: "main".to_owned(),
            repository_id: None,
        };
        let vault = Vault::create(&access, &profiles, &Surroundings::new(instant)).unwrap();
        access.repository_id = Some(vault.repository_id().to_owned());
        let control = NoControl;
        let writer = vault.writer(&control).unwrap();
        let capture = FilesystemDriver
            .capture(CaptureRequest {
                location: &url(&source),
                writer: &writer,
                parent: None,
                quiesced: QuiesceOutcome::NotQuiesced,
                tracking: None,
                parallelism: 1,
                control: &control,
                now: &instant,
            })
            .unwrap();
        let ended_at = instant();
        let description = RecoveryPointDescription {
            schema: vault_engine::DESCRIPTION_SCHEMA,
            recovery_point: recovery_point.clone(),
            resource: resource.clone(),
            resource_type: ResourceType::Files,
            consistency: capture.consistency,
            capture_started_at: ended_at,
            capture_ended_at: ended_at,
            change_detection: capture.change_detection,
            reading: None,
            size_bytes: capture.size_bytes,
            items: capture.items,
            exceptions: capture.exceptions,
            driver: capture.facts,
        };
        let root = snapshot_root(&writer, capture.data, &description, capture.sidecars, ended_at).unwrap();
        let committed = writer
            .commit(SnapshotInput {
                root,
                time: ended_at,
                hostname: "test".to_owned(),
                paths: vec![url(&source)],
                tags: Vec::new(),
                parent: None,
            })
            .unwrap();
        Self {
            dir: dir.to_owned(),
            access,
            profiles,
            snapshot_id: committed.snapshot_id.to_string(),
            tree_id: committed.tree_id.to_string(),
            ended_at,
        }
    }

    /// Restores the tree, and says where it lies.
    pub(crate) fn restore(&self, name: &str) -> PathBuf {
        let vault = Vault::open(&self.access, &self.profiles, &Surroundings::new(instant)).unwrap();
        let reader = vault.reader(self.snapshot_id.parse().unwrap()).unwrap();
        assert_eq!(reader.root().to_string(), self.tree_id);
        let description = serde_json::to_value(read_description(&reader).unwrap()).unwrap();
        let target = self.dir.join(name);
        let restored = FilesystemDriver
            .restore(RestoreRequest {
                options: &std::collections::BTreeMap::new(),
                reader: &reader,
                description: &description,
                target: &target,
                overwrite: OverwritePolicy::Refuse,
                include: &[],
                parallelism: 1,
                control: &NoControl,
                elapsed_ms: &|| 0,
            })
            .unwrap();
        restored.location
    }
}

/// Changes one byte of a restored file and leaves everything else of it as it was.
pub(crate) fn flip_a_byte(file: &Path) {
    let modified = fs::metadata(file).unwrap().modified().unwrap();
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
    fs::File::options().write(true).open(file).unwrap().set_modified(modified).unwrap();
}

/// The location of a restored tree.
pub(crate) fn location(path: &Path) -> String {
    assert!(path.as_os_str().as_bytes().is_ascii());
    url(path)
}
