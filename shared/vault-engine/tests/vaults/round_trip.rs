//! Capture and read back.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use driver_api::{
    CaptureWriter, Chunking, ContentRequest, ContentSink, Control, NoControl, SnapshotReader, WriteError,
};
use job_model::Progress;
use vault_engine::{Vault, VaultError};
use vault_format::{Id, NodeKind, Tree};

use crate::support::{
    Workshop, access, capture, content, data_nodes, files, input, read_files, surroundings, write_files,
};

#[test]
fn a_capture_comes_back_from_memory_and_from_a_directory() {
    let workshop = Workshop::new();
    let wanted = files(&[
        ("empty", Vec::new()),
        ("small", b"hello".to_vec()),
        ("large", content(1, 20 << 20)),
        ("zeros", vec![0; 9 << 20]),
    ]);
    for location in [access("memory://a_capture_comes_back"), workshop.access("v")] {
        let vault = Vault::create(&location, &workshop.profiles, &surroundings()).unwrap();
        let committed = capture(&vault, &wanted);
        assert_eq!(read_files(&vault, committed.snapshot_id).unwrap(), wanted);
        let again = Vault::open(&location, &workshop.profiles, &surroundings()).unwrap();
        assert_eq!(again.repository_id(), vault.repository_id());
        assert_eq!(read_files(&again, committed.snapshot_id).unwrap(), wanted);
        let listed = again.snapshots().unwrap();
        assert_eq!((listed.readable.len(), listed.damaged.len()), (1, 0));
        assert_eq!((listed.readable[0].id, listed.readable[0].tree), (committed.snapshot_id, committed.tree_id));
    }
}

#[test]
fn a_second_capture_of_the_same_stores_nothing_but_its_snapshot() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", content(2, 5 << 20)), ("b", content(3, 100))]);
    let first = capture(&vault, &wanted);
    assert!(first.stats.bytes_new > 5 << 20);
    assert!(first.stats.bytes_stored < first.stats.bytes_new, "it compresses");
    let packs = workshop.files("v", "data").len();
    let second = capture(&workshop.open("v"), &wanted);
    assert_eq!(second.tree_id, first.tree_id);
    assert_ne!(second.snapshot_id, first.snapshot_id);
    assert_eq!((second.stats.blobs_new, second.stats.bytes_stored), (0, 0));
    assert_eq!(workshop.files("v", "data").len(), packs);
}

#[test]
fn the_same_chunk_from_many_threads_is_stored_once() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let writer = vault.writer(&NoControl).unwrap();
    let shared = content(4, 3 << 20);
    let new = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for chunk in shared.chunks(100_000) {
                    let (_, stored) = writer.write_chunk(chunk).unwrap();
                    *new.lock().unwrap() += u64::from(stored);
                }
            });
        }
    });
    let chunks = shared.len().div_ceil(100_000) as u64;
    assert_eq!(*new.lock().unwrap(), chunks);
    assert_eq!((writer.stats().blobs_new, writer.stats().blobs_known), (chunks, 7 * chunks));
}

