//! The protection cycle, a turn at a time: backup, copy, restore test, verdict, deletion, and what requests may not ask.

use jiff::SignedDuration;
use job_events::{
    CreatePlan, CreateVaultRequest, DeletePlan, DeleteRecoveryPoint, DeleteSelection, DeleteVault, Disposition, Fact,
    OrderBody, RegisterResource, StartBackup, StartCopy, StartRestore, StartVaultCheck, UpdatePlan,
};
use job_model::{
    CopyAction, JobDetail, JobKind, JobState, Lifecycle, MessageCategory, OverwritePolicy, RecoveryPointStatus,
    ResourceType, RestoreTarget, VaultState, VerdictStatus,
};

use super::scene::{
    AUSTRALIA, EUROPE, create_vault, days, protect, register, rule, scene, start_backup, test_restore_of,
};
use super::{Mischief, World};
use crate::decide::Out;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

#[test]
fn a_partial_recovery_point_is_copied_and_its_jobs_complete_with_issues() {
    let mut s = scene();
    s.world.workers.temper(&s.home).exceptions = 2;
    let copy = CopyAction { destination_vault: s.far.clone(), lifecycle: days(9) };
    let request = StartBackup { copy_actions: vec![copy], ..start_backup(&s.home, &s.near) };
    let backup = s.world.accepted(request).0.unwrap();
    s.world.run_for(HOUR);
    let job = s.world.job(backup);
    assert_eq!((job.state, job.message_category), (JobState::Completed, MessageCategory::Issues));
    assert!(job.status_message.as_ref().unwrap().starts_with("2 entries were not captured"));
    let copied = s.world.newest_point(&s.home, &s.far);
    let point = s.world.point(&copied);
    assert_eq!(point.status, RecoveryPointStatus::Partial);
    assert_eq!(point.lifecycle, days(9), "a copy has a lifecycle of its own");
    assert_eq!(s.world.job(point.job_id).message_category, MessageCategory::Issues);
    assert_eq!(s.world.job(point.job_id).parent, Some(backup));
}

#[test]
fn a_rule_that_wants_continuous_capture_makes_a_snapshot_that_says_so() {
    let mut s = scene();
    let wish = job_events::RuleInput {
        lifecycle: days(14),
        enable_continuous: true,
        ..rule("continuous", s.near.clone(), "cron(0 2 * * ? *)", "UTC")
    };
    protect(&mut s.world, "continuous", wish, &[&s.home]);
    s.world.run_for(SignedDuration::from_hours(3));
    let point = s.world.newest_point(&s.home, &s.near);
    let job = s.world.job(s.world.point(&point).job_id);
    assert_eq!((job.state, job.message_category), (JobState::Completed, MessageCategory::Issues));
    assert!(job.status_message.as_ref().unwrap().starts_with("Enabling continuous backup failed"));
}

#[test]
fn a_cycle_is_one_trace_from_the_schedule_to_the_deletion() {
    let mut s = scene();
    let nightly = job_events::RuleInput {
        lifecycle: days(1),
        copy_actions: vec![CopyAction { destination_vault: s.far.clone(), lifecycle: Lifecycle::default() }],
        ..rule("nightly", s.near.clone(), "cron(0 2 * * ? *)", "UTC")
    };
    protect(&mut s.world, "nightly", nightly, &[&s.home]);
    s.world.run_for(SignedDuration::from_hours(3));
    let point = s.world.newest_point(&s.home, &s.near);
    let backup = s.world.job(s.world.point(&point).job_id).clone();
    let root = backup.traceparent.clone().expect("the firing's trace");
    let order = s.world.said.iter().find_map(|out| match out {
        Out::Order { body, traceparent } if body.header().job_id == backup.id => traceparent.clone(),
        _ => None,
    });
    assert_eq!(order, Some(root));
    let told = s.world.said.iter().find_map(|out| match out {
        Out::Fact { fact, traceparent, .. } => match fact.as_ref() {
            Fact::RecoveryPointCreated(created) if created.recovery_point.arn == point => traceparent.clone(),
            _ => None,
        },
        _ => None,
    });
    // The fact's span is the child of the worker's, which is the child of the order's.
    assert_eq!(told, s.world.point(&point).traceparent);
    assert!(told.is_some());
}

