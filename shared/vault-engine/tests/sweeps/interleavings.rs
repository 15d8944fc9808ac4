//! One operation runs whole between any two calls that another makes to the store.

use std::sync::Arc;

use jiff::SignedDuration;

use super::disk::Client;
use super::invariants::{Expected, assert_nothing_is_left_over, prune};
use super::scene::{Content, Scene, capture, copy, shown};
use crate::{Committed, Vault, VaultError};

/// One of so many interruptions of a prune is tried; `HOLDFAST_SWEEP_EVERY=1` tries all of them.
const EVERY: u64 = 3;

/// A vault in which a prune has something to do, and what it must keep.
struct Base {
    scene: Scene,
    expected: Expected,
    kept: Committed,
}

fn content(entries: &[(&str, std::ops::Range<u16>)]) -> Content {
    entries.iter().map(|(path, blocks)| ((*path).to_owned(), blocks.clone().collect())).collect()
}

fn base() -> Base {
    let scene = Scene::new(3);
    let gone = content(&[("a/gone", 200..240), ("b/shared", 0..20)]);
    let kept = content(&[("a/kept", 0..30), ("b/part", 40..50)]);
    let vault = scene.open();
    let first = capture(&vault, 1, &gone).unwrap();
    let second = capture(&vault, 2, &kept).unwrap();
    vault.forget(first.snapshot_id).unwrap();
    scene.wait(SignedDuration::from_mins(10));
    Base { scene, expected: Expected { certain: [(2, kept)].into(), ..Expected::default() }, kept: second }
}

fn every() -> u64 {
    std::env::var("HOLDFAST_SWEEP_EVERY").map_or(EVERY, |text| text.parse().unwrap())
}

/// Runs `operation` on a twin of `base` again and again, each time with `other` whole before a later one of its calls;
/// `judge` sees how both ended. Says how many cases there were.
fn sweep<R: Send + 'static>(
    base: &Scene,
    operation: impl Fn(&Scene, Arc<Client>) -> Result<(), VaultError>,
    other: impl Fn(&Scene) -> R + Clone + Send + 'static,
    judge: impl Fn(&Scene, Result<(), VaultError>, R, &str),
) -> u64 {
    let mut cases = 0;
    for at in (0..).step_by(usize::try_from(every()).unwrap()) {
        let scene = Arc::new(base.twin());
        let client = scene.client(None);
        let (tell, told) = std::sync::mpsc::channel();
        let (their, other) = (Arc::clone(&scene), other.clone());
        client.interrupt(at, move || tell.send(other(&their)).unwrap());
        let result = operation(&scene, Arc::clone(&client));
        let Some(hit) = client.hit() else { break };
        cases += 1;
        judge(&scene, result, told.recv().unwrap(), &format!("before call {at}, {hit}"));
    }
    cases
}

/// Both ended well, and the vault has what it had and what came.
fn hold(scene: &Scene, ended: [Result<(), VaultError>; 2], expected: &Expected, context: &str) {
    for result in ended {
        result.unwrap_or_else(|error| panic!("{context}: one of both ends with {}", shown(&error)));
    }
    expected.hold(scene, context);
}

/// The same, now and when later prunes have taken away all that they may.
fn hold_for_ever(scene: &Scene, ended: [Result<(), VaultError>; 2], expected: &Expected, context: &str) {
    hold(scene, ended, expected, context);
    assert_nothing_is_left_over(scene, context);
    expected.hold(scene, &format!("{context}, and pruned again"));
}

/// `expected`, and one more recovery point.
fn and(expected: &Expected, number: u64, content: &Content) -> Expected {
    let mut expected = expected.clone();
    expected.certain.insert(number, content.clone());
    expected
}

fn captured(scene: &Scene, number: u64, content: &Content) -> Result<(), VaultError> {
    capture(&scene.open(), number, content).map(drop)
}

fn pruned(vault: &Vault) -> Result<(), VaultError> {
    prune(vault).map(drop)
}

/// Blobs that only a forgotten recovery point has, blobs of the kept one, and new ones.
fn third() -> Content {
    content(&[("a/gone", 200..235), ("a/kept", 10..30), ("c/new", 300..420)])
}

#[test]
fn a_prune_between_any_two_calls_of_a_capture_takes_nothing_that_the_capture_relies_on() {
    let Base { scene, expected, .. } = base();
    let expected = and(&expected, 3, &third());
    let operation =
        |scene: &Scene, client| scene.open_as(client).and_then(|vault| capture(&vault, 3, &third()).map(drop));
    let other = |scene: &Scene| pruned(&scene.open());
    let cases = sweep(&scene, operation, other, |scene, captured, pruned, context| {
        hold_for_ever(scene, [captured, pruned], &expected, context);
    });
    assert!(cases * every() > 12, "only {cases} cases: the sweep sees little of a capture");
}

#[test]
fn a_prune_that_sweeps_between_any_two_calls_of_a_capture_removes_nothing_that_the_capture_relies_on() {
    let Base { scene, expected, .. } = base();
    // Marked long ago: what follows is the sweep.
    pruned(&scene.open()).unwrap();
    scene.wait(SignedDuration::from_hours(30));
    let expected = and(&expected, 3, &third());
    let operation =
        |scene: &Scene, client| scene.open_as(client).and_then(|vault| capture(&vault, 3, &third()).map(drop));
    let other = |scene: &Scene| pruned(&scene.open());
    sweep(&scene, operation, other, |scene, captured, pruned, context| {
        hold(scene, [captured, pruned], &expected, context);
    });
}

#[test]
fn a_capture_between_any_two_calls_of_a_prune_keeps_what_it_relies_on() {
    let Base { scene, expected, .. } = base();
    let expected = and(&expected, 3, &third());
    let operation = |scene: &Scene, client| scene.open_as(client).and_then(|vault| pruned(&vault));
    let other = |scene: &Scene| captured(scene, 3, &third());
    let cases = sweep(&scene, operation, other, |scene, pruned, captured, context| {
        hold_for_ever(scene, [pruned, captured], &expected, context);
    });
    assert!(cases * every() > 20, "only {cases} cases: the sweep sees little of a prune");
}

#[test]
fn a_prune_of_either_side_between_any_two_calls_of_a_copy_takes_nothing_that_the_copy_relies_on() {
    let Base { scene: source, expected, kept } = base();
    let destination = Scene::new(4);
    let old = capture(&destination.open(), 8, &content(&[("a/old", 0..25), ("b/part", 40..50)])).unwrap();
    destination.open().forget(old.snapshot_id).unwrap();
    destination.wait(SignedDuration::from_mins(10));
    let there = and(&Expected::default(), 2, &expected.certain[&2]);
    let other = |scene: &Scene| pruned(&scene.open());

    let from = source.twin();
    let operation =
        |scene: &Scene, client| scene.open_as(client).and_then(|to| copy(&from.open(), &to, 2, &kept).map(drop));
    sweep(&destination, operation, other, |scene, copied, pruned, context| {
        hold_for_ever(scene, [copied, pruned], &there, context);
    });
    let operation = |scene: &Scene, client| {
        scene.open_as(client).and_then(|from| copy(&from, &destination.twin().open(), 2, &kept).map(drop))
    };
    sweep(&source, operation, other, |scene, copied, pruned, context| {
        hold(scene, [copied, pruned], &expected, context);
    });
}
