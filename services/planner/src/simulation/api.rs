//! What the AWS Backup API asks for: accounts, tokens, locks, policies, holds, tags, settings and validation from outside.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use job_events::{
    Answer, CancelLegalHold, ChangeTags, CreateLegalHold, CreatePlan, CreateVaultRequest, DeleteRecoveryPoint,
    DeleteVaultLock, Fact, PutGlobalSettings, PutRegionSettings, PutRestoreValidation, PutVaultAccessPolicy,
    PutVaultLock, PutVaultNotifications, Query, Request, StartBackup, StartCopy, StopJob, UpdateRecoveryPointLifecycle,
};
use job_model::{Arn, HoldSelection, JobDetail, JobState, Lifecycle, ValidationStatus, VaultType, VerdictStatus};

use super::scene::{AUSTRALIA, EUROPE, Scene, days, protect, rule, scene, start_backup, test_restore_of};
use super::{World, arn};
use crate::answer::{Around, answer};
use crate::decide::{Caller, Out, VaultPlace};
use crate::handlers::{self, Incoming};

pub(super) const HOUR: SignedDuration = SignedDuration::from_hours(1);
const OURS: &str = "111122223333";
const THEIRS: &str = "444455556666";

pub(super) fn day(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

fn caller(account: &str, region: &str) -> Caller {
    Caller {
        account: Some(account.parse().unwrap()),
        principal: Some(arn(&format!("arn:aws:iam::{account}:role/operator"))),
        region: Some(region.parse().unwrap()),
        token: None,
    }
}

/// Sends a request on somebody's behalf, with an id of its own.
fn send(world: &mut World, caller: Caller, request: impl Into<Request>) -> Fact {
    let id = format!("api-{}", world.said.len());
    send_until(world, caller, request, &id, None)
}

/// The same with an id and an expiry time.
fn send_until(
    world: &mut World,
    caller: Caller,
    request: impl Into<Request>,
    id: &str,
    expiry_time: Option<jiff::Timestamp>,
) -> Fact {
    let region = caller.region.clone().unwrap();
    let (key, request_id) = (format!("api#{id}"), id.to_owned());
    let incoming = Incoming { region, key, request_id, caller, expiry_time, request: Ok(request.into()) };
    world.step(|step| handlers::request(step, &incoming));
    let told = world.said.iter().rev().find_map(|out| match out {
        Out::Fact { fact, .. } => match fact.as_ref() {
            Fact::RequestAccepted(told) if told.request_id == id => Some((**fact).clone()),
            Fact::RequestRejected(told) if told.request_id == id => Some((**fact).clone()),
            _ => None,
        },
        _ => None,
    });
    told.expect("every request is answered")
}

fn accepted(fact: Fact) -> job_events::RequestAccepted {
    match fact {
        Fact::RequestAccepted(accepted) => accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

fn refused(fact: Fact) -> job_events::RequestRejected {
    match fact {
        Fact::RequestRejected(rejected) => rejected,
        other => panic!("not refused: {other:?}"),
    }
}

pub(super) fn ask(world: &World, query: &Query) -> Answer {
    let around = Around { settings: &world.settings, installation: "sim", now: world.now };
    answer(&world.state, query, around)
}

fn new_vault(name: &str) -> CreateVaultRequest {
    CreateVaultRequest {
        name: name.to_owned(),
        region: EUROPE.parse().unwrap(),
        location: String::new(),
        key_profile: String::new(),
        cold_location: None,
        cold_key_profile: None,
        min_retention_days: None,
        max_retention_days: None,
        vault_type: VaultType::BackupVault,
        tags: BTreeMap::new(),
    }
}

fn with_places(world: &mut World) {
    let place = VaultPlace {
        location: "file:///v/{account}/{name}".to_owned(),
        key_profile: "main".to_owned(),
        cold_location: None,
        cold_key_profile: None,
    };
    world.settings.vault_places.insert(EUROPE.parse().unwrap(), place);
}

fn lock(vault: &Arn, min: Option<u32>, max: Option<u32>, days: Option<u32>) -> PutVaultLock {
    PutVaultLock { vault: vault.clone(), min_retention_days: min, max_retention_days: max, changeable_for_days: days }
}

fn delete(point: &Arn) -> DeleteRecoveryPoint {
    DeleteRecoveryPoint { recovery_point: point.clone(), vault: None }
}

#[test]
fn a_request_that_comes_too_late_is_not_done_and_with_more_time_it_is() {
    let mut s = scene();
    with_places(&mut s.world);
    let second = SignedDuration::from_secs(1);
    let (late, in_time) = (Some(s.world.now - second), Some(s.world.now + second));
    let ask = |world: &mut World, expiry| send_until(world, caller(OURS, EUROPE), new_vault("late"), "once", expiry);

    let told = refused(ask(&mut s.world, late));
    assert_eq!((told.code.as_str(), told.field.as_str()), ("RequestExpired", "expirytime"));
    assert!(told.message.contains("expired 1.0 s before it was looked at, so nothing was done"), "{}", told.message);
    let vaults = |world: &World| world.state.vaults.values().filter(|vault| vault.name == "late").count();
    assert_eq!(vaults(&s.world), 0);

    // The same request again, with more time; and once more, when it is done already.
    let made = accepted(ask(&mut s.world, in_time));
    assert_eq!(vaults(&s.world), 1);
    assert_eq!(accepted(ask(&mut s.world, late)), made);
    assert_eq!(vaults(&s.world), 1);
}

#[test]
fn a_vault_without_a_place_is_made_where_the_configuration_says_or_not_at_all() {
    let mut s = scene();
    let told = refused(send(&mut s.world, caller(OURS, EUROPE), new_vault("main")));
    assert_eq!((told.code.as_str(), told.field.as_str()), ("MissingParameterValueException", "location"));
    with_places(&mut s.world);
    let made: Arn =
        accepted(send(&mut s.world, caller(OURS, EUROPE), new_vault("main"))).result.unwrap().parse().unwrap();
    assert_eq!(made.account(), OURS);
    let vault = s.world.state.vaults.get(&made).unwrap();
    assert_eq!(vault.access.location, format!("file:///v/{OURS}/main"));
    // The same name in another account is another vault.
    let other: Arn =
        accepted(send(&mut s.world, caller(THEIRS, EUROPE), new_vault("main"))).result.unwrap().parse().unwrap();
    assert_ne!(made, other);
    let twice = refused(send(&mut s.world, caller(OURS, EUROPE), new_vault("main")));
    assert_eq!((twice.code.as_str(), twice.arn), ("AlreadyExistsException", Some(made)));
}

#[test]
fn a_token_makes_one_vault_and_another_content_is_refused_with_what_exists() {
    let mut s = scene();
    with_places(&mut s.world);
    let with_token = || Caller { token: Some("token-1".to_owned()), ..caller(OURS, EUROPE) };
    let first = accepted(send(&mut s.world, with_token(), new_vault("main")));
    let again = accepted(send(&mut s.world, with_token(), new_vault("main")));
    assert_eq!(first.result, again.result);
    assert_ne!(first.request_id, again.request_id);
    let told = refused(send(&mut s.world, with_token(), new_vault("other")));
    assert_eq!(told.code, "AlreadyExistsException");
    assert_eq!(told.arn.map(|arn| arn.to_string()), first.result);
    assert_eq!(told.creator_request_id.as_deref(), Some("token-1"));
    let theirs = Caller { token: Some("token-1".to_owned()), ..caller(THEIRS, EUROPE) };
    assert_ne!(
        accepted(send(&mut s.world, theirs, new_vault("main"))).result,
        first.result,
        "tokens are an account's own"
    );
}

#[test]
fn a_backup_asked_for_twice_with_one_token_runs_once() {
    let mut s = scene();
    let own = s.world.settings.account.to_string();
    let with_token = || Caller { token: Some("run-1".to_owned()), ..caller(&own, EUROPE) };
    let (home, near) = (s.home.clone(), s.near.clone());
    let first = accepted(send(&mut s.world, with_token(), start_backup(&home, &near)));
    s.world.run_for(HOUR);
    let again = accepted(send(&mut s.world, with_token(), start_backup(&home, &near)));
    assert_eq!(first.job_id, again.job_id);
    s.world.run_for(HOUR);
    assert_eq!(s.world.state.points_of(&home).count(), 1);
}

#[test]
fn what_belongs_to_another_account_does_not_exist() {
    let mut s = scene();
    let point = s.backed_up();
    let job = s.world.point(&point).job_id;
    let (home, near, far) = (s.home.clone(), s.near.clone(), s.far.clone());
    let plan = protect(&mut s.world, "daily", rule("daily", near.clone(), "cron(0 5 * * ? *)", "UTC"), &[&home]);
    let requests: Vec<Request> = vec![
        start_backup(&home, &near).into(),
        delete(&point).into(),
        UpdateRecoveryPointLifecycle { recovery_point: point.clone(), lifecycle: days(9) }.into(),
        StartCopy { recovery_point: point.clone(), destination_vault: far, lifecycle: days(9), iam_role: None }.into(),
        StopJob { job_id: job }.into(),
        lock(&near, None, None, None).into(),
        job_events::DeletePlan { plan_id: plan }.into(),
        job_events::DeleteVault { vault: near.clone() }.into(),
        ChangeTags { arn: near.clone(), set: BTreeMap::new(), remove: Vec::new() }.into(),
        ChangeTags { arn: home.clone(), set: BTreeMap::new(), remove: Vec::new() }.into(),
    ];
    for request in requests {
        let name = request.name();
        let told = refused(send(&mut s.world, caller(THEIRS, EUROPE), request));
        assert_eq!(told.code, "ResourceNotFoundException", "{name}: {told:?}");
    }
    assert_eq!(s.world.point(&point).lifecycle, Lifecycle::default());
}

#[test]
fn a_plan_of_an_account_takes_only_what_the_account_has_in_the_plans_region() {
    let mut s = scene();
    with_places(&mut s.world);
    let made: Arn =
        accepted(send(&mut s.world, caller(OURS, EUROPE), new_vault("main"))).result.unwrap().parse().unwrap();
    let ours = arn(&format!("arn:aws:files:{EUROPE}:{OURS}:tree/ours"));
    let elsewhere = arn(&format!("arn:aws:files:{AUSTRALIA}:{OURS}:tree/elsewhere"));
    for (name, region) in [(&ours, EUROPE), (&elsewhere, AUSTRALIA)] {
        let request = job_events::RegisterResource {
            arn: name.clone(),
            resource_type: job_model::ResourceType::Files,
            region: region.parse().unwrap(),
            location: format!("file:///srv/{}", name.resource()),
            hooks: None,
            tags: BTreeMap::new(),
        };
        accepted(send(&mut s.world, caller(OURS, region), request));
    }
    let create = CreatePlan {
        name: "all".to_owned(),
        rules: vec![rule("daily", made, "cron(0 5 * * ? *)", "UTC")],
        advanced_settings: Vec::new(),
        tags: BTreeMap::new(),
    };
    let plan_id = accepted(send(&mut s.world, caller(OURS, EUROPE), create)).result.unwrap().parse().unwrap();
    let everything = job_events::CreateSelection {
        plan_id,
        name: "all".to_owned(),
        resources: Vec::new(),
        not_resources: Vec::new(),
        list_of_tags: Vec::new(),
        conditions: job_model::Conditions::default(),
        iam_role: Some(format!("arn:aws:iam::{OURS}:role/backup")),
    };
    accepted(send(&mut s.world, caller(OURS, EUROPE), everything));
    s.world.run_for(day(1));
    assert_eq!(s.world.state.points_of(&ours).count(), 1);
    assert!(s.world.state.points_of(&elsewhere).next().is_none() && s.world.state.points_of(&s.home).next().is_none());
    let point = &s.world.state.points_of(&ours).next().unwrap().point;
    assert_eq!(point.arn.account(), OURS, "a recovery point has the account of its vault");
    assert_eq!(point.iam_role.as_deref(), Some(format!("arn:aws:iam::{OURS}:role/backup").as_str()));
    let plan = s.world.state.current_plan(plan_id).unwrap();
    assert_eq!(plan.last_run_at.map(|at| at.to_string()).as_deref(), Some("2026-05-01T05:00:00Z"));
    // A type that the account opted out of is not taken without its ARN.
    let opt_out =
        PutRegionSettings { opt_in: [("Files".to_owned(), false)].into_iter().collect(), management: BTreeMap::new() };
    accepted(send(&mut s.world, caller(OURS, EUROPE), opt_out));
    s.world.run_for(day(1));
    assert_eq!(s.world.state.points_of(&ours).count(), 1);
}

#[test]
fn a_locked_vault_keeps_its_points_and_its_bounds_hold_for_new_ones() {
    let mut s = scene();
    let point = s.backed_up();
    let near = s.near.clone();
    s.world.accepted(lock(&near, Some(7), Some(30), None));
    let (code, _, message) = s.world.refused(delete(&point));
    assert!(code == "InvalidRequestException" && message.contains("locked"), "{code}: {message}");
    let (code, ..) =
        s.world.refused(UpdateRecoveryPointLifecycle { recovery_point: point.clone(), lifecycle: days(9) });
    assert_eq!(code, "InvalidRequestException");
    for wrong in [days(6), days(31), Lifecycle::default()] {
        let request = StartBackup { lifecycle: wrong, ..start_backup(&s.home, &near) };
        assert_eq!(s.world.refused(request).0, "InvalidParameterValueException", "{wrong:?}");
    }
    let fits = StartBackup { lifecycle: days(7), ..start_backup(&s.home, &near) };
    s.world.accepted(fits);
    s.world.accepted(DeleteVaultLock { vault: near.clone() });
    s.world.run_for(HOUR);
    s.world.accepted(delete(&point));
}

#[test]
fn a_compliance_lock_can_be_changed_until_its_date_and_by_nobody_afterwards() {
    let mut s = scene();
    let near = s.near.clone();
    assert_eq!(s.world.refused(lock(&near, Some(7), None, Some(2))).1, "changeable_for_days");
    assert_eq!(s.world.refused(lock(&near, Some(8), Some(7), None)).0, "InvalidParameterValueException");
    s.world.accepted(lock(&near, Some(7), None, Some(3)));
    let (code, ..) = s.world.refused(lock(&near, Some(7), None, None));
    assert_eq!(code, "InvalidRequestException", "a lock with a date does not become one without");
    s.world.run_for(day(2));
    s.world.accepted(lock(&near, Some(14), None, Some(3)));
    s.world.run_for(day(4));
    assert_eq!(s.world.refused(lock(&near, Some(1), None, Some(3))).0, "InvalidRequestException");
    assert_eq!(s.world.refused(DeleteVaultLock { vault: near.clone() }).0, "InvalidRequestException");
    assert_eq!(s.world.state.vaults.get(&near).unwrap().min_retention_days, Some(14));
}

#[test]
fn what_the_access_policy_denies_is_not_done_and_what_cannot_be_evaluated_is_not_stored() {
    let mut s = scene();
    let point = s.backed_up();
    let near = s.near.clone();
    let own = s.world.settings.account.to_string();
    let put = |policy: &str| PutVaultAccessPolicy { vault: near.clone(), policy: policy.to_owned() };
    let with_condition = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*",
        "Action": "backup:DeleteRecoveryPoint", "Resource": "*", "Condition": {"Bool": {"a": "b"}}}}"#;
    assert_eq!(s.world.refused(put(with_condition)).0, "InvalidParameterValueException");
    assert_eq!(s.world.state.vaults.get(&near).unwrap().access_policy, None);
    let no_deletion = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": {"AWS": "*"},
        "Action": ["backup:DeleteRecoveryPoint", "backup:Start*"], "Resource": "*"}]}"#;
    s.world.accepted(put(no_deletion));
    let told = refused(send(&mut s.world, caller(&own, EUROPE), delete(&point)));
    assert_eq!(told.code, "AccessDeniedException");
    assert_eq!(s.world.refused(start_backup(&s.home, &near)).0, "AccessDeniedException");
    s.world.accepted(job_events::DeleteVaultAccessPolicy { vault: near.clone() });
    s.world.accepted(delete(&point));
}