#[test]
fn a_backup_waits_for_a_vault_that_is_being_made() {
    let mut world = World::new("2026-05-01T00:00:00Z", &[EUROPE], Mischief::None);
    let vault = create_vault(&mut world, EUROPE, "near");
    let home = register(&mut world, EUROPE, "home");
    let job = world.accepted(start_backup(&home, &vault)).0.unwrap();
    assert_eq!(world.job(job).state, JobState::Created);
    assert_eq!(world.job(job).status_message.as_deref(), Some("vault `near` is still being created"));
    world.run_for(SignedDuration::from_mins(30));
    assert_eq!(world.job(job).state, JobState::Completed);
    assert_eq!(world.state.vaults.get(&vault).unwrap().state, VaultState::Available);
    let order = world.workers.orders.iter().find_map(|order| match order {
        OrderBody::CaptureSnapshot(order) => order.vault.repository_id.clone(),
        _ => None,
    });
    assert!(order.is_some(), "an order names the repository, so that no other one is taken for it");
}

#[test]
fn a_backup_into_a_vault_that_could_not_be_made_fails_with_the_reason() {
    let mut world = World::new("2026-05-01T00:00:00Z", &[EUROPE], Mischief::None);
    let home = register(&mut world, EUROPE, "home");
    let vault = super::scene::vault(EUROPE, "near");
    world.workers.temper(&vault).fails = Some((9, Disposition::Fail));
    create_vault(&mut world, EUROPE, "near");
    let job = world.accepted(start_backup(&home, &vault)).0.unwrap();
    world.run_for(HOUR);
    assert_eq!(world.job(job).state, JobState::Failed);
    assert!(world.job(job).status_message.as_ref().unwrap().contains("could not be created: SOURCE_READ_FAILED"));
    let (code, field, _) = world.refused(start_backup(&home, &vault));
    assert_eq!((code.as_str(), field.as_str()), ("InvalidRequestException", "vault"));
    world.accepted(DeleteVault { vault: vault.clone() });
    assert!(world.state.vaults.get(&vault).is_none());
}

#[test]
fn retention_that_a_vault_refuses_fails_the_scheduled_job_and_refuses_the_request() {
    let mut s = scene();
    s.world.accepted(CreateVaultRequest {
        name: "locked".to_owned(),
        region: EUROPE.parse().unwrap(),
        location: "file:///vaults/locked".to_owned(),
        key_profile: "locked".to_owned(),
        cold_location: None,
        cold_key_profile: None,
        min_retention_days: Some(7),
        max_retention_days: Some(30),
        vault_type: job_model::VaultType::BackupVault,
        tags: std::collections::BTreeMap::new(),
    });
    let locked = super::scene::vault(EUROPE, "locked");
    s.world.run_for(HOUR);
    for lifecycle in [days(3), days(31), Lifecycle::default()] {
        let (code, field, _) = s.world.refused(StartBackup { lifecycle, ..start_backup(&s.home, &locked) });
        assert_eq!(code, "InvalidParameterValueException");
        assert_eq!(field, "lifecycle.delete_after_days");
    }
    let short = job_events::RuleInput { lifecycle: days(3), ..rule("short", locked, "cron(0 2 * * ? *)", "UTC") };
    protect(&mut s.world, "short", short, &[&s.home]);
    s.world.run_for(SignedDuration::from_hours(2));
    let job = s.world.state.jobs().map(|row| &row.job).find(|job| job.kind == JobKind::Backup).unwrap();
    assert_eq!(job.state, JobState::Failed);
    assert!(job.status_message.as_ref().unwrap().contains("vault `locked` refuses this retention"));
}

