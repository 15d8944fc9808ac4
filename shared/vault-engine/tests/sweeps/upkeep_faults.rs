//! One failure at every call to the store that forgetting, keys, protections, scrubs and streams make.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use driver_api::{Chunking, NoControl, PieceSpan, StreamContent, StreamSource as _, StreamStore as _, WriteError};
use jiff::SignedDuration;
use job_model::{FailureCode, RecoveryPointId, ResourceType, VaultAccess};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use secrecy::SecretString;
use tempfile::TempDir;
use vault_format::{NodeKind, Tree};

use super::disk::{Failure, START};
use super::faults::{Base, assert_as_far_as_failure_allows, base, sweep};
use super::invariants::{assert_nothing_is_left_over, restic_agrees};
use super::scene::{PASSWORD, Scene, capture, node, shown, tag};
use crate::{KeepEntry, KeyProfile, Profiles, ScrubOptions, Stream, StreamSubject, Surroundings, Vault, VaultError};

const OTHER_PASSWORD: &str = "another horse";

/// Opens a vault with a secret, where nothing goes wrong.
fn open_with(scene: &Scene, password: &str) -> Result<Vault, VaultError> {
    let access = VaultAccess {
        arn: "arn:aws:backup:ap-northeast-1:000000000000:backup-vault:scene".parse().unwrap(),
        location: "memory://scene".to_owned(),
        key_profile: "main".to_owned(),
        repository_id: None,
    };
    let surroundings = Surroundings::new(|| START);
    Vault::open_on(scene.client(None), &access, &SecretString::from(password), &surroundings)
}

#[test]
fn a_deletion_that_meets_any_failure_takes_its_own_or_nothing_and_the_next_one_ends_it() {
    let Base { scene, expected, .. } = base();
    let gone = scene.open().find_snapshot_by_tag(&tag(1)).unwrap().unwrap().id;
    let operation = |vault: &Vault| vault.forget(gone).map(drop);
    let cases = sweep(&scene, operation, |scene, failure, result, context, ask_restic| {
        let mut expected = expected.clone();
        let forgotten = expected.certain.remove(&1).unwrap();
        if result.is_err() {
            expected.doubtful.insert(1, forgotten);
        }
        scene.wait(SignedDuration::from_mins(31));
        if failure == Failure::Dead {
            scene.disk.cut_power(&mut StdRng::seed_from_u64(context.len() as u64));
        }
        assert_as_far_as_failure_allows(scene, failure, &expected, context);
        scene.open().forget(gone).unwrap_or_else(|error| panic!("{context}, and then {}", shown(&error)));
        expected.doubtful.clear();
        assert_nothing_is_left_over(scene, context);
        expected.hold(scene, &format!("{context}, then repeated"));
        if ask_restic {
            restic_agrees(scene, context);
        }
    });
    assert!(cases > 20, "only {cases} cases: the sweep sees little of a deletion");
}

#[test]
fn a_secret_that_is_added_while_anything_fails_opens_the_vault_or_was_refused_and_the_old_one_stays() {
    let Base { scene, expected, .. } = base();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("other");
    fs::write(&file, OTHER_PASSWORD).unwrap();
    let mut profiles = Profiles::default();
    profiles.keys.insert("other".to_owned(), KeyProfile { password_file: Some(file), ..KeyProfile::default() });
    let operation = |vault: &Vault| vault.add_key("other", &profiles).map(drop);
    let cases = sweep(&scene, operation, |scene, failure, result, context, _| {
        if failure == Failure::Dead {
            scene.disk.cut_power(&mut StdRng::seed_from_u64(context.len() as u64));
        }
        if result.is_ok() {
            let opened = open_with(scene, OTHER_PASSWORD);
            assert!(opened.is_ok(), "{context}: the secret that was acknowledged opens nothing");
        }
        // Half a key file keeps nobody out; a check names it.
        expected.restore_all(&scene.open(), context);
    });
    assert!(cases > 10, "only {cases} cases: the sweep sees little of a secret that is added");
}

