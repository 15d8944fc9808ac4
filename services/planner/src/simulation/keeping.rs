//! Locks and legal holds stand in the vaults: written, widened and taken back until a worker confirms it.

use jiff::SignedDuration;
use job_events::{
    CancelLegalHold, CreateLegalHold, DeleteVault, DeleteVaultLock, Disposition, HoldTerms, LockTerms, OrderBody,
    ProtectVault, PutVaultLock,
};
use job_model::{Generations, HoldSelection, JobDetail, LegalHoldId, Lifecycle};

use super::scene::{EUROPE, Scene, create_vault, protect, register, rule};
use super::{Mischief, World};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A resource and two vaults of one region.
fn scene() -> Scene {
    let mut world = World::new("2026-05-01T00:00:00Z", &[EUROPE], Mischief::DiesAfterEachStep);
    let near = create_vault(&mut world, EUROPE, "near");
    let far = create_vault(&mut world, EUROPE, "far");
    let home = register(&mut world, EUROPE, "home");
    world.run_for(HOUR);
    Scene { world, home, near, far }
}

fn orders(s: &Scene) -> Vec<ProtectVault> {
    let is_it = |order: &OrderBody| match order {
        OrderBody::ProtectVault(order) => Some(order.clone()),
        _ => None,
    };
    s.world.workers.orders.iter().filter_map(is_it).collect()
}

fn lock(s: &mut Scene, min: u32, max: Option<u32>, changeable: Option<u32>) {
    s.world.accepted(PutVaultLock {
        vault: s.near.clone(),
        min_retention_days: Some(min),
        max_retention_days: max,
        changeable_for_days: changeable,
    });
}

fn hold(s: &mut Scene, selection: HoldSelection) -> LegalHoldId {
    let made = s.world.accepted(CreateLegalHold {
        title: "case".to_owned(),
        description: "of the court".to_owned(),
        selection,
        tags: std::collections::BTreeMap::new(),
    });
    made.1.unwrap().parse().unwrap()
}

fn cancel(s: &mut Scene, id: LegalHoldId) {
    s.world.accepted(CancelLegalHold { id, cancel_description: "over".to_owned(), retain_record_days: None });
}

#[test]
fn a_lock_is_written_into_its_vault_once_and_taken_back_when_it_is_lifted() {
    let mut s = scene();
    s.world.run_for(DAY);
    assert!(orders(&s).is_empty(), "nothing is protected, nothing is written");
    lock(&mut s, 7, Some(90), None);
    s.world.run_for(DAY);
    let terms = LockTerms { min_retention_days: Some(7), max_retention_days: Some(90), fixed_from: None };
    let [first] = &orders(&s)[..] else { panic!("one order") };
    assert_eq!((first.vault.arn.clone(), first.lock, first.unlock), (s.near.clone(), Some(terms), false));
    lock(&mut s, 9, None, Some(3));
    s.world.run_for(HOUR);
    let changed = orders(&s).pop().unwrap().lock.unwrap();
    assert_eq!(changed.min_retention_days, Some(9));
    assert!(changed.fixed_from.is_some_and(|at| at > s.world.now));
    s.world.accepted(DeleteVaultLock { vault: s.near.clone() });
    s.world.run_for(HOUR);
    let last = orders(&s).pop().unwrap();
    assert_eq!((last.lock, last.unlock), (None, true));
    let before = orders(&s).len();
    s.world.run_for(DAY);
    assert_eq!(orders(&s).len(), before, "what is confirmed is not ordered again");
}

#[test]
fn an_empty_vault_whose_lock_was_lifted_just_now_can_be_deleted_at_once() {
    let mut s = scene();
    lock(&mut s, 7, None, None);
    s.world.run_for(DAY);
    s.world.accepted(DeleteVaultLock { vault: s.near.clone() });
    let is_open = |s: &Scene| {
        s.world.state.open_jobs().iter().any(|row| matches!(&row.job.detail, JobDetail::Maintenance { .. }))
    };
    let mut waited = SignedDuration::ZERO;
    while !is_open(&s) {
        waited += SignedDuration::from_secs(1);
        assert!(waited < HOUR && orders(&s).len() == 1, "the lock is taken back by a job");
        s.world.run_for(SignedDuration::from_secs(1));
    }
    s.world.accepted(DeleteVault { vault: s.near.clone() });
    s.world.run_for(DAY);
    assert!(!is_open(&s), "the job ends without its vault");
    let last = orders(&s).pop().unwrap();
    assert_eq!((last.lock, last.unlock), (None, true));
    assert!(s.world.state.keeps.values().all(|row| row.vault != s.near));
}