#[test]
fn a_legal_hold_outlasts_lifecycle_and_request_until_it_is_canceled() {
    let mut s = scene();
    let request = StartBackup { lifecycle: days(1), ..start_backup(&s.home, &s.near) };
    s.world.accepted(request);
    s.world.run_for(HOUR);
    let point = s.world.newest_point(&s.home, &s.near);
    let hold = CreateLegalHold {
        title: "case 7".to_owned(),
        description: "keep all of it".to_owned(),
        selection: HoldSelection { vault_names: vec!["near".to_owned()], ..HoldSelection::default() },
        tags: BTreeMap::new(),
    };
    let own = s.world.settings.account.to_string();
    let id = accepted(send(&mut s.world, caller(&own, EUROPE), hold)).result.unwrap().parse().unwrap();
    match ask(&s.world, &Query::ListHeldRecoveryPoints { id, after: None, limit: None }) {
        Answer::HeldRecoveryPoints(held) => assert_eq!(held.points[0].recovery_point, point),
        other => panic!("{other:?}"),
    }
    s.world.run_for(day(3));
    assert!(s.world.state.points.contains(&point), "its lifecycle ended two days ago");
    let (code, _, message) = s.world.refused(delete(&point));
    assert!(code == "InvalidRequestException" && message.contains("case 7"), "{message}");
    let cancel = |description: &str| CancelLegalHold {
        id,
        cancel_description: description.to_owned(),
        retain_record_days: Some(1),
    };
    let theirs = refused(send(&mut s.world, caller(THEIRS, EUROPE), cancel("mine now")));
    assert_eq!(theirs.code, "ResourceNotFoundException");
    s.world.accepted(cancel("closed"));
    s.world.run_for(HOUR * 2);
    assert!(!s.world.state.points.contains(&point));
    s.world.run_for(day(2));
    assert!(s.world.state.holds.get(&id).is_none(), "the record was to be kept for a day");
}

