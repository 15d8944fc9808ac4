//! Streams: durable pieces, a snapshot that takes them up, and one follower at a time.

use driver_api::{Chunking, NoControl, PieceSpan, StreamContent, StreamSource as _, StreamStore as _};
use jiff::Timestamp;
use job_model::{RecoveryPointId, ResourceType};
use vault_engine::{KeepEntry, Stream, StreamSubject, Vault, VaultError, VaultLockEntry, recovery_point_tag};
use vault_format::{Node, NodeKind, Tree};

use crate::support::Workshop;

fn id() -> RecoveryPointId {
    "0192f0c1-2345-7000-8000-00000000000a".parse().unwrap()
}

fn follow(vault: &Vault, epoch: u64) -> Result<Stream<'_>, VaultError> {
    let subject = StreamSubject {
        recovery_point_id: id(),
        recovery_point: format!("arn:aws:backup:eu-north-1:000000000000:recovery-point:{}", id()).parse().unwrap(),
        resource: "arn:aws:rds:eu-north-1:000000000000:db:shop".parse().unwrap(),
        resource_type: ResourceType::Volume,
        location: "postgresql://shop".to_owned(),
    };
    vault.follow(subject, epoch, &NoControl)
}

fn span(start: u64, end: u64) -> PieceSpan {
    PieceSpan { lane: 1, start, end }
}

/// A state whose data is one file with this text.
fn commit(stream: &Stream<'_>, text: &str) -> Result<(), driver_api::WriteError> {
    stream
        .commit(&mut |writer, earlier| {
            let content = writer.write_content(Chunking::Fixed(1 << 20), &mut text.as_bytes())?;
            let node = |name: &str, kind, mode| Node::unowned(name, kind, mode, Timestamp::UNIX_EPOCH);
            let file = node("log", NodeKind::File { content: content.blobs, size: content.size }, 0o600);
            let subtree = writer.write_tree(Tree { nodes: vec![file] })?;
            let before = earlier.map(|earlier| earlier.facts.clone());
            Ok(StreamContent {
                data: node("data", NodeKind::Dir { subtree }, 0o700),
                sidecars: Vec::new(),
                size_bytes: content.size,
                items: 1,
                facts: serde_json::json!({ "text": text, "before": before.map(|facts| facts["text"].clone()) }),
            })
        })
        .map(|_| ())
}

fn facts(vault: &Vault) -> Option<serde_json::Value> {
    let mut found = None;
    vault
        .stream(id())
        .look(&mut |state| {
            found = state.map(|state| state.facts.clone());
            Ok(())
        })
        .unwrap();
    found
}

#[test]
fn pieces_come_back_sorted_and_as_they_were() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let stream = follow(&vault, 1).unwrap();
    for (from, to) in [(10, 30), (0, 10)] {
        stream.append(span(from, to), &vec![7; (to - from) as usize]).unwrap();
    }
    let reader = vault.stream(id());
    assert_eq!(reader.pieces().unwrap(), [span(0, 10), span(10, 30)]);
    assert_eq!(reader.piece(span(10, 30)).unwrap(), vec![7; 20]);
    stream.remove(&[span(0, 10), span(0, 10)]).unwrap();
    assert_eq!(reader.pieces().unwrap(), [span(10, 30)]);
    assert!(reader.piece(span(0, 10)).is_err());
    vault.remove_stream(id()).unwrap();
    assert!(reader.pieces().unwrap().is_empty());
}

#[test]
fn a_piece_under_another_name_is_not_taken_for_it() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let stream = follow(&vault, 1).unwrap();
    stream.append(span(0, 10), &[1; 10]).unwrap();
    stream.append(span(10, 20), &[2; 10]).unwrap();
    let directory = workshop.path("v").join("holdfast/streams").join(id().to_string());
    let path = |from: u64, to: u64| directory.join(format!("00000001-{from:016X}-{to:016X}"));
    std::fs::copy(path(0, 10), path(10, 20)).unwrap();
    assert!(stream.piece(span(10, 20)).unwrap_err().to_string().contains("another piece"));
    std::fs::write(path(0, 10), b"nonsense").unwrap();
    assert!(stream.piece(span(0, 10)).is_err());
}

#[test]
fn each_state_replaces_the_one_before() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let stream = follow(&vault, 1).unwrap();
    assert_eq!(facts(&vault), None);
    commit(&stream, "one").unwrap();
    commit(&stream, "two").unwrap();
    assert_eq!(facts(&vault).unwrap(), serde_json::json!({ "text": "two", "before": "one" }));
    let tag = recovery_point_tag(id());
    let snapshots = vault.snapshots().unwrap().readable;
    assert_eq!(snapshots.iter().filter(|snapshot| snapshot.tags.contains(&tag)).count(), 1);
    let next = follow(&vault, 2).unwrap();
    commit(&next, "three").unwrap();
    assert_eq!(facts(&vault).unwrap()["before"], "two");
    assert_eq!(vault.snapshots().unwrap().readable.len(), 1);
    next.append(span(0, 10), &[1; 10]).unwrap();
    workshop.restic_agrees("v");
    workshop.rustic_agrees("v");
}

#[test]
fn a_stream_goes_on_in_a_vault_that_protects_it_and_only_its_newest_state_cannot_be_deleted() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let lock = VaultLockEntry { min_retention_days: Some(7), ..VaultLockEntry::default() };
    vault.protect(&KeepEntry::Lock(lock)).unwrap();
    vault.protect(&KeepEntry::Hold { hold: "case".to_owned(), recovery_points: [id()].into() }).unwrap();
    let stream = follow(&vault, 1).unwrap();
    for text in ["one", "two", "three"] {
        commit(&stream, text).unwrap();
    }
    let of_it = || vault.stream_parts(id()).unwrap();
    assert_eq!(of_it().replaced, []);
    // A follower that died between the new state and the end of the old one.
    let newest = of_it().state.unwrap();
    let path = |name: String| workshop.path("v").join("snapshots").join(name);
    let kept = std::fs::read(path(newest.id.to_hex())).unwrap();
    commit(&stream, "four").unwrap();
    std::fs::write(path(newest.id.to_hex()), kept).unwrap();
    assert_eq!(of_it().replaced, [newest.id]);
    let next = follow(&vault, 2).unwrap();
    assert_eq!(of_it().replaced, []);
    commit(&next, "five").unwrap();
    assert_eq!(facts(&vault).unwrap(), serde_json::json!({ "text": "five", "before": "four" }));
    let newest = of_it().state.unwrap();
    assert!(matches!(vault.forget(newest.id), Err(VaultError::Protected { .. })));
}

#[test]
fn a_follower_that_was_succeeded_can_neither_replace_nor_remove() {
    let workshop = Workshop::new();
    let vault = workshop.create("v");
    let old = follow(&vault, 4).unwrap();
    old.append(span(0, 10), &[1; 10]).unwrap();
    commit(&old, "old").unwrap();
    let new = follow(&vault, 5).unwrap();
    assert!(commit(&old, "late").is_err());
    assert!(old.remove(&[span(0, 10)]).is_err());
    assert_eq!(new.pieces().unwrap(), [span(0, 10)]);
    commit(&new, "new").unwrap();
    assert_eq!(facts(&vault).unwrap(), serde_json::json!({ "text": "new", "before": "old" }));
    assert!(matches!(follow(&vault, 3), Err(VaultError::Superseded { ours: 3, found: 5, .. })));
}
