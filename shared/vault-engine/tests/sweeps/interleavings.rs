//! One operation runs whole between any two calls that another makes to the store.

use std::sync::Arc;

use jiff::SignedDuration;

use super::disk::Client;
use super::invariants::{Expected, assert_nothing_is_left_over, prune};
use super::scene::{Content, Scene, capture, copy, shown};
use crate::{Committed, Vault, VaultError};

/// One of so many interruptions of a prune is tried; `HOLDFAST_SWEEP_EVERY=1` tries all of them.
const EVERY: u64 = 3;

/// A vault in which a prune has everything to do: a pack that nobody needs, one that is needed in part, and what a
/// recovery point needs.
struct Base {
    scene: Scene,
    expected: Expected,
    gone: Content,
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
    Base { scene, expected: Expected { certain: [(2, kept)].into(), ..Expected::default() }, gone, kept: second }
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

fn captured(scene: &Scene, number: u64, content: &Content) -> Result<(), VaultError> {
    capture(&scene.open(), number, content).map(drop)
}

fn pruned(vault: &Vault) -> Result<(), VaultError> {
    prune(vault).map(drop)
}

#[test]
fn a_prune_between_any_two_calls_of_a_capture_takes_nothing_that_the_capture_relies_on() {
    let Base { scene, expected, gone, .. } = base();
    // Old blobs that only the forgotten one has, blobs of the kept one, and so many new ones that the index is written
    // before the end.
    let three = content(&[("a/gone", 200..235), ("a/kept", 10..30), ("c/new", 300..420)]);
    assert!(gone["a/gone"].len() > 30);
    let wanted = three.clone();
    let operation =
        move |scene: &Scene, client| scene.open_as(client).and_then(|vault| capture(&vault, 3, &wanted).map(drop));
    // Marked a day before, so that the second prune sweeps.
    let cases = sweep(
        &scene,
        operation,
        |scene| pruned(&scene.open()),
        |scene, captured, pruned, context| {
            pruned.unwrap_or_else(|error| panic!("{context}: the prune ends with {}", shown(&error)));
            captured.unwrap_or_else(|error| panic!("{context}: the capture ends with {}", shown(&error)));
            let mut expected = expected.clone();
            expected.certain.insert(3, three.clone());
            expected.hold(scene, context);
            assert_nothing_is_left_over(scene, context);
            expected.hold(scene, &format!("{context}, and pruned again"));
        },
    );
    assert!(cases * every() > 12, "only {cases} cases: the sweep sees little of a capture");
}

#[test]
fn a_prune_that_sweeps_between_any_two_calls_of_a_capture_removes_nothing_that_the_capture_relies_on() {
    let Base { scene, expected, .. } = base();
    pruned(&scene.open()).unwrap();
    scene.wait(SignedDuration::from_hours(30));
    let three = content(&[("a/gone", 200..235), ("a/kept", 10..30), ("c/new", 300..420)]);
    let wanted = three.clone();
    let operation =
        move |scene: &Scene, client| scene.open_as(client).and_then(|vault| capture(&vault, 3, &wanted).map(drop));
    sweep(
        &scene,
        operation,
        |scene| pruned(&scene.open()),
        |scene, captured, pruned, context| {
            pruned.unwrap_or_else(|error| panic!("{context}: the prune ends with {}", shown(&error)));
            captured.unwrap_or_else(|error| panic!("{context}: the capture ends with {}", shown(&error)));
            let mut expected = expected.clone();
            expected.certain.insert(3, three.clone());
            expected.hold(scene, context);
        },
    );
}

#[test]
fn a_capture_between_any_two_calls_of_a_prune_keeps_what_it_relies_on() {
    let Base { scene, expected, .. } = base();
    let three = content(&[("a/gone", 200..235), ("a/kept", 10..30), ("c/new", 300..320)]);
    let wanted = three.clone();
    let operation = |scene: &Scene, client| scene.open_as(client).and_then(|vault| pruned(&vault));
    let other = move |scene: &Scene| captured(scene, 3, &wanted);
    let cases = sweep(&scene, operation, other, |scene, pruned, captured, context| {
        pruned.unwrap_or_else(|error| panic!("{context}: the prune ends with {}", shown(&error)));
        captured.unwrap_or_else(|error| panic!("{context}: the capture ends with {}", shown(&error)));
        let mut expected = expected.clone();
        expected.certain.insert(3, three.clone());
        expected.hold(scene, context);
        assert_nothing_is_left_over(scene, context);
        expected.hold(scene, &format!("{context}, and pruned again"));
    });
    assert!(cases * every() > 20, "only {cases} cases: the sweep sees little of a prune");
}

#[test]
fn a_prune_of_either_side_between_any_two_calls_of_a_copy_takes_nothing_that_the_copy_relies_on() {
    let Base { scene: source, expected, kept, .. } = base();
    let destination = Scene::new(4);
    let old = capture(&destination.open(), 8, &content(&[("a/old", 0..25), ("b/part", 40..50)])).unwrap();
    destination.open().forget(old.snapshot_id).unwrap();
    destination.wait(SignedDuration::from_mins(10));
    let wanted = expected.certain[&2].clone();

    let (from, point) = (source.twin(), kept.clone());
    let operation = move |scene: &Scene, client| {
        scene.open_as(client).and_then(|vault| copy(&from.open(), &vault, 2, &point).map(drop))
    };
    let judge = |scene: &Scene, copied: Result<(), VaultError>, pruned: Result<(), VaultError>, context: &str| {
        pruned.unwrap_or_else(|error| panic!("{context}: the prune ends with {}", shown(&error)));
        copied.unwrap_or_else(|error| panic!("{context}: the copy ends with {}", shown(&error)));
        let there = Expected { certain: [(2, wanted.clone())].into(), ..Expected::default() };
        there.hold(scene, context);
        assert_nothing_is_left_over(scene, context);
        there.hold(scene, &format!("{context}, and pruned again"));
    };
    sweep(&destination, operation, |scene| pruned(&scene.open()), judge);

    let to = Arc::new(destination);
    let operation = |scene: &Scene, client| {
        scene.open_as(client).and_then(|vault| copy(&vault, &to.twin().open(), 2, &kept).map(drop))
    };
    sweep(
        &source,
        operation,
        |scene| pruned(&scene.open()),
        |scene, copied, pruned, context| {
            pruned.unwrap_or_else(|error| panic!("{context}: the prune ends with {}", shown(&error)));
            copied.unwrap_or_else(|error| panic!("{context}: the copy ends with {}", shown(&error)));
            expected.hold(scene, context);
        },
    );
}
