//! Vaults that we, restic and rustic write, prune and read in turn: several snapshots, large files, many small ones, holes,
//! links and extended attributes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::time::Duration;

use driver_api::{CaptureWriter as _, Chunking, NoControl, SnapshotReader};
use rustix::fs::XattrFlags;
use vault_engine::{CheckOptions, Committed, PruneOptions, Reader, Vault};
use vault_format::{Id, NodeKind, Tree, Xattr};

use crate::support::{Workshop, content, files, input, node, read_file, read_files, write_files};

/// What a tree holds, by path.
type Entries = BTreeMap<Vec<u8>, Entry>;

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    what: What,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    File(Vec<u8>),
    Link(Vec<u8>),
    Directory,
}

/// A generation of a source: each has content that the one before had and some that it had not.
fn write_source(root: &Path, generation: u64) {
    let _ = fs::remove_dir_all(root);
    fs::create_dir_all(root.join("many/deep/er")).unwrap();
    fs::write(root.join("large"), content(1, 20 << 20)).unwrap();
    fs::write(root.join("growing"), content(2, (3 + generation as usize) << 20)).unwrap();
    fs::write(root.join("own"), content(100 + generation, 2 << 20)).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    for number in 0..400 {
        let place = if number % 3 == 0 { "many/deep/er" } else { "many" };
        // One in ten is of this generation alone.
        let seed = if number % 10 == 0 { 1000 * generation + number } else { number };
        fs::write(root.join(place).join(format!("{number} é")), content(seed, 10 + number as usize * 7)).unwrap();
    }
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(&content(generation, 5000), 40 << 20).unwrap();
    symlink("many/deep", root.join("link")).unwrap();
    fs::hard_link(root.join("own"), root.join("second name of own")).unwrap();
    for (path, value) in [("large", &b"of \0 bytes"[..]), ("many", b"of a directory")] {
        rustix::fs::setxattr(root.join(path), "user.holdfast-test", value, XattrFlags::empty()).unwrap();
    }
}

fn xattrs_of(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut value = [0; 100];
    match rustix::fs::lgetxattr(path, "user.holdfast-test", &mut value[..]) {
        Ok(length) => vec![(b"user.holdfast-test".to_vec(), value[..length].to_vec())],
        Err(_) => Vec::new(),
    }
}

fn on_disk(root: &Path) -> Entries {
    let mut entries = Entries::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            let what = if kind.is_dir() {
                open.push(path.clone());
                What::Directory
            } else if kind.is_symlink() {
                What::Link(fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else {
                What::File(fs::read(&path).unwrap())
            };
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            entries.insert(name, Entry { what, xattrs: xattrs_of(&path) });
        }
    }
    entries
}

/// What a snapshot has below a tree.
fn in_tree(reader: &Reader<'_>, id: Id, above: &[u8], entries: &mut Entries) {
    for node in reader.tree(&id).unwrap().nodes {
        let path = [above, &node.name].concat();
        let xattrs = node.xattrs.iter().filter(|xattr| xattr.name.starts_with("user."));
        let xattrs = xattrs.map(|xattr| (xattr.name.clone().into_bytes(), xattr.value.clone())).collect();
        let what = match &node.kind {
            NodeKind::Dir { subtree } => {
                in_tree(reader, *subtree, &[&path[..], b"/"].concat(), entries);
                What::Directory
            }
            NodeKind::Symlink { target } => What::Link(target.clone()),
            _ => What::File(read_file(reader, &node).unwrap()),
        };
        entries.insert(path, Entry { what, xattrs });
    }
}

/// What a snapshot of `source` holds.
fn in_snapshot(vault: &Vault, snapshot: Id, source: &Path) -> Entries {
    let reader = vault.reader(snapshot).unwrap();
    let mut at = reader.root();
    for part in source.strip_prefix("/").unwrap() {
        let nodes = reader.tree(&at).unwrap().nodes;
        let found = nodes.into_iter().find(|node| node.name == part.as_bytes()).unwrap();
        let NodeKind::Dir { subtree } = found.kind else { panic!("{part:?} is no directory") };
        at = subtree;
    }
    let mut entries = Entries::new();
    in_tree(&reader, at, b"", &mut entries);
    entries
}