#[test]
fn a_secret_that_is_revoked_while_anything_fails_is_gone_when_acknowledged_and_the_other_stays() {
    let Base { scene, expected, .. } = base();
    let added = {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("other");
        fs::write(&file, OTHER_PASSWORD).unwrap();
        let mut profiles = Profiles::default();
        profiles.keys.insert("other".to_owned(), KeyProfile { password_file: Some(file), ..KeyProfile::default() });
        scene.open().add_key("other", &profiles).unwrap()
    };
    let operation = |vault: &Vault| vault.revoke_key(added).map(drop);
    let cases = sweep(&scene, operation, |scene, failure, result, context, _| {
        if failure == Failure::Dead {
            scene.disk.cut_power(&mut StdRng::seed_from_u64(context.len() as u64));
        }
        if result.is_ok() {
            let refused = open_with(scene, OTHER_PASSWORD);
            assert!(matches!(refused, Err(VaultError::WrongKey { .. })), "{context}: the revoked secret opens it");
        }
        let vault = scene.open();
        vault.revoke_key(added).unwrap();
        assert!(open_with(scene, OTHER_PASSWORD).is_err() && open_with(scene, PASSWORD).is_ok(), "{context}");
        expected.restore_all(&vault, context);
    });
    assert!(cases > 8, "only {cases} cases: the sweep sees little of a secret that is revoked");
}

#[test]
fn a_protection_that_meets_any_failure_protects_when_acknowledged_and_never_opens_a_way_to_delete() {
    let Base { scene, expected, newest } = base();
    let point: RecoveryPointId = "0199f0a8-0000-7000-8000-000000000002".parse().unwrap();
    let vault = scene.open();
    vault.protect(&KeepEntry::Hold { hold: "first".to_owned(), recovery_points: BTreeSet::new() }).unwrap();
    // Its tag tells how many entries there were.
    capture(&vault, 3, &expected.certain[&1].clone()).unwrap();
    vault.protect(&KeepEntry::Release { hold: "first".to_owned() }).unwrap();
    let mut expected = expected;
    expected.certain.insert(3, expected.certain[&1].clone());
    let entry = KeepEntry::Hold { hold: "case".to_owned(), recovery_points: [point].into() };
    let operation = |vault: &Vault| vault.protect(&entry).map(drop);
    let cases = sweep(&scene, operation, |scene, failure, result, context, _| {
        if failure == Failure::Dead {
            scene.disk.cut_power(&mut StdRng::seed_from_u64(context.len() as u64));
        }
        scene.wait(SignedDuration::from_mins(31));
        let vault = scene.open();
        if result.is_ok() {
            let refused = vault.forget(newest.snapshot_id);
            assert!(matches!(refused, Err(VaultError::Protected { .. })), "{context}: {refused:?}");
        }
        match vault.protect(&entry) {
            Ok(_) => {
                let refused = vault.forget(newest.snapshot_id);
                assert!(matches!(refused, Err(VaultError::Protected { .. })), "{context}, then repeated: {refused:?}");
            }
            // Half an entry says nothing, so nothing may be deleted at all.
            Err(VaultError::KeepBroken { .. }) if failure == Failure::ShortWrite => {
                let refused = vault.forget(newest.snapshot_id);
                assert!(matches!(refused, Err(VaultError::KeepBroken { .. })), "{context}: {refused:?}");
            }
            Err(error) => panic!("{context}, and then {}", shown(&error)),
        }
        expected.restore_all(&vault, context);
    });
    assert!(cases > 30, "only {cases} cases: the sweep sees little of a protection");
}

