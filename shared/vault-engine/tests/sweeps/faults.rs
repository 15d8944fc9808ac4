//! One failure at every call to the store that an operation makes, one after the other.

use jiff::SignedDuration;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::disk::Failure;
use super::invariants::{Expected, assert_nothing_is_left_over, prune, restic_agrees};
use super::scene::{Content, Scene, capture, copy, restore, shown, tag};
use crate::{CheckOptions, Committed, Vault, VaultError};
use driver_api::NoControl;

/// One of so many cases is shown to restic as well; `HOLDFAST_SWEEP_RESTIC=1` shows it all of them.
const RESTIC_EVERY: u64 = 40;

/// A vault with two recovery points that share content, and what is expected of it.
pub(super) struct Base {
    pub(super) scene: Scene,
    pub(super) expected: Expected,
    pub(super) newest: Committed,
}

pub(super) fn content(entries: &[(&str, std::ops::Range<u16>)]) -> Content {
    entries.iter().map(|(path, blocks)| ((*path).to_owned(), blocks.clone().collect())).collect()
}

pub(super) fn base() -> Base {
    let scene = Scene::new(1);
    let one = content(&[("a/kept", 0..30), ("a/gone", 30..50), ("b/same", 100..110)]);
    let two = content(&[("a/kept", 0..25), ("b/same", 100..110), ("b/empty", 0..0)]);
    let vault = scene.open();
    capture(&vault, 1, &one).unwrap();
    scene.wait(SignedDuration::from_mins(10));
    let newest = capture(&vault, 2, &two).unwrap();
    scene.wait(SignedDuration::from_mins(10));
    let expected = Expected { certain: [(1, one), (2, two)].into(), ..Expected::default() };
    Base { scene, expected, newest }
}

fn restic_every() -> u64 {
    std::env::var("HOLDFAST_SWEEP_RESTIC").map_or(RESTIC_EVERY, |text| text.parse().unwrap())
}

/// Runs `operation` once for every kind of failure at every call it makes; `judge` sees how it ended. Says how many
/// cases there were.
pub(super) fn sweep(
    base: &Scene,
    operation: impl Fn(&Vault) -> Result<(), VaultError>,
    judge: impl Fn(&Scene, Failure, Result<(), VaultError>, &str, bool),
) -> u64 {
    let mut cases = 0;
    for failure in Failure::ALL {
        for at in 0.. {
            let scene = base.twin();
            let client = scene.client(Some((at, failure)));
            let result = scene.open_as(client.clone()).and_then(|vault| operation(&vault));
            let Some(hit) = client.hit() else {
                assert!(result.is_ok(), "call {at} cannot meet {failure:?}, and yet: {result:?}");
                if at >= client.calls() {
                    break;
                }
                continue;
            };
            cases += 1;
            let ended = result.as_ref().map_or_else(|error| shown(error), |()| "success".to_owned());
            let context = format!("{failure:?} at call {at}, {hit}, ended with {ended}");
            judge(&scene, failure, result, &context, cases % restic_every() == 0);
        }
    }
    cases
}

#[test]
fn a_capture_that_meets_any_failure_harms_nothing_and_the_next_one_succeeds() {
    let Base { scene, expected, .. } = base();
    let three = content(&[("a/kept", 5..40), ("b/same", 100..110), ("c/new", 200..260)]);
    let operation = |vault: &Vault| capture(vault, 3, &three).map(drop);
    let cases = sweep(&scene, operation, |scene, failure, result, context, ask_restic| {
        let mut expected = expected.clone();
        match result {
            Ok(()) => expected.certain.insert(3, three.clone()),
            Err(_) => expected.doubtful.insert(3, three.clone()),
        };
        assert_as_far_as_failure_allows(scene, failure, &expected, context);
        // A worker that tries again looks for what the first attempt may have committed.
        let try_again = |scene: &Scene| {
            scene.wait(SignedDuration::from_mins(31));
            let vault = scene.open();
            if vault.find_whole_snapshot_by_tag(&tag(3), &NoControl).unwrap().is_none() {
                capture(&vault, 3, &three).unwrap_or_else(|error| panic!("{context}, and then {}", shown(&error)));
            }
        };
        let mut repeated = expected.clone();
        repeated.doubtful.clear();
        repeated.certain.insert(3, three.clone());
        if failure == Failure::Dead {
            // Which finds what is not on the disk yet, unless the power fails before it looks.
            let later = scene.twin();
            try_again(&later);
            later.disk.cut_power_at_its_worst();
            repeated.hold(&later, &format!("{context}, then repeated, and a power cut"));
            scene.disk.cut_power(&mut StdRng::seed_from_u64(context.len() as u64));
            expected.hold(scene, &format!("{context}, and a power cut"));
        }
        try_again(scene);
        let expected = repeated;
        assert_as_far_as_failure_allows(scene, failure, &expected, &format!("{context}, then repeated"));
        if ask_restic && failure != Failure::ShortWrite {
            restic_agrees(scene, context);
        }
    });
    assert!(cases > 60, "only {cases} cases: the sweep sees little of a capture");
}

/// A store that leaves half a file under its name leaves something for a check to find; everything else holds all the
/// same.
pub(super) fn assert_as_far_as_failure_allows(scene: &Scene, failure: Failure, expected: &Expected, context: &str) {
    if failure == Failure::ShortWrite {
        expected.restore_all(&scene.open(), context);
    } else {
        expected.hold(scene, context);
    }
}