#[test]
fn a_vault_without_cold_storage_refuses_it_with_its_field() {
    let mut s = scene();
    let lifecycle = Lifecycle { delete_after_days: None, move_to_cold_after_days: Some(30) };
    let (code, field, message) = s.world.refused(StartBackup { lifecycle, ..start_backup(&s.home, &s.near) });
    assert_eq!(
        (code.as_str(), field.as_str()),
        ("InvalidParameterValueException", "lifecycle.move_to_cold_after_days")
    );
    assert!(message.contains("cold"), "{message}");
}

#[test]
fn a_verdict_reaches_the_restore_job_and_the_recovery_point_and_the_sandbox_goes_after_its_window() {
    let mut s = scene();
    let point = s.backed_up();
    let restore = test_restore_of(&mut s.world, point.clone(), 1, 2);
    s.world.run_for(HOUR);
    let JobDetail::Restore { verdict: Some(verdict), sandbox_removed, .. } = &s.world.job(restore).detail else {
        panic!("no verdict")
    };
    assert_eq!(verdict.status, VerdictStatus::Successful);
    assert_eq!(*sandbox_removed, Some(false), "its validation window is open");
    assert_eq!(s.world.point(&point).last_verdict.as_ref().unwrap().restore_job_id, Some(restore));
    s.world.run_for(SignedDuration::from_hours(2));
    let JobDetail::Restore { sandbox_removed, .. } = &s.world.job(restore).detail else { panic!("a restore") };
    assert_eq!(*sandbox_removed, Some(true));
}

#[test]
fn a_restore_test_whose_restore_fails_leaves_no_sandbox() {
    let mut s = scene();
    let point = s.backed_up();
    s.world.workers.temper(&point).fails = Some((9, Disposition::Fail));
    let restore = test_restore_of(&mut s.world, point.clone(), 1, 5);
    s.world.run_for(SignedDuration::from_mins(11));
    assert_eq!(s.world.job(restore).state, JobState::Failed);
    let removals = s.world.workers.orders.iter().filter(|order| matches!(order, OrderBody::RemoveSandbox(_))).count();
    let verdict = s.world.point(&point).last_verdict.clone().unwrap();
    assert_eq!((verdict.status, verdict.restore_job_id), (VerdictStatus::Failed, Some(restore)));
    assert_eq!(removals, 1, "and it does not wait for a validation window that makes no sense");
}

#[test]
fn a_check_that_ends_without_a_verdict_is_a_failed_one() {
    let mut s = scene();
    let point = s.backed_up();
    s.world.workers.temper(&s.home).fails = Some((9, Disposition::Retry));
    let restore = test_restore_of(&mut s.world, point.clone(), 1, 0);
    s.world.run_for(SignedDuration::from_hours(3));
    let verdict = s.world.point(&point).last_verdict.clone().unwrap();
    assert_eq!(verdict.status, VerdictStatus::Failed);
    assert!(verdict.message.contains("without a verdict"), "{}", verdict.message);
    assert_eq!(verdict.restore_job_id, Some(restore));
    let JobDetail::Restore { sandbox_removed, .. } = &s.world.job(restore).detail else { panic!("a restore") };
    assert_eq!(*sandbox_removed, Some(true));
}