#[test]
fn a_scrub_that_meets_any_failure_ends_with_it_or_is_right_and_the_next_one_covers_all() {
    let Base { scene, expected, .. } = base();
    let options = ScrubOptions { read_bytes: u64::MAX, control: &NoControl };
    let operation = |vault: &Vault| {
        let report = vault.scrub(&options)?;
        if report.check.is_sound() {
            Ok(())
        } else {
            Err(VaultError::Damaged { what: format!("{:?}", report.check.findings), problem: String::new() })
        }
    };
    let cases = sweep(&scene, operation, |scene, failure, result, context, _| {
        if let Err(VaultError::Damaged { .. }) = &result {
            assert!(failure == Failure::Corrupted, "{context}: a failure was taken for damage");
        }
        if failure == Failure::Dead {
            scene.disk.cut_power(&mut StdRng::seed_from_u64(context.len() as u64));
        }
        scene.wait(SignedDuration::from_mins(31));
        let report = scene.open().scrub(&options).unwrap_or_else(|error| panic!("{context}: {}", shown(&error)));
        assert_eq!(report.packs_covered, report.packs, "{context}");
        expected.hold(scene, context);
    });
    assert!(cases > 30, "only {cases} cases: the sweep sees little of a scrub");
}

const STREAM: &str = "0199f0a8-0000-7000-8000-000000000009";

fn follow(vault: &Vault, epoch: u64) -> Result<Stream<'_>, VaultError> {
    let subject = StreamSubject {
        recovery_point_id: STREAM.parse().unwrap(),
        recovery_point: format!("arn:aws:backup:eu-north-1:000000000000:recovery-point:{STREAM}").parse().unwrap(),
        resource: "arn:aws:rds:eu-north-1:000000000000:db:shop".parse().unwrap(),
        resource_type: ResourceType::Rds,
        location: "postgresql://shop".to_owned(),
    };
    vault.follow(subject, epoch, &NoControl)
}

/// A follower's failure in one line.
fn failed(error: WriteError) -> VaultError {
    VaultError::WriterFailed { problem: shown(&error), code: FailureCode::VaultUnreachable }
}

fn span(number: u64) -> PieceSpan {
    PieceSpan { lane: 1, start: number * 100, end: (number + 1) * 100 }
}

fn bytes_of(number: u64) -> Vec<u8> {
    vec![number as u8 + 1; 100]
}

/// Makes a state that holds all pieces up to that number, and says so in its facts.
fn commit(stream: &Stream<'_>, upto: u64) -> Result<(), VaultError> {
    let committed = stream.commit(&mut |writer, _| {
        let bytes: Vec<u8> = (0..upto).flat_map(bytes_of).collect();
        let content = writer.write_content(Chunking::Fixed(4096), &mut bytes.as_slice())?;
        let file = node("log", NodeKind::File { content: content.blobs, size: content.size });
        let subtree = writer.write_tree(Tree { nodes: vec![file] })?;
        Ok(StreamContent {
            data: node("data", NodeKind::Dir { subtree }),
            sidecars: Vec::new(),
            size_bytes: content.size,
            items: 1,
            facts: serde_json::json!({ "upto": upto }),
        })
    });
    committed.map(drop).map_err(failed)
}

/// What a follower was told is durable.
#[derive(Clone, Copy, Default)]
struct Acknowledged {
    /// Pieces below that number were appended.
    appended: u64,
    /// Pieces below that number are in a state.
    committed: u64,
}

/// Appends, commits, removes what the state holds, and appends again.
fn live(vault: &Vault, epoch: u64, told: &RefCell<Acknowledged>) -> Result<(), VaultError> {
    let stream = follow(vault, epoch)?;
    let from = told.borrow().appended;
    for number in from..from + 2 {
        stream.append(span(number), &bytes_of(number)).map_err(failed)?;
        told.borrow_mut().appended = number + 1;
    }
    commit(&stream, from + 2)?;
    told.borrow_mut().committed = from + 2;
    let held: Vec<PieceSpan> = (from..from + 2).map(span).collect();
    stream.remove(&held).map_err(failed)?;
    stream.append(span(from + 2), &bytes_of(from + 2)).map_err(failed)?;
    told.borrow_mut().appended = from + 3;
    Ok(())
}

