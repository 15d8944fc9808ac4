//! What these tests share: vaults, content, and restic.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use driver_api::{CaptureWriter, Chunking, NoControl, SnapshotReader};
use jiff::Timestamp;
use job_model::VaultAccess;
use tempfile::TempDir;
use vault_engine::{Committed, KeyProfile, Profiles, Reader, SnapshotInput, Surroundings, Vault, Writer};
use vault_format::{Id, Node, NodeKind, Tree};

/// Where vaults lie: a directory that goes with the workshop, or one of another process.
pub(crate) enum Place {
    Own(TempDir),
    Other(PathBuf),
}

impl Place {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Own(directory) => directory.path(),
            Self::Other(path) => path,
        }
    }
}

/// A directory with vaults and the keys `main` and `other`.
pub(crate) struct Workshop {
    pub(crate) dir: Place,
    pub(crate) profiles: Profiles,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        Self::in_place(Place::Own(TempDir::new().unwrap()))
    }

    /// The workshop that another process has made.
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self::in_place(Place::Other(directory))
    }

    fn in_place(dir: Place) -> Self {
        let mut profiles = Profiles::default();
        for name in ["main", "other"] {
            let path = dir.path().join(name);
            if matches!(dir, Place::Own(_)) {
                fs::write(&path, format!("the secret of {name}\n")).unwrap();
            }
            profiles.keys.insert(name.to_owned(), KeyProfile { password_file: Some(path), ..KeyProfile::default() });
        }
        Self { dir, profiles }
    }

    pub(crate) fn path(&self, vault: &str) -> PathBuf {
        self.dir.path().join("vaults").join(vault)
    }

    /// A vault in a directory, opened with the key `main`.
    pub(crate) fn access(&self, vault: &str) -> VaultAccess {
        access(&format!("file://{}", self.path(vault).display()))
    }

    pub(crate) fn create(&self, vault: &str) -> Vault {
        Vault::create(&self.access(vault), &self.profiles, &surroundings()).unwrap()
    }

    pub(crate) fn open(&self, vault: &str) -> Vault {
        Vault::open(&self.access(vault), &self.profiles, &surroundings()).unwrap()
    }

    /// Runs restic on a vault.
    pub(crate) fn restic_with(&self, vault: &str, key: &str, arguments: &[&str]) -> Output {
        Command::new("restic")
            .arg("--repo")
            .arg(self.path(vault))
            .args(["--no-cache", "--quiet"])
            .args(arguments)
            .env("RESTIC_PASSWORD_FILE", self.dir.path().join(key))
            .env_remove("RESTIC_REPOSITORY")
            .output()
            .unwrap_or_else(|error| panic!("these tests need restic on the PATH (`apt install restic`): {error}"))
    }

    /// Runs restic on a vault of the key `main`; it must succeed.
    pub(crate) fn restic(&self, vault: &str, arguments: &[&str]) -> String {
        succeeded(&self.restic_with(vault, "main", arguments))
    }

    /// Lets restic read every byte of a vault.
    pub(crate) fn restic_agrees(&self, vault: &str) {
        self.restic(vault, &["check", "--read-data"]);
    }

    /// Runs rustic on a vault of the key `main`; it must succeed. None, said aloud, where there is no rustic.
    pub(crate) fn rustic(&self, vault: &str, arguments: &[&str]) -> Option<String> {
        let output = Command::new("rustic")
            .args(["--no-cache", "--no-progress", "--log-level", "warn", "--repository"])
            .arg(self.path(vault))
            .arg("--password-file")
            .arg(self.dir.path().join("main"))
            .args(arguments)
            .env("HOME", self.dir.path())
            .output();
        match output {
            Ok(output) => {
                let said = succeeded(&output);
                Some(said + &String::from_utf8_lossy(&output.stderr))
            }
            Err(error) => {
                println!("SKIPPED: rustic did not judge this vault: {error}");
                None
            }
        }
    }

    /// Lets rustic read every byte of a vault.
    pub(crate) fn rustic_agrees(&self, vault: &str) {
        if let Some(said) = self.rustic(vault, &["check", "--read-data"]) {
            assert!(!said.contains("ERROR"), "{said}");
        }
    }

    /// Files of a vault below a directory, largest first.
    pub(crate) fn files(&self, vault: &str, directory: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.path(vault).join(directory)];
        while let Some(path) = open.pop() {
            // What is ours alone is made when it is needed.
            let Ok(entries) = fs::read_dir(path) else { continue };
            for entry in entries.map(Result::unwrap) {
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() { open.push(entry.path()) } else { found.push((metadata.len(), entry.path())) }
            }
        }
        found.sort();
        found.into_iter().rev().map(|(_, path)| path).collect()
    }
}