#[test]
fn tags_are_set_and_removed_on_whatever_has_some() {
    let mut s = scene();
    let point = s.backed_up();
    let plan = protect(&mut s.world, "daily", rule("daily", s.near.clone(), "cron(0 5 * * ? *)", "UTC"), &[&s.home]);
    let own = s.world.settings.account.to_string();
    let plan_arn = arn(&format!("arn:aws:backup:{EUROPE}:{own}:backup-plan:{plan}"));
    for named in [s.near.clone(), point, s.home.clone(), plan_arn] {
        let set: BTreeMap<String, String> = [("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        s.world.accepted(ChangeTags { arn: named.clone(), set, remove: Vec::new() });
        s.world.accepted(ChangeTags { arn: named.clone(), set: BTreeMap::new(), remove: vec!["a".to_owned()] });
        match ask(&s.world, &Query::ListTags { arn: named.clone() }) {
            Answer::Tags(tags) => assert_eq!(tags.into_iter().collect::<Vec<_>>(), [("b".to_owned(), "2".to_owned())]),
            other => panic!("{named}: {other:?}"),
        }
    }
    let many: BTreeMap<String, String> = (0..51).map(|n| (format!("k{n}"), String::new())).collect();
    let too_many = ChangeTags { arn: s.near.clone(), set: many, remove: Vec::new() };
    assert_eq!(s.world.refused(too_many).0, "LimitExceededException");
    let own_key = ChangeTags {
        arn: s.near.clone(),
        set: [("aws:x".to_owned(), String::new())].into_iter().collect(),
        remove: Vec::new(),
    };
    assert_eq!(s.world.refused(own_key).0, "InvalidParameterValueException");
}

fn proven(validation_hours: u32) -> (Scene, job_model::JobId, Arn) {
    let mut s = scene();
    let point = s.backed_up();
    let job = test_restore_of(&mut s.world, point.clone(), 7, validation_hours);
    s.world.run_for(HOUR);
    (s, job, point)
}

fn validation(job: job_model::JobId, status: ValidationStatus) -> PutRestoreValidation {
    PutRestoreValidation { restore_job_id: job, status, message: Some("row counts differ".to_owned()) }
}

#[test]
fn a_failure_from_outside_lowers_the_verdict_and_ends_the_validation_window() {
    let (mut s, job, point) = proven(24);
    assert_eq!(s.world.point(&point).last_verdict.as_ref().unwrap().status, VerdictStatus::Successful);
    assert_eq!(s.world.job(job).deletion_status(), Some("DELETING"));
    s.world.accepted(validation(job, ValidationStatus::Failed));
    assert_eq!(s.world.point(&point).last_verdict.as_ref().unwrap().status, VerdictStatus::Failed);
    assert_eq!(
        s.world.job(job).validation(),
        Some((ValidationStatus::Failed, Some("found wrong from outside: row counts differ")))
    );
    s.world.run_for(HOUR);
    assert_eq!(s.world.job(job).deletion_status(), Some("SUCCESSFUL"), "nobody waits for the rest of the window");
    assert_eq!(s.world.refused(validation(job, ValidationStatus::Successful)).0, "InvalidRequestException");
    let noted = s.world.said.iter().any(|out| match out {
        Out::Fact { fact, .. } => matches!(fact.as_ref(), Fact::JobNoted(noted) if noted.job.id == job),
        _ => false,
    });
    assert!(noted, "who keeps a copy hears of it");
}

#[test]
fn a_success_from_outside_never_raises_a_verdict() {
    let mut s = scene();
    let point = s.backed_up();
    s.world.workers.temper(&s.home).proven = false;
    let job = test_restore_of(&mut s.world, point.clone(), 7, 24);
    s.world.run_for(HOUR);
    s.world.accepted(validation(job, ValidationStatus::Successful));
    assert_eq!(s.world.point(&point).last_verdict.as_ref().unwrap().status, VerdictStatus::Failed);
    assert_eq!(s.world.job(job).validation().unwrap().0, ValidationStatus::Failed);
}

#[test]
fn a_copy_into_another_account_needs_a_setting_here_and_a_policy_there() {
    let mut s = scene();
    with_places(&mut s.world);
    let point = s.backed_up();
    let own = s.world.settings.account.to_string();
    let theirs: Arn =
        accepted(send(&mut s.world, caller(THEIRS, EUROPE), new_vault("main"))).result.unwrap().parse().unwrap();
    s.world.run_for(HOUR);
    let copy =
        StartCopy { recovery_point: point, destination_vault: theirs.clone(), lifecycle: days(9), iam_role: None };
    assert_eq!(refused(send(&mut s.world, caller(&own, EUROPE), copy.clone())).code, "ResourceNotFoundException");
    let enable = PutGlobalSettings {
        settings: [(job_model::CROSS_ACCOUNT_BACKUP.to_owned(), "true".to_owned())].into_iter().collect(),
    };
    accepted(send(&mut s.world, caller(&own, EUROPE), enable));
    assert_eq!(refused(send(&mut s.world, caller(&own, EUROPE), copy.clone())).code, "ResourceNotFoundException");
    let policy = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {{"AWS": "{own}"}},
        "Action": "backup:CopyIntoBackupVault", "Resource": "*"}}]}}"#
    );
    accepted(send(&mut s.world, caller(THEIRS, EUROPE), PutVaultAccessPolicy { vault: theirs.clone(), policy }));
    accepted(send(&mut s.world, caller(&own, EUROPE), copy));
    s.world.run_for(HOUR);
    let copied = s.world.newest_point(&s.home, &theirs);
    assert_eq!(copied.account(), THEIRS);
}