#[test]
fn a_restore_that_meets_any_failure_brings_the_right_bytes_or_none() {
    let Base { scene, expected, newest } = base();
    let before = scene.disk.files();
    let wanted = restore(&scene.open(), newest.snapshot_id).unwrap();
    let operation = |vault: &Vault| match restore(vault, newest.snapshot_id) {
        Ok(restored) => {
            assert!(restored == wanted, "other bytes");
            Ok(())
        }
        Err(_) => Err(VaultError::Stopped),
    };
    let cases = sweep(&scene, operation, |scene, _, _, context, _| {
        let mut after = scene.disk.files();
        after.retain(|path, _| !path.starts_with("locks/"));
        assert!(after == before, "{context}: a restore changed the vault");
        scene.wait(SignedDuration::from_mins(31));
        expected.restore_all(&scene.open(), context);
    });
    assert!(cases > 20, "only {cases} cases: the sweep sees little of a restore");
}

#[test]
fn a_check_that_meets_any_failure_ends_with_it_or_is_right() {
    let Base { scene, expected, .. } = base();
    let operation = |vault: &Vault| {
        let report = vault.check(&CheckOptions { read_data: true, control: &NoControl })?;
        if report.is_sound() {
            Ok(())
        } else {
            Err(VaultError::Damaged { what: format!("{:?}", report.findings), problem: String::new() })
        }
    };
    let cases = sweep(&scene, operation, |scene, failure, result, context, _| {
        // What was read wrong may be reported; what could not be read must not be taken for damage.
        if let Err(VaultError::Damaged { .. }) = &result {
            assert!(failure == Failure::Corrupted, "{context}: a failure was taken for damage");
        }
        scene.wait(SignedDuration::from_mins(31));
        expected.hold(scene, context);
    });
    assert!(cases > 20, "only {cases} cases: the sweep sees little of a check");
}

#[test]
fn a_copy_that_meets_any_failure_on_either_side_harms_neither_and_the_next_one_succeeds() {
    let Base { scene: source, expected, newest } = base();
    let wanted = expected.certain[&2].clone();
    let destination = Scene::new(2);
    let mut there = Expected::default();
    let own = content(&[("a/own", 10..40), ("b/same", 100..105)]);
    capture(&destination.open(), 9, &own).unwrap();
    there.certain.insert(9, own);

    let judge = |source: &Scene, destination: &Scene, failure: Failure, ok: bool, context: &str, ask_restic: bool| {
        let mut there = there.clone();
        if ok { &mut there.certain } else { &mut there.doubtful }.insert(2, wanted.clone());
        source.wait(SignedDuration::from_mins(31));
        destination.wait(SignedDuration::from_mins(31));
        assert_as_far_as_failure_allows(source, failure, &expected, context);
        assert_as_far_as_failure_allows(destination, failure, &there, context);
        let try_again = |destination: &Scene| {
            copy(&source.open(), &destination.open(), 2, &newest)
                .unwrap_or_else(|error| panic!("{context}, and then {}", shown(&error)));
        };
        let mut repeated = there.clone();
        repeated.doubtful.clear();
        repeated.certain.insert(2, wanted.clone());
        if failure == Failure::Dead {
            let later = destination.twin();
            try_again(&later);
            later.disk.cut_power_at_its_worst();
            repeated.hold(&later, &format!("{context}, then repeated, and a power cut"));
            destination.disk.cut_power(&mut StdRng::seed_from_u64(context.len() as u64));
            there.hold(destination, &format!("{context}, and a power cut"));
        }
        try_again(destination);
        let there = repeated;
        assert_as_far_as_failure_allows(destination, failure, &there, &format!("{context}, then repeated"));
        if ask_restic && failure != Failure::ShortWrite {
            restic_agrees(destination, context);
        }
    };
    let from_cases = {
        let operation = |from: &Vault| copy(from, &destination.twin().open(), 2, &newest).map(drop);
        sweep(&source, operation, |source, failure, result, context, _| {
            let destination = destination.twin();
            // The same once more where the other side can be looked at afterwards.
            judge(source, &destination, failure, false, &format!("{context} {:?}", result.is_ok()), false);
        })
    };
    let to_cases = {
        let operation = |to: &Vault| copy(&source.twin().open(), to, 2, &newest).map(drop);
        sweep(&destination, operation, |destination, failure, result, context, ask_restic| {
            judge(&source.twin(), destination, failure, result.is_ok(), context, ask_restic);
        })
    };
    assert!(from_cases > 20 && to_cases > 50, "only {from_cases} and {to_cases} cases");
}

#[test]
fn a_prune_that_meets_any_failure_harms_nothing_and_later_ones_finish_it() {
    let Base { scene, mut expected, .. } = base();
    let vault = scene.open();
    let gone = vault.find_snapshot_by_tag(&tag(1)).unwrap().unwrap();
    vault.forget(gone.id).unwrap();
    expected.certain.remove(&1);
    let mut cases = 0;
    // The first prune marks and packs anew; the one after the grace period removes.
    for runs_before in [0, 1] {
        if runs_before > 0 {
            prune(&vault).unwrap();
            scene.wait(SignedDuration::from_hours(30));
        }
        let operation = |vault: &Vault| prune(vault).map(drop);
        cases += sweep(&scene, operation, |scene, failure, _, context, ask_restic| {
            scene.wait(SignedDuration::from_mins(31));
            assert_as_far_as_failure_allows(scene, failure, &expected, context);
            if failure == Failure::Dead {
                scene.disk.cut_power(&mut StdRng::seed_from_u64(context.len() as u64));
                expected.hold(scene, &format!("{context}, and a power cut"));
            }
            if failure == Failure::ShortWrite {
                return;
            }
            assert_nothing_is_left_over(scene, context);
            expected.hold(scene, &format!("{context}, then pruned to the end"));
            if ask_restic {
                restic_agrees(scene, context);
            }
        });
    }
    assert!(cases > 80, "only {cases} cases: the sweep sees little of a prune");
}
