//! Recovery points of older versions, cut in chunks of 1 MiB: they restore, share what is equal, and are parents.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use driver_api::conformance::{Bench, Point, files};
use driver_api::{CaptureWriter, Chunking, SnapshotReader};
use job_model::OverwritePolicy;
use vault_format::{Id, NodeKind, Tree};

use super::images::Plain;
use super::oracle::{MIB, difference, image, noise};

/// Cuts every file below a tree anew, as versions with chunks of 1 MiB did; says how many bytes the vault did not have.
fn cut_anew(bench: &Bench, point: &Point, tree: &Id) -> (Id, u64) {
    let mut bytes_new = 0;
    let mut nodes = point.snapshot.tree(tree).unwrap().nodes;
    for node in &mut nodes {
        match &mut node.kind {
            NodeKind::Dir { subtree } => {
                let (id, new) = cut_anew(bench, point, subtree);
                *subtree = id;
                bytes_new += new;
            }
            NodeKind::File { content, .. } => {
                let mut bytes = Vec::new();
                point.snapshot.open(content).read_to_end(&mut bytes).unwrap();
                let stored = bench.vault.write_content(Chunking::Fixed(1 << 20), &mut bytes.as_slice()).unwrap();
                *content = stored.blobs;
                bytes_new += stored.bytes_new;
            }
            other => panic!("{other:?} in a volume"),
        }
    }
    (bench.vault.write_tree(Tree { nodes }).unwrap(), bytes_new)
}

/// The image as an older version would have captured it, and the bytes that this added to the vault.
fn captured_by_an_older_version(bench: &Bench, source: &std::path::Path) -> (Point, u64) {
    let mut point = bench.capture(&Plain, source, None);
    let mut root = point.snapshot.tree(&point.snapshot.root()).unwrap();
    let data = root.nodes.iter_mut().find(|node| node.name == b"data").unwrap();
    let NodeKind::Dir { subtree } = &mut data.kind else { panic!("`data` is a directory") };
    let (anew, bytes_new) = cut_anew(bench, &point, subtree);
    *subtree = anew;
    point.capture.data = data.clone();
    point.description["driver"]["chunk_bytes"] = (1 << 20).into();
    point.snapshot = bench.vault.snapshot(bench.vault.write_tree(root).unwrap());
    (point, bytes_new)
}

#[test]
fn points_with_chunks_of_a_mebibyte_restore_share_chunks_and_are_parents() {
    let bench = Bench::new();
    let source = bench.path("source");
    // More than one extent, a hole, an odd end, and a last chunk that is shorter than both lengths.
    image(
        &source,
        130 * MIB + 700_001,
        &[(3 * MIB + 5, 2 * MIB as usize), (66 * MIB, 3 * MIB as usize), (130 * MIB, 700_001)],
    );
    let (first, _) = captured_by_an_older_version(&bench, &source);
    let longest = bench.data_blobs(&first)[0];
    assert_eq!(first.snapshot.blob_length(&longest).unwrap(), 1 << 20);
    let one = bench.path("one");
    assert_eq!(bench.restore(&Plain, &first, &one, OverwritePolicy::Refuse).unwrap().findings, []);
    assert_eq!(difference(&source, &one), None);
    assert_eq!(bench.check(&Plain, &first, &one).unwrap().findings, []);

    // The next one of that version stores the chunk that changed and nothing else.
    File::options().write(true).open(&source).unwrap().write_all_at(&noise(99, 10), 67 * MIB + 4).unwrap();
    let (second, bytes_new) = captured_by_an_older_version(&bench, &source);
    assert_eq!(bytes_new, MIB);
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