#[test]
fn a_deletion_that_fails_leaves_the_point_expired_with_the_reason_and_is_tried_again() {
    let mut s = scene();
    let point = s.backed_up();
    s.world.workers.temper(&s.near).fails = Some((9, Disposition::Fail));
    s.world.accepted(DeleteRecoveryPoint { recovery_point: point.clone(), vault: None });
    assert_eq!(s.world.point(&point).status, RecoveryPointStatus::Deleting);
    let (code, _, _) = s.world.refused(StartRestore {
        recovery_point: point.clone(),
        target: RestoreTarget::Location { url: "file:///srv/back".to_owned() },
        overwrite: OverwritePolicy::default(),
        include: Vec::new(),
        test: None,
        metadata: std::collections::BTreeMap::new(),
        iam_role: None,
    });
    assert_eq!(code, "InvalidRequestException");
    s.world.run_for(HOUR);
    assert_eq!(s.world.point(&point).status, RecoveryPointStatus::Expired);
    let message = s.world.point(&point).status_message.clone().unwrap();
    assert!(message.starts_with("could not be deleted: SOURCE_READ_FAILED"), "{message}");
    s.world.workers.temper(&s.near).fails = None;
    s.world.accepted(DeleteRecoveryPoint { recovery_point: point.clone(), vault: None });
    s.world.run_for(HOUR);
    assert!(s.world.state.points.get(&point).is_none());
}

#[test]
fn a_point_that_a_job_reads_is_not_deleted() {
    let mut s = scene();
    let point = s.backed_up();
    s.backup();
    let (code, field, message) = s.world.refused(DeleteRecoveryPoint { recovery_point: point.clone(), vault: None });
    assert_eq!((code.as_str(), field.as_str()), ("InvalidRequestException", "recovery_point"), "{message}");
    s.world.run_for(HOUR);
    s.world.accepted(DeleteRecoveryPoint { recovery_point: point, vault: None });
}

#[test]
fn what_a_restore_test_made_is_not_backed_up() {
    let mut s = scene();
    let restored = register(&mut s.world, EUROPE, "awsbackup-restore-test-1");
    protect(&mut s.world, "all", rule("all", s.near.clone(), "cron(0 2 * * ? *)", "UTC"), &[&s.home, &restored]);
    s.world.run_for(SignedDuration::from_hours(3));
    let backed_up: Vec<_> = s.world.state.points.values().map(|row| row.point.resource.clone()).collect();
    assert_eq!(backed_up, std::slice::from_ref(&s.home));
}

#[test]
fn a_plan_keeps_its_runs_over_an_update_and_cannot_go_before_its_selections() {
    let mut s = scene();
    let nightly = || rule("nightly", s.near.clone(), "cron(0 2 * * ? *)", "UTC");
    let plan = protect(&mut s.world, "nightly", nightly(), &[&s.home]);
    let same = CreatePlan {
        name: "nightly".to_owned(),
        rules: vec![nightly()],
        advanced_settings: Vec::new(),
        tags: std::collections::BTreeMap::new(),
    };
    let (code, _, _) = s.world.refused(same);
    assert_eq!(code, "AlreadyExistsException");
    let id = s.world.state.current_plan(plan).unwrap().rules[0].id;
    // The run of 02:00 is due while the update comes: it must not be swallowed.
    s.world.now = "2026-05-01T02:00:30Z".parse().unwrap();
    let longer = job_events::RuleInput { lifecycle: days(60), ..nightly() };
    s.world.accepted(UpdatePlan {
        plan_id: plan,
        name: "nightly".to_owned(),
        rules: vec![longer],
        advanced_settings: Vec::new(),
    });
    let updated = s.world.state.current_plan(plan).unwrap();
    assert_eq!((updated.version, updated.rules[0].id), (2, id));
    s.world.run_for(HOUR);
    let point = s.world.newest_point(&s.home, &s.near);
    assert_eq!(s.world.point(&point).created_by.as_ref().unwrap().plan_version, 2);
    let (code, _, message) = s.world.refused(DeletePlan { plan_id: plan });
    assert_eq!(code, "InvalidRequestException");
    assert!(message.contains("Related backup plan selections must be deleted prior to backup"), "{message}");
    let selection = s.world.state.selections_of(plan).next().unwrap().id;
    s.world.accepted(DeleteSelection { plan_id: plan, selection_id: selection });
    s.world.accepted(DeletePlan { plan_id: plan });
    s.world.run_for(SignedDuration::from_hours(48));
    assert_eq!(s.world.state.points.values().count(), 1, "a deleted plan runs no more, and its points stay");
}

