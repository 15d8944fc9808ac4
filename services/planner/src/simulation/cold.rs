//! The cold tier: recovery points move when their lifecycle says so, and whatever dies in between, one whole snapshot is
//! always where the catalogue says.

use jiff::SignedDuration;
use job_events::{
    CancelLegalHold, CreateLegalHold, CreatePlan, CreateVaultRequest, DeleteRecoveryPoint, Disposition, Fact,
    OrderBody, StartBackup, StartVaultCheck, StartVaultPrune, UpdateRecoveryPointLifecycle,
};
use job_model::{Arn, HoldSelection, JobId, JobKind, JobState, Lifecycle, StorageClass, VaultType};

use super::scene::{EUROPE, days, register, rule, start_backup, test_restore_of, vault};
use super::{Mischief, World};
use crate::decide::{Out, VaultPlace, lost};

const DAY: SignedDuration = SignedDuration::from_hours(24);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const ALL: [Mischief; 3] = [Mischief::None, Mischief::DiesAfterEachStep, Mischief::DiesInEachStep];

fn cold_after(cold: u32, delete: u32) -> Lifecycle {
    Lifecycle { delete_after_days: Some(delete), move_to_cold_after_days: Some(cold) }
}

/// A resource and a vault with a cold repository.
struct Tiers {
    world: World,
    home: Arn,
    near: Arn,
}

fn tiers(mischief: Mischief) -> Tiers {
    let mut world = World::new("2026-05-01T00:00:00Z", &[EUROPE], mischief);
    world.accepted(CreateVaultRequest {
        name: "near".to_owned(),
        region: EUROPE.parse().unwrap(),
        location: "file:///vaults/near".to_owned(),
        key_profile: "main".to_owned(),
        cold_location: Some("s3://cold/near".to_owned()),
        cold_key_profile: Some("cold".to_owned()),
        min_retention_days: None,
        max_retention_days: None,
        vault_type: VaultType::BackupVault,
        tags: std::collections::BTreeMap::new(),
    });
    let home = register(&mut world, EUROPE, "home");
    world.run_for(HOUR);
    Tiers { world, home, near: vault(EUROPE, "near") }
}

impl Tiers {
    fn backed_up(&mut self, lifecycle: Lifecycle) -> Arn {
        self.world.accepted(StartBackup { lifecycle, ..start_backup(&self.home, &self.near) });
        self.world.run_for(HOUR);
        self.world.newest_point(&self.home, &self.near)
    }

    fn class(&self, point: &Arn) -> StorageClass {
        self.world.point(point).storage_class
    }

    fn orders_named(&self, name: &str) -> Vec<&OrderBody> {
        self.world.workers.orders.iter().filter(|order| order.name() == name).collect()
    }

    fn jobs_named(&self, name: &str) -> Vec<JobId> {
        let is_it = |detail: &job_model::JobDetail| matches!(detail, job_model::JobDetail::Maintenance { task, .. } if task == name);
        self.world.state.jobs().filter(|row| is_it(&row.job.detail)).map(|row| row.job.id).collect()
    }

    /// What was said, in short: every state of every job of a move, and every storage class.
    fn told(&self) -> Vec<String> {
        let said = self.world.said.iter().filter_map(|out| match out {
            Out::Order { body, .. } => Some(format!("order {}", body.name())),
            Out::Fact { fact, .. } => match fact.as_ref() {
                Fact::RecoveryPointChanged(changed) => {
                    Some(format!("{:?} {}", changed.recovery_point.storage_class, changed.recovery_point.snapshot_id))
                }
                Fact::RecoveryPointDeleted(_) => Some("deleted".to_owned()),
                _ => None,
            },
            _ => None,
        });
        said.collect()
    }
}

