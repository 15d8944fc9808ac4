//! restic reads what we wrote, and we read what restic wrote.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;

use vault_format::{NodeKind, Tree};

use driver_api::{NoControl, SnapshotReader};
use job_model::VaultAccess;
use vault_engine::Vault;

use crate::support::{
    Workshop, capture, content, files, input, node, read_directory, read_file, surroundings, write_files,
};

#[test]
fn restic_checks_and_restores_what_we_wrote() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let mut wanted = files(&[
        ("empty", Vec::new()),
        ("large", content(1, 30 << 20)),
        ("noise", content(2, 3 << 20)),
        ("with \"quotes\" & <tags> \\ \n\t日本語", content(3, 10)),
    ]);
    wanted.insert(b"not utf-8 \xff\xfe".to_vec(), content(4, 600_000));
    let committed = capture(&vault, &wanted);
    workshop.restic_agrees("v");
    let target = workshop.dir.path().join("restored");
    workshop.restic("v", &["restore", &committed.snapshot_id.to_hex(), "--target", target.to_str().unwrap()]);
    assert_eq!(read_directory(&target.join("data")), wanted);
    // A second one with all that changed, and restic's own pruning afterwards.
    wanted.insert(b"large".to_vec(), content(5, 30 << 20));
    let second = capture(&vault, &wanted);
    workshop.restic("v", &["forget", &committed.snapshot_id.to_hex(), "--prune"]);
    workshop.restic_agrees("v");
    assert_eq!(crate::support::read_files(&vault, second.snapshot_id).unwrap(), wanted);
}

#[test]
fn restic_restores_links_and_pipes_of_ours() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let writer = vault.writer(&NoControl).unwrap();
    let mut root = write_files(&writer, &files(&[("a", content(1, 10))]));
    root.nodes.push(node(b"link", NodeKind::Symlink { target: b"data/a <&>".to_vec() }));
    root.nodes.push(node(b"pipe", NodeKind::Fifo));
    let committed = writer.commit(input(root, &[])).unwrap();
    let printed = workshop.restic("v", &["cat", "blob", &committed.tree_id.to_hex()]);
    assert!(printed.contains("\\u003c\\u0026\\u003e"), "{printed}");
    let target = workshop.dir.path().join("restored");
    workshop.restic("v", &["restore", &committed.snapshot_id.to_hex(), "--target", target.to_str().unwrap()]);
    assert!(fs::metadata(target.join("pipe")).unwrap().file_type().is_fifo());
    assert_eq!(fs::read_link(target.join("link")).unwrap().as_os_str().as_bytes(), b"data/a <&>");
}

#[test]
fn we_read_and_extend_what_restic_wrote() {
    let workshop = Workshop::new();
    fs::create_dir_all(workshop.path("v")).unwrap();
    workshop.restic("v", &["init", "--repository-version", "2"]);
    let source = workshop.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    let wanted = files(&[("empty", Vec::new()), ("quoted \"\\\n", vec![1, 2]), ("large", content(6, 12 << 20))]);
    for (name, bytes) in &wanted {
        fs::write(source.join(std::ffi::OsStr::from_bytes(name)), bytes).unwrap();
    }
    std::os::unix::fs::symlink("large", source.join("link")).unwrap();
    workshop.restic("v", &["backup", source.to_str().unwrap(), "--tag", "by-restic"]);

    let vault = workshop.open("v");
    let snapshot = vault.find_snapshot_by_tag("by-restic").unwrap().unwrap();
    let reader = vault.reader(snapshot.id).unwrap();
    let mut nodes = reader.tree(&reader.root()).unwrap().nodes;
    for part in source.strip_prefix("/").unwrap() {
        let at = nodes.iter().position(|node| node.name == part.as_bytes()).unwrap();
        let NodeKind::Dir { subtree } = nodes[at].kind else { panic!("not a directory") };
        nodes = reader.tree(&subtree).unwrap().nodes;
    }
    assert_eq!(nodes.len(), wanted.len() + 1);
    for node in &nodes {
        match &node.kind {
            NodeKind::Symlink { target } => assert_eq!(target, b"large"),
            _ => assert_eq!(read_file(&reader, node).unwrap(), wanted[&node.name]),
        }
    }
    drop(reader);
    capture(&vault, &wanted);
    workshop.restic_agrees("v");
    assert_eq!(vault.snapshots().unwrap().readable.len(), 2);
}

#[test]
fn uncompressed_and_old_repositories_of_restic_are_told_apart() {
    let workshop = Workshop::new();
    fs::create_dir_all(workshop.path("old")).unwrap();
    workshop.restic("old", &["init", "--repository-version", "1"]);
    let access: VaultAccess = workshop.access("old");
    let refused = Vault::open(&access, &workshop.profiles, &surroundings()).unwrap_err();
    assert!(refused.to_string().contains("restic migrate upgrade_repo_v2"), "{refused}");

    fs::create_dir_all(workshop.path("v")).unwrap();
    workshop.restic("v", &["init"]);
    let source = workshop.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), content(7, 3 << 20)).unwrap();
    workshop.restic("v", &["backup", "--compression", "off", source.to_str().unwrap(), "--tag", "plain"]);
    let vault = workshop.open("v");
    let snapshot = vault.find_snapshot_by_tag("plain").unwrap().unwrap();
    let reader = vault.reader(snapshot.id).unwrap();
    let mut tree: Tree = reader.tree(&snapshot.tree).unwrap();
    while let NodeKind::Dir { subtree } = tree.nodes[0].kind {
        tree = reader.tree(&subtree).unwrap();
    }
    assert_eq!(read_file(&reader, &tree.nodes[0]).unwrap(), content(7, 3 << 20));
}