#[test]
fn a_planner_that_forgot_a_lock_or_a_hold_takes_nothing_back() {
    let mut s = scene();
    lock(&mut s, 7, None, None);
    let id = hold(&mut s, HoldSelection::default());
    s.world.run_for(HOUR);
    let before = orders(&s).len();
    assert!(before >= 2, "the lock, and the hold in both vaults");
    // The state of before, as from an old export.
    let near = s.near.clone();
    let mut vault = s.world.state.vaults.get(&near).unwrap().clone();
    (vault.lock, vault.min_retention_days) = (None, None);
    s.world.step(|step| {
        step.state.vaults.put(near.clone(), vault.clone());
        step.state.holds.remove(&id);
        let rows: Vec<_> = step.state.keeps.values().map(|row| (row.vault.clone(), row.class)).collect();
        rows.iter().for_each(|key| {
            step.state.keeps.remove(key);
        });
        step.state.retain_soon();
    });
    s.world.run_for(DAY);
    assert_eq!(orders(&s).len(), before);
}

#[test]
fn a_hold_of_a_vault_holds_all_of_it_and_a_narrower_one_grows_with_what_it_selects() {
    let mut s = scene();
    let first = s.backed_up();
    let all = hold(&mut s, HoldSelection { vault_names: vec!["near".to_owned()], ..HoldSelection::default() });
    s.world.run_for(HOUR);
    let order = orders(&s).pop().unwrap();
    assert_eq!(order.vault.arn, s.near);
    assert_eq!(order.holds, [HoldTerms { hold: all, recovery_points: [].into() }]);
    assert!(orders(&s).iter().all(|order| order.vault.arn == s.near), "other vaults are not held");
    cancel(&mut s, all);
    let home = s.home.to_string();
    let narrow = hold(&mut s, HoldSelection { resources: vec![home], ..HoldSelection::default() });
    s.world.run_for(HOUR);
    let order = orders(&s).pop().unwrap();
    let first = s.world.point(&first).id;
    assert_eq!(order.holds, [HoldTerms { hold: narrow, recovery_points: [first].into() }]);
    let released: Vec<_> = orders(&s).into_iter().flat_map(|order| order.released).collect();
    assert_eq!(released, [all]);
    let second = s.backed_up();
    s.world.run_for(HOUR);
    let second = s.world.point(&second).id;
    assert_eq!(orders(&s).pop().unwrap().holds[0].recovery_points, [first, second].into());
    cancel(&mut s, narrow);
    s.world.run_for(HOUR);
    assert_eq!(orders(&s).pop().unwrap().released, [narrow].into());
    let before = orders(&s).len();
    s.world.run_for(DAY);
    assert_eq!(orders(&s).len(), before);
}

#[test]
fn what_could_not_be_written_is_ordered_again() {
    let mut s = scene();
    s.world.workers.temper(&s.near.clone()).fails = Some((9, Disposition::Fail));
    lock(&mut s, 7, None, None);
    s.world.run_for(HOUR * 2);
    assert_eq!(orders(&s).len(), 1);
    s.world.workers.temper(&s.near.clone()).fails = None;
    s.world.run_for(DAY);
    assert_eq!(orders(&s).len(), 2);
}

#[test]
fn the_shortest_retention_of_a_locked_vault_holds_back_generations() {
    let mut s = scene();
    lock(&mut s, 3, None, None);
    let newest = Generations { last: 1, ..Generations::default() };
    let input = job_events::RuleInput {
        generations: Some(newest),
        lifecycle: Lifecycle::default(),
        ..rule("daily", s.near.clone(), "cron(0 5 * * ? *)", "UTC")
    };
    protect(&mut s.world, "daily", input, &[&s.home.clone()]);
    s.world.run_for(DAY * 6);
    let points = s.world.state.points.values().filter(|row| row.point.vault == s.near).count();
    assert_eq!(points, 3, "the newest, and those that are less than three days old");
}