#[test]
fn seven_days_warm_and_thirty_in_all() {
    let mut stories = Vec::new();
    for mischief in ALL {
        let mut t = tiers(mischief);
        let point = t.backed_up(cold_after(7, 30));
        let warm = t.world.point(&point).snapshot_id.clone();
        t.world.run_for(DAY * 6);
        assert_eq!(t.class(&point), StorageClass::Warm);
        assert!(t.orders_named("copy-recovery-point").is_empty());
        t.world.run_for(DAY + HOUR);
        assert_eq!(t.class(&point), StorageClass::Cold);
        let [OrderBody::CopyRecoveryPoint(copy)] = t.orders_named("copy-recovery-point")[..] else {
            panic!("one copy")
        };
        assert_eq!(
            (copy.source.location.as_str(), copy.destination.location.as_str()),
            ("file:///vaults/near", "s3://cold/near")
        );
        assert_eq!((copy.source_snapshot_id.as_str(), copy.destination.key_profile.as_str()), (warm.as_str(), "cold"));
        assert_eq!((&copy.recovery_point, copy.destination.repository_id.is_some()), (&point, true));
        let [OrderBody::ForgetWarmSnapshot(forget)] = t.orders_named("forget-warm-snapshot")[..] else {
            panic!("once")
        };
        let now = t.world.point(&point);
        assert_eq!((&forget.warm_snapshot_id, &forget.cold_snapshot_id), (&warm, &now.snapshot_id));
        assert_ne!(warm, now.snapshot_id);
        assert!(t.world.state.points.get(&point).unwrap().warm_snapshot.is_none(), "nothing is left to do");

        // What reads it reads the cold repository, and the next capture has no parent there.
        test_restore_of(&mut t.world, point.clone(), 7, 0);
        t.world.run_for(HOUR);
        for order in &t.world.workers.orders {
            match order {
                OrderBody::RestoreRecoveryPoint(order) => assert_eq!(order.vault.location, "s3://cold/near"),
                OrderBody::VerifyRestore(order) => assert_eq!(order.vault.location, "s3://cold/near"),
                _ => {}
            }
        }
        t.backed_up(Lifecycle::default());
        let Some(OrderBody::CaptureSnapshot(capture)) = t.orders_named("capture-snapshot").last().copied() else {
            panic!()
        };
        assert!(capture.parent.is_none() && capture.vault.location == "file:///vaults/near");

        t.world.run_for(DAY * 23);
        assert!(t.world.state.points.get(&point).is_none());
        let [OrderBody::DeleteRecoveryPointOrder(delete)] = t.orders_named("delete-recovery-point")[..] else {
            panic!()
        };
        assert_eq!(delete.vault.location, "s3://cold/near");
        assert_eq!(delete.also.as_ref().unwrap().location, "file:///vaults/near");
        let pruned: Vec<&str> = t
            .world
            .workers
            .orders
            .iter()
            .filter_map(|order| match order {
                OrderBody::PruneVault(order) => Some(order.vault.location.as_str()),
                _ => None,
            })
            .collect();
        assert!(pruned.contains(&"file:///vaults/near") && pruned.contains(&"s3://cold/near"), "{pruned:?}");
        stories.push(t.told());
    }
    assert!(stories.windows(2).all(|pair| pair[0] == pair[1]), "a planner that dies tells the same story");
}

#[test]
fn the_warm_snapshot_goes_only_after_the_copy_is_recorded_and_when_nobody_reads_it() {
    let mut t = tiers(Mischief::DiesAfterEachStep);
    let point = t.backed_up(cold_after(1, 30));
    t.world.run_for(SignedDuration::from_hours(22));
    // A restore that began when it was warm and takes ten hours.
    t.world.workers.temper(&point).takes = SignedDuration::from_hours(10);
    let restore = test_restore_of(&mut t.world, point.clone(), 7, 0);
    t.world.run_for(HOUR * 4);
    assert_eq!((t.class(&point), t.world.job(restore).state), (StorageClass::Cold, JobState::Running));
    assert!(t.orders_named("forget-warm-snapshot").is_empty());
    let [forget] = t.jobs_named("forget-warm")[..] else { panic!("one job") };
    let message = t.world.job(forget).status_message.clone().unwrap();
    assert!(message.contains(&restore.to_string()), "{message}");
    t.world.run_for(HOUR * 12);
    assert_eq!(t.world.job(forget).state, JobState::Completed);
    let told = t.told();
    let place = |what: &str| told.iter().position(|line| line.starts_with(what)).unwrap();
    assert!(place("order copy-recovery-point") < place("Cold"));
    assert!(place("Cold") < place("order forget-warm-snapshot"), "{told:?}");
}