#[test]
fn captures_at_the_same_time_in_one_vault_do_not_disturb_each_other() {
    let workshop = Workshop::new();
    workshop.create("v");
    let committed: Vec<_> = thread::scope(|scope| {
        let one = |seed: u64| {
            let workshop = &workshop;
            scope.spawn(move || {
                let wanted = files(&[("own", content(seed, 3 << 20)), ("shared", content(99, 3 << 20))]);
                (capture(&workshop.open("v"), &wanted).snapshot_id, wanted)
            })
        };
        let threads: Vec<_> = (10..14).map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let vault = workshop.open("v");
    for (snapshot, wanted) in committed {
        assert_eq!(read_files(&vault, snapshot).unwrap(), wanted);
    }
    workshop.restic_agrees("v");
}

/// Collects what a fetch delivers.
struct Collected(Mutex<Vec<Vec<u8>>>);

impl ContentSink for Collected {
    fn write_at(&self, file: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        files[file][offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn a_fetch_brings_every_span_to_all_of_its_places() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", content(5, 40 << 20)), ("b", content(5, 40 << 20)), ("c", vec![1; 30 << 20])]);
    let committed = capture(&vault, &wanted);
    let reader = vault.reader(committed.snapshot_id).unwrap();
    let nodes = data_nodes(&reader).unwrap();
    let requests: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(file, node)| {
            let NodeKind::File { content, .. } = &node.kind else { panic!("not a file") };
            ContentRequest { file, spans: reader.spans(content).unwrap() }
        })
        .collect();
    let sink = Collected(Mutex::new(wanted.values().map(|bytes| vec![0xee; bytes.len()]).collect()));
    reader.fetch(&requests, &sink, &NoControl).unwrap();
    assert!(sink.0.into_inner().unwrap().iter().eq(wanted.values()));

    let NodeKind::File { content, .. } = &nodes[0].kind else { panic!("not a file") };
    let mut read = Vec::new();
    reader.open(content).read_to_end(&mut read).unwrap();
    assert_eq!(read, wanted[&b"a"[..]]);
}

#[test]
fn a_fetch_of_what_no_index_has_names_the_blob() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let committed = capture(&vault, &files(&[("a", vec![1; 10])]));
    let reader = vault.reader(committed.snapshot_id).unwrap();
    let lost = Id::of(b"never stored");
    let missing = reader.blob_length(&lost).unwrap_err();
    assert!(missing.to_string().contains(&lost.to_hex()), "{missing}");
    assert!(reader.blob(&lost).is_err());
    assert!(reader.tree(&lost).is_err());
}

/// Stops when told to.
#[derive(Default)]
struct Switch {
    stopped: AtomicBool,
    new: Mutex<u64>,
}

impl Control for Switch {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn advance(&self, difference: Progress) {
        *self.new.lock().unwrap() += difference.bytes_new;
    }
}

#[test]
fn a_stopped_capture_commits_nothing_and_a_repeated_one_does() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", content(6, 2 << 20))]);
    let control = Switch::default();
    let writer = vault.writer(&control).unwrap();
    let root = write_files(&writer, &wanted);
    assert!(*control.new.lock().unwrap() >= 2 << 20);
    control.stopped.store(true, Ordering::Relaxed);
    assert!(matches!(writer.write_chunk(b"more"), Err(WriteError::Stopped)));
    assert!(matches!(writer.commit(input(root, &[])), Err(VaultError::Stopped)));
    assert_eq!(vault.snapshots().unwrap().readable.len(), 0);
    assert_eq!(workshop.files("v", "locks").len(), 0);

    let committed = capture(&vault, &wanted);
    assert_eq!(read_files(&vault, committed.snapshot_id).unwrap(), wanted);
    workshop.restic_agrees("v");
}

#[test]
fn content_of_the_parent_is_taken_over_only_when_its_packs_are_there() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let wanted = files(&[("a", content(7, 1 << 20))]);
    let committed = capture(&vault, &wanted);
    let reader = vault.reader(committed.snapshot_id).unwrap();
    let NodeKind::File { content, .. } = data_nodes(&reader).unwrap().remove(0).kind else { panic!("not a file") };
    assert!(vault.writer(&NoControl).unwrap().has_content(&content));
    for path in workshop.files("v", "data") {
        std::fs::remove_file(path).unwrap();
    }
    assert!(!vault.writer(&NoControl).unwrap().has_content(&content));
    // What is lost is stored again, and the old recovery point is whole with it.
    let again = capture(&vault, &wanted);
    assert!(again.stats.bytes_new >= 1 << 20);
    assert_eq!(read_files(&vault, committed.snapshot_id).unwrap(), wanted);
}

#[test]
fn fixed_chunks_and_single_chunks_come_back() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let writer = vault.writer(&NoControl).unwrap();
    let bytes = content(8, 1_000_000);
    let fixed = writer.write_content(Chunking::Fixed(65_536), &mut bytes.as_slice()).unwrap();
    assert_eq!(fixed.blobs.len(), 16);
    assert!(writer.write_chunk(&[]).is_err());
    assert!(writer.write_chunk(&vec![0; (8 << 20) + 1]).is_err());
    let root = Tree {
        nodes: vec![crate::support::node(b"data", NodeKind::File { content: fixed.blobs.clone(), size: fixed.size })],
    };
    let committed = writer.commit(input(root, &[])).unwrap();
    let reader = vault.reader(committed.snapshot_id).unwrap();
    let mut read = Vec::new();
    reader.open(&fixed.blobs).read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes);
}

#[test]
fn a_source_that_cannot_be_read_does_not_spoil_the_others() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("bad sector"))
        }
    }
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let writer = vault.writer(&NoControl).unwrap();
    let failed = writer.write_content(Chunking::ContentDefined, &mut (&b"begin"[..]).chain(Broken));
    assert!(matches!(failed, Err(WriteError::Source(_))));
    let wanted = files(&[("a", content(9, 100))]);
    let root = write_files(&writer, &wanted);
    let committed = writer.commit(input(root, &[])).unwrap();
    assert_eq!(read_files(&vault, committed.snapshot_id).unwrap(), wanted);
}

#[test]
fn a_forgotten_snapshot_is_gone_and_forgetting_it_again_is_no_error() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let one = capture(&vault, &files(&[("a", content(1, 100))]));
    let two = capture(&vault, &files(&[("a", content(1, 100)), ("b", vec![2])]));
    assert!(vault.forget(one.snapshot_id).unwrap());
    assert!(!vault.forget(one.snapshot_id).unwrap());
    assert!(matches!(vault.reader(one.snapshot_id), Err(VaultError::SnapshotMissing { .. })));
    assert_eq!(read_files(&vault, two.snapshot_id).unwrap().len(), 2);
}
