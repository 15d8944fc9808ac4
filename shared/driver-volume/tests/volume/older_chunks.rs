//! Recovery points of older versions, with longer chunks and other directories: they restore, share what is equal, and are
//! parents.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use driver_api::conformance::{Bench, Point, files};
use driver_api::{CaptureWriter, Chunking, SnapshotReader};
use jiff::Timestamp;
use job_model::OverwritePolicy;
use vault_format::{Id, Node, NodeKind, Tree};

use super::images::Plain;
use super::oracle::{MIB, difference, image, noise};

/// How an older version laid volumes out.
struct Layout {
    format: u32,
    chunk_bytes: usize,
    /// What a directory of each level holds of the volume, from the uppermost down.
    levels: &'static [u64],
}

/// All there were.
const LAYOUTS: [Layout; 3] = [
    Layout { format: 1, chunk_bytes: 1 << 20, levels: &[16 << 30] },
    Layout { format: 2, chunk_bytes: 1 << 20, levels: &[64 << 30, 1 << 30] },
    Layout { format: 2, chunk_bytes: 512 << 10, levels: &[64 << 30, 1 << 30] },
];

/// Every extent below a tree, cut as that version did; and how many bytes the vault did not have.
fn cut_anew(bench: &Bench, point: &Point, tree: &Id, layout: &Layout) -> (BTreeMap<u64, Node>, u64) {
    let (mut extents, mut bytes_new) = (BTreeMap::new(), 0);
    for mut node in point.snapshot.tree(tree).unwrap().nodes {
        match &mut node.kind {
            NodeKind::Dir { subtree } => {
                let (below, new) = cut_anew(bench, point, subtree, layout);
                extents.extend(below);
                bytes_new += new;
            }
            NodeKind::File { content, .. } => {
                let mut bytes = Vec::new();
                point.snapshot.open(content).read_to_end(&mut bytes).unwrap();
                let chunking = Chunking::Fixed(layout.chunk_bytes as u32);
                let stored = bench.vault.write_content(chunking, &mut bytes.as_slice()).unwrap();
                *content = stored.blobs;
                bytes_new += stored.bytes_new;
                let offset = u64::from_str_radix(std::str::from_utf8(&node.name).unwrap(), 16).unwrap();
                extents.insert(offset, node);
            }
            other => panic!("{other:?} in a volume"),
        }
    }
    (extents, bytes_new)
}

/// Puts nodes into directories of a level.
fn in_directories(bench: &Bench, nodes: BTreeMap<u64, Node>, length: u64) -> BTreeMap<u64, Node> {
    let mut directories: BTreeMap<u64, Vec<Node>> = BTreeMap::new();
    for (offset, node) in nodes {
        directories.entry(offset / length * length).or_default().push(node);
    }
    let store = |(offset, nodes): (u64, Vec<Node>)| {
        let subtree = bench.vault.write_tree(Tree { nodes }).unwrap();
        let name = format!("{offset:016x}").into_bytes();
        (offset, Node::unowned(name, NodeKind::Dir { subtree }, 0o700, Timestamp::UNIX_EPOCH))
    };
    directories.into_iter().map(store).collect()
}

/// The image as an older version would have captured it, and the bytes that this added to the vault.
fn captured_by_an_older_version(bench: &Bench, source: &Path, layout: &Layout) -> (Point, u64) {
    let mut point = bench.capture(&Plain, source, None);
    let mut root = point.snapshot.tree(&point.snapshot.root()).unwrap();
    let data = root.nodes.iter_mut().find(|node| node.name == b"data").unwrap();
    let NodeKind::Dir { subtree } = &mut data.kind else { panic!("`data` is a directory") };
    let (extents, bytes_new) = cut_anew(bench, &point, subtree, layout);
    let top = layout.levels.iter().rev().fold(extents, |nodes, length| in_directories(bench, nodes, *length));
    *subtree = bench.vault.write_tree(Tree { nodes: top.into_values().collect() }).unwrap();
    point.capture.data = data.clone();
    point.description["driver"]["format"] = layout.format.into();
    point.description["driver"]["chunk_bytes"] = layout.chunk_bytes.into();
    point.snapshot = bench.vault.snapshot(bench.vault.write_tree(root).unwrap());
    (point, bytes_new)
}

#[test]
fn points_of_older_versions_restore_share_chunks_and_are_parents() {
    LAYOUTS.iter().for_each(an_older_version_is_understood);
}

fn an_older_version_is_understood(layout: &Layout) {
    let bench = Bench::new();
    let source = bench.path("source");
    // More than one extent, a hole, an odd end, and a last chunk that is shorter than both lengths.
    image(
        &source,
        130 * MIB + 700_001,
        &[(3 * MIB + 5, 2 * MIB as usize), (66 * MIB, 3 * MIB as usize), (130 * MIB, 700_001)],
    );
    let (first, _) = captured_by_an_older_version(&bench, &source, layout);
    let longest = bench.data_blobs(&first)[0];
    assert_eq!(first.snapshot.blob_length(&longest).unwrap() as usize, layout.chunk_bytes);
    let one = bench.path("one");
    assert_eq!(bench.restore(&Plain, &first, &one, OverwritePolicy::Refuse).unwrap().findings, []);
    assert_eq!(difference(&source, &one), None);
    assert_eq!(bench.check(&Plain, &first, &one).unwrap().findings, []);

    // The next one of that version stores the chunk that changed and nothing else.
    File::options().write(true).open(&source).unwrap().write_all_at(&noise(99, 10), 67 * MIB + 4).unwrap();
    let (second, bytes_new) = captured_by_an_older_version(&bench, &source, layout);
    assert_eq!(bytes_new, layout.chunk_bytes as u64);
    let two = bench.path("two");
    bench.restore(&Plain, &second, &two, OverwritePolicy::Refuse).unwrap();
    assert_eq!(difference(&source, &two), None);

    // What was left of a restore of the one is taken up where the other has the same.
    bench.restore(&Plain, &second, &one, OverwritePolicy::IfChanged).unwrap();
    assert_eq!(difference(&source, &one), None);

    // A capture of today reads it all, finds the chunks of today that are there, and cuts nothing as the parent did.
    let before = bench.vault.stored_bytes();
    let third = bench.capture(&Plain, &source, Some(&second));
    assert_eq!(bench.vault.stored_bytes(), before);
    assert_ne!(files(&third), files(&second));
    let three = bench.path("three");
    bench.restore(&Plain, &third, &three, OverwritePolicy::Refuse).unwrap();
    assert_eq!(difference(&source, &three), None);
}