#[test]
fn a_result_told_again_or_too_late_changes_nothing() {
    let mut t = tiers(Mischief::DiesAfterEachStep);
    let point = t.backed_up(cold_after(1, 30));
    t.world.workers.temper(&t.near.clone()).absent = true;
    t.world.run_for(DAY);
    let [job] = t.jobs_named("move-to-cold")[..] else { panic!("one move") };
    for _ in 0..3 {
        t.world.run_for(SignedDuration::from_secs(90));
        assert!(t.world.step(|step| lost::order_lost(step, job)));
    }
    t.world.step(|step| lost::order_lost(step, job));
    assert_eq!((t.world.job(job).state, t.class(&point)), (JobState::Failed, StorageClass::Warm));
    // The worker had done it and only now tells, and then again.
    let copied = |snapshot: &str, epoch: u64, tree: String| job_events::RecoveryPointCopied {
        attempt: job_events::AttemptHeader {
            job_id: job,
            attempt: 1,
            epoch,
            worker: "late/1".to_owned(),
            at: "2026-05-02T00:00:00Z".parse().unwrap(),
        },
        snapshot_id: snapshot.to_owned(),
        tree_id: tree,
        progress: job_model::Progress::default(),
        phases: Vec::new(),
    };
    let tree = t.world.point(&point).summary.tree_id.clone();
    t.world.hear(copied("forged", 5, "another-tree".to_owned()));
    assert_eq!(t.class(&point), StorageClass::Warm, "another tree is no copy");
    t.world.hear(copied("cold-1", 5, tree.clone()));
    t.world.hear(copied("cold-2", 6, tree));
    assert_eq!(t.world.point(&point).snapshot_id, "cold-1");
    t.world.workers.temper(&t.near.clone()).absent = false;
    t.world.run_for(DAY);
    assert!(t.orders_named("forget-warm-snapshot").len() <= 2);
    assert_eq!(t.class(&point), StorageClass::Cold);
}