/// Captures a directory, as plainly as can be.
fn capture_source(vault: &Vault, root: &Path) -> Committed {
    fn write(writer: &vault_engine::Writer<'_>, directory: &Path) -> Tree {
        let nodes = fs::read_dir(directory).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let kind = if metadata.is_dir() {
                NodeKind::Dir { subtree: writer.write_tree(write(writer, &path)).unwrap() }
            } else if metadata.is_symlink() {
                NodeKind::Symlink { target: fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec() }
            } else {
                let mut file = fs::File::open(&path).unwrap();
                let stored = writer.write_content(Chunking::ContentDefined, &mut file).unwrap();
                NodeKind::File { content: stored.blobs, size: stored.size }
            };
            let mut node = node(path.file_name().unwrap().as_bytes(), kind);
            let xattrs = xattrs_of(&path).into_iter();
            node.xattrs = xattrs.map(|(name, value)| Xattr { name: String::from_utf8(name).unwrap(), value }).collect();
            node
        });
        Tree { nodes: nodes.collect() }
    }
    let writer = vault.writer(&NoControl).unwrap();
    let subtree = writer.write_tree(write(&writer, root)).unwrap();
    writer.commit(input(Tree { nodes: vec![node(b"data", NodeKind::Dir { subtree })] }, &[])).unwrap()
}

fn assert_sound(vault: &Vault) {
    let report = vault.check(&CheckOptions { read_data: true, control: &NoControl }).unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
}

/// Prunes to the end; says how many packs went.
fn prune(vault: &Vault) -> u64 {
    let options = PruneOptions { grace: Duration::ZERO, max_unused_percent: 0, ..PruneOptions::new(&NoControl) };
    (0..3).map(|_| vault.prune(&options).unwrap().packs_removed).sum()
}

fn difference(wanted: &Entries, found: &Entries) -> Vec<String> {
    let names = wanted.keys().chain(found.keys());
    let differ = names.filter(|name| wanted.get(*name) != found.get(*name));
    differ.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// Others' program that restores a snapshot into a directory and prunes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    Restic,
    Rustic,
}

impl Other {
    /// False, said aloud, where it is not there.
    fn run(self, workshop: &Workshop, arguments: &[&str]) -> bool {
        match self {
            Self::Restic => {
                workshop.restic("v", arguments);
                true
            }
            Self::Rustic => workshop.rustic("v", arguments).is_some(),
        }
    }

    fn forget_and_prune(self, workshop: &Workshop, snapshot: &Id) -> bool {
        let id = snapshot.to_hex();
        self.run(workshop, &["forget", &id])
            && match self {
                Self::Restic => self.run(workshop, &["prune", "--max-unused", "0"]),
                Self::Rustic => {
                    let at_once = ["--instant-delete", "--keep-delete", "0s", "--keep-pack", "0s"];
                    self.run(workshop, &[&["prune", "--max-unused", "0"], &at_once[..]].concat())
                }
            }
    }

    fn restore(self, workshop: &Workshop, snapshot: &Id, target: &Path) -> bool {
        let (id, target) = (snapshot.to_hex(), target.to_str().unwrap());
        match self {
            Self::Restic => self.run(workshop, &["restore", &id, "--target", target]),
            Self::Rustic => self.run(workshop, &["restore", &id, target]),
        }
    }
}

fn others_read_and_prune_what_we_wrote(other: Other) {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let source = workshop.dir.path().join("source");
    let mut written = Vec::new();
    for generation in 1..=3 {
        write_source(&source, generation);
        written.push((capture_source(&vault, &source), on_disk(&source)));
    }
    let (gone, _) = written.remove(0);
    let before = workshop.files("v", "data").len();
    if !other.forget_and_prune(&workshop, &gone.snapshot_id) {
        return;
    }
    assert!(vault.snapshot(gone.snapshot_id).is_err());
    let judge = |vault: &Vault, written: &[(Committed, Entries)]| {
        assert_sound(vault);
        for (committed, wanted) in written {
            let found = in_snapshot(vault, committed.snapshot_id, Path::new("/data"));
            assert_eq!(difference(wanted, &found), [""; 0], "{other:?} has pruned");
        }
        for (number, (committed, wanted)) in written.iter().enumerate() {
            let target = workshop.dir.path().join(format!("restored {number}"));
            let _ = fs::remove_dir_all(&target);
            other.restore(&workshop, &committed.snapshot_id, &target);
            assert_eq!(difference(wanted, &on_disk(&target.join("data"))), [""; 0], "{other:?} restores");
        }
        workshop.restic_agrees("v");
        workshop.rustic_agrees("v");
    };
    judge(&vault, &written);
    // We go on: what is left is used again, what went is stored again, and our own prune finds its way.
    write_source(&source, 1);
    let again = capture_source(&vault, &source);
    assert!(again.stats.bytes_new < 16 << 20, "{:?} of {before} packs", again.stats);
    written.push((again, on_disk(&source)));
    let (gone, _) = written.remove(0);
    vault.forget(gone.snapshot_id).unwrap();
    assert!(prune(&vault) > 0);
    judge(&workshop.open("v"), &written);
}

