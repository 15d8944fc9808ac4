//! How much a copy moves: what it reads of the source's store and what it writes to the destination's, counted at the
//! stores, indexes and headers included.

use std::ops::Range;

use driver_api::{CaptureWriter, Chunking, NoControl};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use vault_format::{NodeKind, Tree};

use super::scene::{Scene, copy, node, tag};
use crate::{Committed, SnapshotInput, Vault};

/// Bytes of a chunk: less than a copy would skip rather than read if it were a restore.
const CHUNK: usize = 64 << 10;

/// Captures one file for each number, of one chunk of noise.
fn capture(vault: &Vault, number: u64, files: impl Iterator<Item = u64>) -> Committed {
    let writer = vault.writer(&NoControl).unwrap();
    let mut nodes = Vec::new();
    for file in files {
        let mut bytes = vec![0; CHUNK];
        StdRng::seed_from_u64(file).fill_bytes(&mut bytes);
        let stored = writer.write_content(Chunking::Fixed(CHUNK as u32), &mut bytes.as_slice()).unwrap();
        nodes.push(node(&format!("{file:05}"), NodeKind::File { content: stored.blobs, size: stored.size }));
    }
    let subtree = writer.write_tree(Tree { nodes }).unwrap();
    let root = Tree { nodes: vec![node("data", NodeKind::Dir { subtree })] };
    let (time, tags) = (vault.surroundings().now(), vec![tag(number)]);
    let hostname = "source".to_owned();
    writer.commit(SnapshotInput { root, time, hostname, paths: vec!["/".to_owned()], tags, parent: None }).unwrap()
}

/// Copies the files of a range into a vault that has some of them already; bytes read and written for each byte that it
/// lacks, sealed.
fn moved(files: Range<u64>, known: impl Iterator<Item = u64>) -> (f64, f64) {
    let (source, destination) = (Scene::new(1), Scene::new(2));
    let committed = capture(&source.open(), 7, files);
    capture(&destination.open(), 8, known);
    let (from, to) = (source.client(None), destination.client(None));
    let copied = copy(&source.open_as(from.clone()).unwrap(), &destination.open_as(to.clone()).unwrap(), 7, &committed);
    let missing = copied.unwrap().stats.bytes_stored as f64;
    let ((fetched, _), (_, sent)) = (from.moved(), to.moved());
    (fetched as f64 / missing, sent as f64 / missing)
}

#[test]
fn a_copy_moves_hardly_more_than_what_is_missing() {
    for (fetched, sent) in [
        moved(0..600, 0..0),
        // The missing ones lie one by one between others.
        moved(0..1200, (0..1200).step_by(2)),
        moved(0..1200, (0..1200).filter(|file| file % 7 == 0 || file % 5 == 0)),
    ] {
        assert!((1.0..=1.02).contains(&fetched), "read {fetched} bytes for each that is missing");
        assert!((1.0..=1.02).contains(&sent), "wrote {sent} bytes for each that is missing");
    }
}