#[test]
fn requests_that_cannot_be_are_refused_with_their_field() {
    let mut s = scene();
    let point = s.backed_up();
    let far = s.far.clone();
    let tag = |(code, field, _): (String, String, String)| format!("{code} {field}");
    let plan = |rule| CreatePlan {
        name: "p".to_owned(),
        rules: vec![rule],
        advanced_settings: Vec::new(),
        tags: std::collections::BTreeMap::new(),
    };
    let refusals = [
        tag(s.world.refused(start_backup(&s.home, &far))),
        tag(s.world.refused(plan(rule("r", s.near.clone(), "cron(61 * * * ? *)", "UTC")))),
        tag(s.world.refused(plan(rule("r", s.near.clone(), "cron(0 2 * * ? *)", "Mars/Olympus")))),
        tag(s.world.refused(plan(rule("r", super::scene::vault(EUROPE, "none"), "cron(0 2 * * ? *)", "UTC")))),
        tag(s.world.refused(StartCopy {
            recovery_point: point.clone(),
            destination_vault: s.near.clone(),
            lifecycle: Lifecycle::default(),
            iam_role: None,
        })),
        tag(s.world.refused(StartRestore {
            recovery_point: point.clone(),
            target: RestoreTarget::Sandbox,
            overwrite: OverwritePolicy::default(),
            include: Vec::new(),
            test: None,
            metadata: std::collections::BTreeMap::new(),
            iam_role: None,
        })),
        tag(s.world.refused(StartRestore {
            recovery_point: point,
            target: RestoreTarget::Location { url: "file:///srv/../etc".to_owned() },
            overwrite: OverwritePolicy::default(),
            include: Vec::new(),
            test: None,
            metadata: std::collections::BTreeMap::new(),
            iam_role: None,
        })),
        tag(s.world.refused(RegisterResource {
            arn: s.home.clone(),
            resource_type: ResourceType::Files,
            region: AUSTRALIA.parse().unwrap(),
            location: "file:///srv/home".to_owned(),
            hooks: None,
            tags: std::collections::BTreeMap::new(),
        })),
        tag(s.world.refused(DeleteVault { vault: s.near.clone() })),
        tag(s.world.refused(StartVaultCheck {
            vault: super::scene::vault(EUROPE, "none"),
            read_data: true,
            storage_class: job_model::StorageClass::Warm,
        })),
    ];
    assert_eq!(
        refusals,
        [
            "InvalidParameterValueException vault",
            "InvalidParameterValueException rules[0].schedule",
            "InvalidParameterValueException rules[0].time_zone",
            "ResourceNotFoundException rules[0].target_vault",
            "InvalidParameterValueException destination_vault",
            "InvalidParameterValueException target",
            "InvalidParameterValueException target.url",
            "InvalidParameterValueException region",
            "InvalidRequestException vault",
            "ResourceNotFoundException vault",
        ]
    );
}

#[test]
fn a_restore_over_the_resource_itself_takes_the_resource_and_others_do_not() {
    let mut s = scene();
    let point = s.backed_up();
    let restore = |url: &str| StartRestore {
        recovery_point: point.clone(),
        target: RestoreTarget::Location { url: url.to_owned() },
        overwrite: OverwritePolicy::IfChanged,
        include: Vec::new(),
        test: None,
        metadata: std::collections::BTreeMap::new(),
        iam_role: None,
    };
    s.world.accepted(restore("file:///srv/home/"));
    s.world.run_for(HOUR);
    s.world.accepted(restore("file:///srv/elsewhere"));
    let taken: Vec<_> = s
        .world
        .workers
        .orders
        .iter()
        .filter(|order| matches!(order, OrderBody::RestoreRecoveryPoint(_)))
        .map(|order| order.header().resource.clone())
        .collect();
    assert_eq!(taken, [s.home.clone(), point.clone()]);
}