/// What a follower does first: it removes the pieces that the state has.
fn take_over(vault: &Vault, context: &str) {
    let stream = follow(vault, 2).unwrap_or_else(|error| panic!("{context}, then not taken over: {}", shown(&error)));
    let mut upto = 0;
    let looked = stream.look(&mut |state| {
        upto = state.map_or(0, |state| state.facts["upto"].as_u64().unwrap());
        Ok(())
    });
    looked.unwrap_or_else(|error| panic!("{context}: the state cannot be read: {}", shown(&error)));
    let covered: Vec<PieceSpan> = (0..upto).map(span).collect();
    stream.remove(&covered).unwrap_or_else(|error| panic!("{context}: {}", shown(&failed(error))));
}

/// Everything that was acknowledged is in the newest state or in a piece.
fn assert_stream_holds(vault: &Vault, told: Acknowledged, context: &str) {
    let stream = vault.stream(STREAM.parse().unwrap());
    let mut upto = 0;
    let looked = stream.look(&mut |state| {
        upto = state.map_or(0, |state| state.facts["upto"].as_u64().unwrap());
        Ok(())
    });
    looked.unwrap_or_else(|error| panic!("{context}: the state cannot be read: {}", shown(&error)));
    assert!(upto >= told.committed, "{context}: the state goes to {upto}, {} was acknowledged", told.committed);
    for number in upto..told.appended {
        let piece = stream.piece(span(number));
        let piece = piece.unwrap_or_else(|error| panic!("{context}: piece {number} is lost: {}", shown(&error)));
        assert!(piece == bytes_of(number), "{context}: piece {number} is another one");
    }
}

#[test]
fn a_follower_that_meets_any_failure_loses_nothing_that_it_acknowledged_and_its_successor_goes_on() {
    let Base { scene, expected, .. } = base();
    let told = Arc::new(parking_lot::Mutex::new(Acknowledged::default()));
    let operation = |vault: &Vault| {
        let own = RefCell::default();
        let result = live(vault, 1, &own);
        *told.lock() = *own.borrow();
        result
    };
    let mut expected = expected;
    expected.others = Some(STREAM.parse().unwrap());
    let cases = sweep(&scene, operation, |scene, failure, result, context, ask_restic| {
        let own = std::mem::take(&mut *told.lock());
        // All of it is from a run that met nothing; this one could not even open the vault.
        let own = if result.is_err() && own.appended == 3 { Acknowledged::default() } else { own };
        if failure == Failure::Dead {
            // Its successor removes what the newest state replaces, before or after the power fails.
            let later = scene.twin();
            later.wait(SignedDuration::from_mins(31));
            take_over(&later.open(), context);
            later.disk.cut_power_at_its_worst();
            assert_stream_holds(&later.open(), own, &format!("{context}, then taken over, and a power cut"));
            scene.disk.cut_power(&mut StdRng::seed_from_u64(context.len() as u64));
        }
        scene.wait(SignedDuration::from_mins(31));
        assert_stream_holds(&scene.open(), own, context);
        let own = RefCell::new(own);
        live(&scene.open(), 2, &own).unwrap_or_else(|error| panic!("{context}, and then {}", shown(&error)));
        let context = format!("{context}, then succeeded");
        assert_stream_holds(&scene.open(), *own.borrow(), &context);
        assert!(follow(&scene.open(), 1).is_err(), "{context}: the old follower may come back");
        assert_as_far_as_failure_allows(scene, failure, &expected, &context);
        if ask_restic && failure != Failure::ShortWrite {
            restic_agrees(scene, &context);
        }
    });
    assert!(cases > 60, "only {cases} cases: the sweep sees little of a follower");
}