pub(crate) fn succeeded(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

pub(crate) fn access(location: &str) -> VaultAccess {
    VaultAccess {
        arn: "arn:aws:backup:ap-northeast-1:000000000000:backup-vault:test".parse().unwrap(),
        location: location.to_owned(),
        key_profile: "main".to_owned(),
        repository_id: None,
    }
}

#[expect(clippy::disallowed_methods, reason = "restic on the other side uses the real clock")]
pub(crate) fn surroundings() -> Surroundings {
    Surroundings::new(Timestamp::now)
}

/// Content that a seed decides: half noise, half repetition, so that it compresses by about two.
pub(crate) fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) | 1;
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (state >> 16).to_le_bytes();
        bytes.extend_from_slice(&word);
        bytes.extend_from_slice(&[word[0]; 8]);
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn node(name: &[u8], kind: NodeKind) -> Node {
    let time = "2026-11-20T10:11:12.123456789Z".parse().unwrap();
    let mode = if matches!(kind, NodeKind::Dir { .. }) { 0o755 } else { 0o640 };
    let (user, group) = ("root".to_owned(), "root".to_owned());
    Node { user, group, inode: 1, ..Node::unowned(name, kind, mode, time) }
}

/// Files by name; what a capture of them must bring back.
pub(crate) type Files = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) fn files(entries: &[(&str, Vec<u8>)]) -> Files {
    entries.iter().map(|(name, content)| (name.as_bytes().to_vec(), content.clone())).collect()
}

/// Writes the files into a tree; returns the root of a snapshot with it as `data`.
pub(crate) fn write_files(writer: &Writer<'_>, files: &Files) -> Tree {
    let nodes = files.iter().map(|(name, bytes)| {
        let content = writer.write_content(Chunking::ContentDefined, &mut bytes.as_slice()).unwrap();
        assert_eq!(content.size, bytes.len() as u64);
        node(name, NodeKind::File { content: content.blobs, size: content.size })
    });
    let subtree = writer.write_tree(Tree { nodes: nodes.collect() }).unwrap();
    Tree { nodes: vec![node(b"data", NodeKind::Dir { subtree })] }
}

pub(crate) fn input(root: Tree, tags: &[&str]) -> SnapshotInput {
    SnapshotInput {
        root,
        time: surroundings().now(),
        hostname: "source".to_owned(),
        paths: vec!["/data".to_owned()],
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        parent: None,
    }
}

pub(crate) fn capture_tagged(vault: &Vault, files: &Files, tags: &[&str]) -> Committed {
    let writer = vault.writer(&NoControl).unwrap();
    let root = write_files(&writer, files);
    writer.commit(input(root, tags)).unwrap()
}

pub(crate) fn capture(vault: &Vault, files: &Files) -> Committed {
    capture_tagged(vault, files, &[])
}

/// The nodes of `data`.
pub(crate) fn data_nodes(reader: &Reader<'_>) -> Result<Vec<Node>, driver_api::ReadError> {
    let root = reader.tree(&reader.root())?;
    let data = root.nodes.iter().find(|node| node.name == b"data").unwrap();
    let NodeKind::Dir { subtree } = data.kind else { panic!("`data` is no directory") };
    Ok(reader.tree(&subtree)?.nodes)
}

/// Reads all files of a snapshot from front to back.
pub(crate) fn read_files(vault: &Vault, snapshot: Id) -> Result<Files, driver_api::ReadError> {
    let reader = vault.reader(snapshot).unwrap();
    data_nodes(&reader)?.into_iter().map(|node| Ok((node.name.clone(), read_file(&reader, &node)?))).collect()
}

pub(crate) fn read_file(reader: &Reader<'_>, node: &Node) -> Result<Vec<u8>, driver_api::ReadError> {
    let NodeKind::File { content, .. } = &node.kind else { panic!("not a file") };
    let mut bytes = Vec::new();
    for id in content {
        bytes.extend(reader.blob(id)?);
    }
    Ok(bytes)
}

/// Files of a directory by name.
pub(crate) fn read_directory(path: &Path) -> Files {
    use std::os::unix::ffi::OsStrExt;
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().as_bytes().to_vec(), fs::read(entry.path()).unwrap())).collect()
}