#[test]
fn restic_reads_and_prunes_what_we_wrote_and_we_go_on() {
    others_read_and_prune_what_we_wrote(Other::Restic);
}

#[test]
fn rustic_reads_and_prunes_what_we_wrote_and_we_go_on() {
    others_read_and_prune_what_we_wrote(Other::Rustic);
}

fn we_read_and_prune_what_others_wrote(other: Other) {
    let workshop = Workshop::new();
    fs::create_dir_all(workshop.path("v")).unwrap();
    let begun = match other {
        Other::Restic => other.run(&workshop, &["init", "--repository-version", "2"]),
        Other::Rustic => other.run(&workshop, &["init"]),
    };
    if !begun {
        return;
    }
    let source = workshop.dir.path().join("source");
    let text = source.to_str().unwrap();
    let mut written: Vec<(Id, Entries)> = Vec::new();
    let backed_up = |vault: &Vault, written: &mut Vec<(Id, Entries)>| {
        other.run(&workshop, &["backup", text]);
        let new = vault.snapshots().unwrap().readable.into_iter().map(|snapshot| snapshot.id);
        let new: Vec<Id> = new.filter(|id| written.iter().all(|(known, _)| known != id)).collect();
        assert_eq!(new.len(), 1);
        written.push((new[0], on_disk(&source)));
    };
    let vault = workshop.open("v");
    for generation in 1..=4 {
        write_source(&source, generation);
        backed_up(&vault, &mut written);
    }
    let judge = |vault: &Vault, written: &[(Id, Entries)]| {
        assert_sound(vault);
        assert_eq!(vault.snapshots().unwrap().readable.len(), written.len());
        for (snapshot, wanted) in written {
            assert_eq!(difference(wanted, &in_snapshot(vault, *snapshot, &source)), [""; 0], "{other:?} has written");
        }
    };
    judge(&vault, &written);
    assert!(other.forget_and_prune(&workshop, &written.remove(1).0));
    judge(&vault, &written);
    // Our forget and prune of theirs, then theirs of what we left, and both add to it.
    assert!(vault.forget(written.remove(0).0).unwrap());
    assert!(prune(&vault) > 0);
    judge(&vault, &written);
    write_source(&source, 5);
    // Both at once: they only add.
    let writer = vault.writer(&NoControl).unwrap();
    let own_files = files(&[("a", content(5, 1 << 20)), ("b", content(105, 2 << 20))]);
    let root = write_files(&writer, &own_files);
    backed_up(&vault, &mut written);
    let own = writer.commit(input(root, &[])).unwrap();
    assert_eq!(read_files(&vault, own.snapshot_id).unwrap(), own_files);
    vault.forget(own.snapshot_id).unwrap();
    assert!(prune(&vault) > 0);
    assert!(other.forget_and_prune(&workshop, &written.remove(0).0));
    judge(&workshop.open("v"), &written);
    let target = workshop.dir.path().join("restored");
    let (snapshot, wanted) = &written[1];
    other.restore(&workshop, snapshot, &target);
    let inside = target.join(source.strip_prefix("/").unwrap());
    let restored = if inside.exists() { inside } else { target };
    assert_eq!(difference(wanted, &on_disk(&restored)), [""; 0]);
    let sparse = fs::metadata(restored.join(OsStr::new("sparse"))).unwrap();
    assert_eq!(sparse.size(), 64 << 20);
    workshop.restic_agrees("v");
    workshop.rustic_agrees("v");
}

#[test]
fn we_read_and_prune_what_restic_wrote_and_pruned_in_turn_with_it() {
    we_read_and_prune_what_others_wrote(Other::Restic);
}

#[test]
fn we_read_and_prune_what_rustic_wrote_and_pruned_in_turn_with_it() {
    we_read_and_prune_what_others_wrote(Other::Rustic);
}