#[test]
fn copy_that_comes_after_its_recovery_point_was_deleted_is_removed() {
    let mut t = tiers(Mischief::DiesAfterEachStep);
    let point = t.backed_up(cold_after(1, 30));
    let tree = t.world.point(&point).summary.tree_id.clone();
    let near = t.near.clone();
    t.world.workers.temper(&near).fails = Some((9, Disposition::Fail));
    t.world.run_for(DAY);
    let [job] = t.jobs_named("move-to-cold")[..] else { panic!("one move") };
    assert_eq!(t.world.job(job).state, JobState::Failed);
    t.world.workers.temper(&near).fails = None;
    let late = job_events::RecoveryPointCopied {
        attempt: job_events::AttemptHeader {
            job_id: job,
            attempt: 9,
            epoch: 5,
            worker: "late/1".to_owned(),
            at: "2026-05-02T00:00:00Z".parse().unwrap(),
        },
        snapshot_id: "late".to_owned(),
        tree_id: tree,
        progress: job_model::Progress::default(),
        phases: Vec::new(),
    };
    // While it is being deleted, and again when it is gone.
    t.world.accepted(DeleteRecoveryPoint { recovery_point: point.clone(), vault: None });
    t.world.hear(late.clone());
    assert!(t.world.state.points.get(&point).is_some(), "its own deletion removes it from the catalogue");
    t.world.run_for(HOUR);
    assert!(t.world.state.points.get(&point).is_none());
    t.world.hear(late.clone());
    t.world.hear(job_events::RecoveryPointCopied { snapshot_id: "later".to_owned(), ..late });
    t.world.run_for(HOUR);
    let removed: Vec<(&str, &str)> = t
        .orders_named("delete-recovery-point")
        .into_iter()
        .filter_map(|order| match order {
            OrderBody::DeleteRecoveryPointOrder(order) if order.also.is_none() => {
                Some((order.vault.location.as_str(), order.snapshot_id.as_str()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(removed, [("s3://cold/near", "late"), ("s3://cold/near", "later")], "each once");
    assert!(t.jobs_named("forget-late-copy").iter().all(|job| t.world.job(*job).state == JobState::Completed));
    assert!(t.told().iter().filter(|line| *line == "deleted").count() == 1);
}

#[test]
fn half_a_move_that_fails_is_tried_again_later() {
    let mut t = tiers(Mischief::DiesAfterEachStep);
    let point = t.backed_up(cold_after(1, 30));
    let near = t.near.clone();
    t.world.workers.temper(&near).fails = Some((9, Disposition::Fail));
    t.world.run_for(DAY);
    let failed = t.jobs_named("move-to-cold");
    assert_eq!((failed.len(), t.class(&point)), (1, StorageClass::Warm));
    assert_eq!(t.world.job(failed[0]).state, JobState::Failed);
    t.world.run_for(HOUR * 4);
    assert_eq!(t.jobs_named("move-to-cold").len(), 1, "not at once");
    // One that is deleted meanwhile is looked for in both repositories.
    t.world.workers.temper(&near).fails = None;
    t.world.run_for(HOUR * 4);
    assert_eq!(t.class(&point), StorageClass::Cold);
    assert!(t.world.state.points.get(&point).unwrap().warm_snapshot.is_none());

    let other = t.backed_up(cold_after(1, 30));
    t.world.workers.temper(&near).fails = Some((9, Disposition::Fail));
    t.world.run_for(DAY);
    t.world.workers.temper(&near).fails = None;
    t.world.accepted(DeleteRecoveryPoint { recovery_point: other, vault: None });
    t.world.run_for(HOUR);
    let Some(OrderBody::DeleteRecoveryPointOrder(delete)) = t.orders_named("delete-recovery-point").last().copied()
    else {
        panic!("a deletion")
    };
    assert_eq!(delete.vault.location, "file:///vaults/near");
    assert_eq!(delete.also.as_ref().unwrap().location, "s3://cold/near");
}

#[test]
fn a_legal_hold_keeps_a_recovery_point_warm_until_it_ends() {
    let mut t = tiers(Mischief::DiesAfterEachStep);
    let point = t.backed_up(cold_after(1, 30));
    let hold = t.world.accepted(CreateLegalHold {
        title: "case".to_owned(),
        description: "of the court".to_owned(),
        selection: HoldSelection { vault_names: vec!["near".to_owned()], ..HoldSelection::default() },
        tags: std::collections::BTreeMap::new(),
    });
    t.world.run_for(DAY * 3);
    assert_eq!(t.class(&point), StorageClass::Warm);
    t.world.accepted(CancelLegalHold {
        id: hold.1.unwrap().parse().unwrap(),
        cancel_description: "over".to_owned(),
        retain_record_days: None,
    });
    t.world.run_for(HOUR * 2);
    assert_eq!(t.class(&point), StorageClass::Cold);
}

#[test]
fn a_lifecycle_needs_a_cold_place_and_the_region_may_give_one_to_all_its_vaults() {
    let mut world = World::new("2026-05-01T00:00:00Z", &[EUROPE], Mischief::DiesAfterEachStep);
    let near = super::scene::create_vault(&mut world, EUROPE, "near");
    let home = register(&mut world, EUROPE, "home");
    world.run_for(HOUR);
    let input =
        job_events::RuleInput { lifecycle: cold_after(1, 9), ..rule("a", near.clone(), "cron(0 5 * * ? *)", "UTC") };
    let plan = CreatePlan {
        name: "a".to_owned(),
        rules: vec![input],
        advanced_settings: Vec::new(),
        tags: std::collections::BTreeMap::new(),
    };
    let (_, field, message) = world.refused(plan.clone());
    assert_eq!(field, "rules[0].lifecycle.move_to_cold_after_days");
    assert!(message.contains("`regions.eu-central-1.vaults.cold_location`"), "{message}");
    let check = |storage_class| StartVaultCheck { vault: near.clone(), read_data: false, storage_class };
    assert_eq!(world.refused(check(StorageClass::Cold)).1, "storage_class");

    let place = VaultPlace {
        location: "file:///v/{name}".to_owned(),
        key_profile: "main".to_owned(),
        cold_location: Some("s3://cold/{account}/{name}".to_owned()),
        cold_key_profile: None,
    };
    world.settings.vault_places.insert(EUROPE.parse().unwrap(), place);
    world.accepted(plan);
    assert!(world.state.vaults.get(&near).unwrap().cold.is_none(), "not before it is needed");
    world.accepted(StartBackup { lifecycle: cold_after(1, 9), ..start_backup(&home, &near) });
    world.run_for(HOUR * 2);
    let cold = world.state.vaults.get(&near).unwrap().cold.clone().unwrap();
    assert_eq!((cold.location.as_str(), cold.key_profile.as_str()), ("s3://cold/000000000000/near", "near"));
    assert!(cold.repository_id.is_some());
    let taken = CreateVaultRequest {
        name: "thief".to_owned(),
        region: EUROPE.parse().unwrap(),
        location: cold.location,
        key_profile: "main".to_owned(),
        cold_location: None,
        cold_key_profile: None,
        min_retention_days: None,
        max_retention_days: None,
        vault_type: VaultType::BackupVault,
        tags: std::collections::BTreeMap::new(),
    };
    assert_eq!(world.refused(taken).1, "location");
    world.accepted(check(StorageClass::Cold));
    world.accepted(StartVaultPrune { vault: near.clone(), plan_only: true, storage_class: StorageClass::Cold });
    world.run_for(HOUR);
    let checked = world.workers.orders.iter().filter(|order| match order {
        OrderBody::CheckVault(order) => order.vault.location.starts_with("s3://cold"),
        OrderBody::PruneVault(order) => order.vault.location.starts_with("s3://cold") && order.plan_only,
        _ => false,
    });
    assert_eq!(checked.count(), 2);
}

#[test]
fn a_cold_repository_that_cannot_be_made_is_told_and_tried_again() {
    let mut t = tiers(Mischief::None);
    let near = t.near.clone();
    let mut vault = t.world.state.vaults.get(&near).unwrap().clone();
    vault.cold.as_mut().unwrap().repository_id = None;
    t.world.step(|step| {
        step.state.vaults.put(near.clone(), vault.clone());
        step.state.retain_soon();
    });
    t.world.workers.temper(&near).fails = Some((9, Disposition::Fail));
    t.world.run_for(HOUR * 2);
    let told = t.world.state.vaults.get(&near).unwrap().state_message.clone().unwrap();
    assert!(told.starts_with("its cold repository could not be made"), "{told}");
    t.world.workers.temper(&near).fails = None;
    t.world.run_for(HOUR * 8);
    let vault = t.world.state.vaults.get(&near).unwrap();
    assert!(vault.repository(StorageClass::Cold).is_some() && vault.state_message.is_none());
}

#[test]
fn when_it_moved_stays_as_it_was_and_the_rest_of_the_lifecycle_may_change() {
    let mut t = tiers(Mischief::None);
    let point = t.backed_up(cold_after(1, 30));
    t.world.run_for(DAY * 2);
    let update = |lifecycle| UpdateRecoveryPointLifecycle { recovery_point: point.clone(), lifecycle };
    assert_eq!(t.world.refused(update(days(40))).1, "lifecycle.move_to_cold_after_days");
    assert_eq!(t.world.refused(update(cold_after(2, 40))).1, "lifecycle.move_to_cold_after_days");
    t.world.accepted(update(cold_after(1, 40)));
    assert_eq!(t.world.point(&point).lifecycle, cold_after(1, 40));
    assert!(t.world.state.jobs().all(|row| row.job.kind != JobKind::Copy), "a move is no copy job");
}