#[test]
fn a_notification_takes_known_events_and_a_topic_of_the_same_account() {
    let mut s = scene();
    let near = s.near.clone();
    let own = s.world.settings.account.to_string();
    let put = |topic: &str, event: &str| PutVaultNotifications {
        vault: near.clone(),
        topic: arn(topic),
        events: vec![event.to_owned(), event.to_owned()],
    };
    let topic = format!("arn:aws:sns:{EUROPE}:{own}:backups");
    assert_eq!(s.world.refused(put(&topic, "NO_SUCH_EVENT")).1, "events[0]");
    assert_eq!(s.world.refused(put(&near.to_string(), "BACKUP_JOB_COMPLETED")).1, "topic");
    let foreign = put(&format!("arn:aws:sns:{EUROPE}:{THEIRS}:backups"), "BACKUP_JOB_COMPLETED");
    assert_eq!(refused(send(&mut s.world, caller(&own, EUROPE), foreign)).field, "topic");
    s.world.accepted(put(&topic, "BACKUP_JOB_COMPLETED"));
    let kept = s.world.state.vaults.get(&near).unwrap().notifications.clone().unwrap();
    assert_eq!(kept.events, ["BACKUP_JOB_COMPLETED"]);
}

#[test]
fn awss_own_limits_hold_where_the_operator_wants_them() {
    let mut s = scene();
    let near = s.near.clone();
    let plan = |name: &str, schedule: &str, window: u32| {
        let rule = job_events::RuleInput {
            start_window_minutes: Some(window),
            ..rule("daily", near.clone(), schedule, "UTC")
        };
        CreatePlan { name: name.to_owned(), rules: vec![rule], advanced_settings: Vec::new(), tags: BTreeMap::new() }
    };
    s.world.accepted(plan("five", "cron(0 5 * * *)", 30));
    s.world.settings.aws_strict = true;
    assert_eq!(s.world.refused(plan("a", "cron(0 5 * * *)", 60)).1, "rules[0].schedule");
    assert_eq!(s.world.refused(plan("b", "cron(0/15 * * * ? *)", 60)).1, "rules[0].schedule");
    assert_eq!(s.world.refused(plan("c", "cron(0 5 * * ? *)", 30)).1, "rules[0].start_window_minutes");
    s.world.accepted(plan("d", "cron(0 5 * * ? *)", 60));
}

#[test]
fn an_account_stops_its_own_jobs() {
    let mut s = scene();
    s.world.workers.temper(&s.home).absent = true;
    let own = s.world.settings.account.to_string();
    let (home, near) = (s.home.clone(), s.near.clone());
    let job = accepted(send(&mut s.world, caller(&own, EUROPE), start_backup(&home, &near))).job_id.unwrap();
    accepted(send(&mut s.world, caller(&own, EUROPE), StopJob { job_id: job }));
    assert!(matches!(s.world.job(job).state, JobState::Aborting | JobState::Aborted));
    assert!(matches!(s.world.job(job).detail, JobDetail::Backup { .. }));
}
