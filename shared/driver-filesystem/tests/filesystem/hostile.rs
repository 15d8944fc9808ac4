//! Trees that were made to write outside of the target.

use std::fs;

use driver_api::conformance::{Bench, Point};
use driver_api::{CaptureWriter, DriverError, SnapshotReader};
use job_model::OverwritePolicy;
use vault_format::{Node, NodeKind, Tree};

use super::torture::Plain;

/// A recovery point whose root directory has these nodes.
fn point_with(bench: &Bench, change: impl FnOnce(&Bench, Node) -> Vec<Node>) -> Point {
    let source = bench.path("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("file"), "payload").unwrap();
    bench.settle();
    let mut point = bench.capture(&Plain, &source, None);
    let tree = point.snapshot.tree(&point.capture.data_tree().unwrap()).unwrap();
    let nodes = change(bench, tree.nodes[0].clone());
    let subtree = bench.vault.write_tree(Tree { nodes }).unwrap();
    point.capture.data.kind = NodeKind::Dir { subtree };
    let root = bench.vault.write_tree(Tree { nodes: vec![point.capture.data.clone()] }).unwrap();
    point.snapshot = bench.vault.snapshot(root);
    point
}

#[test]
fn names_that_lead_elsewhere_are_refused_before_anything_is_written() {
    for name in [&b"../evil"[..], b"..", b".", b"", b"/evil", b"a/b", b"a\0b"] {
        let bench = Bench::new();
        let point = point_with(&bench, |_, node| vec![Node { name: name.to_vec(), ..node }]);
        let result = bench.restore(&Plain, &point, &bench.path("target"), OverwritePolicy::Refuse);
        assert!(matches!(result, Err(DriverError::Escape { .. })), "{name:?}: {result:?}");
        assert!(!bench.path("target").exists());
        assert!(!bench.path("evil").exists());
        assert_eq!(fs::read_dir(bench.path("")).unwrap().count(), 1, "only the source is there");
    }
}

#[test]
fn the_same_name_twice_is_refused() {
    let bench = Bench::new();
    let point = point_with(&bench, |bench, node| {
        let outside = bench.path("").into_os_string().into_encoded_bytes();
        let link = Node { kind: NodeKind::Symlink { target: outside }, ..node.clone() };
        let tree =
            bench.vault.write_tree(Tree { nodes: vec![Node { name: b"evil".to_vec(), ..node.clone() }] }).unwrap();
        vec![link, Node { kind: NodeKind::Dir { subtree: tree }, ..node }]
    });
    let result = bench.restore(&Plain, &point, &bench.path("target"), OverwritePolicy::Refuse);
    assert!(matches!(result, Err(DriverError::Escape { .. })), "{result:?}");
    assert!(!bench.path("evil").exists());
}

#[test]
fn links_at_the_target_are_not_followed() {
    let bench = Bench::new();
    let point = point_with(&bench, |bench, node| {
        let inner = Node { name: b"evil".to_vec(), ..node.clone() };
        let subtree = bench.vault.write_tree(Tree { nodes: vec![inner] }).unwrap();
        vec![Node { name: b"d".to_vec(), kind: NodeKind::Dir { subtree }, ..node }]
    });
    for policy in [OverwritePolicy::IfChanged, OverwritePolicy::Never, OverwritePolicy::Exact, OverwritePolicy::IfNewer]
    {
        let (target, outside) = (bench.path("target"), bench.path("outside"));
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(&target).unwrap();
        let _ = fs::remove_dir_all(target.join("d"));
        std::os::unix::fs::symlink(&outside, target.join("d")).unwrap();
        bench.restore(&Plain, &point, &target, policy).unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{policy:?}");
    }
}

#[test]
fn content_counts_and_not_what_the_sidecar_says_about_holes() {
    let bench = Bench::new();
    let source = bench.path("source");
    fs::create_dir(&source).unwrap();
    let file = fs::File::create(source.join("file")).unwrap();
    file.set_len(4 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 1 << 20).unwrap();
    file.sync_all().unwrap();
    bench.settle();
    let mut point = bench.capture(&Plain, &source, None);
    // A sidecar that says the file is one hole.
    let line = "{\"format\":\"holdfast-filesystem-attributes\",\"version\":1}\n{\"path\":\"file\",\"data\":[]}\n";
    let content = bench.vault.write_content(driver_api::Chunking::ContentDefined, &mut line.as_bytes()).unwrap();
    let mut sidecar = point.capture.sidecars[0].clone();
    sidecar.kind = NodeKind::File { content: content.blobs, size: content.size };
    let subtree = bench.vault.write_tree(Tree { nodes: vec![sidecar] }).unwrap();
    let holdfast = Node { name: b"holdfast".to_vec(), kind: NodeKind::Dir { subtree }, ..point.capture.data.clone() };
    let root = bench.vault.write_tree(Tree { nodes: vec![point.capture.data.clone(), holdfast] }).unwrap();
    point.snapshot = bench.vault.snapshot(root);
    bench.restore(&Plain, &point, &bench.path("target"), OverwritePolicy::Refuse).unwrap();
    assert!(fs::read(source.join("file")).unwrap() == fs::read(bench.path("target/file")).unwrap());
}
