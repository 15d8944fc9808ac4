//! What is accepted and what is refused, with field, value, mend and AWS's error name.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use job_model::validation::{self, INVALID_PARAMETER_VALUE, LIMIT_EXCEEDED, MISSING_PARAMETER_VALUE};
use job_model::{
    Arn, BackupPlan, BackupRule, Condition, Conditions, CopyAction, Generations, Invalid, Lifecycle, PlanId,
    PointAlgorithm, ProtectedResourceConditions, ResourceType, RestoreTestingPlan, RestoreTestingSelection, RuleId,
    Selection, SelectionId, TagCondition, Vault, VaultAccess, VaultState,
};
use uuid::Uuid;

fn vault(name: &str) -> Arn {
    format!("arn:aws:backup:ap-northeast-1:000000000000:backup-vault:{name}").parse().unwrap()
}

fn rule(name: &str) -> BackupRule {
    BackupRule {
        id: RuleId::new(Uuid::nil()),
        name: name.to_owned(),
        target_vault: vault("main"),
        schedule: "cron(0 5 ? * * *)".to_owned(),
        time_zone: "UTC".to_owned(),
        start_window_minutes: 480,
        completion_window_minutes: 10_080,
        lifecycle: Lifecycle { delete_after_days: Some(35), move_to_cold_after_days: None },
        generations: None,
        copy_actions: Vec::new(),
        recovery_point_tags: BTreeMap::new(),
        enable_continuous: false,
    }
}

fn plan(rules: Vec<BackupRule>) -> BackupPlan {
    BackupPlan {
        id: PlanId::new(Uuid::nil()),
        name: "nightly".to_owned(),
        version: 1,
        rules,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        account: None,
        region: None,
        creator_request_id: None,
        tags: std::collections::BTreeMap::new(),
        advanced_settings: Vec::new(),
        deleted_at: None,
        last_run_at: None,
    }
}

fn with(change: impl FnOnce(&mut BackupRule)) -> BackupPlan {
    let mut rule = rule("daily");
    change(&mut rule);
    plan(vec![rule])
}

fn refused(plan: &BackupPlan) -> (String, &'static str) {
    let error = validation::backup_plan(plan).unwrap_err();
    assert!(!error.problem.is_empty());
    (error.field, error.code)
}

fn days(n: u32) -> Lifecycle {
    Lifecycle { delete_after_days: Some(n), move_to_cold_after_days: None }
}

#[test]
fn a_usual_plan_is_accepted() {
    validation::backup_plan(&plan((0..10).map(|n| rule(&format!("rule-{n}"))).collect())).unwrap();
}

#[test]
fn a_plan_has_1_to_10_rules_with_different_names() {
    assert_eq!(refused(&plan(Vec::new())), ("rules".to_owned(), MISSING_PARAMETER_VALUE));
    let eleven = plan((0..11).map(|n| rule(&format!("rule-{n}"))).collect());
    assert_eq!(refused(&eleven), ("rules".to_owned(), LIMIT_EXCEEDED));
    assert_eq!(refused(&plan(vec![rule("a"), rule("a")])), ("rules[1].name".to_owned(), INVALID_PARAMETER_VALUE));
}

#[test]
fn each_wrong_field_of_a_rule_is_named() {
    let copy = |name: &str| CopyAction { destination_vault: vault(name), lifecycle: Lifecycle::default() };
    let cases: Vec<(BackupPlan, &str)> = vec![
        (with(|r| r.name = "with space".to_owned()), "rules[0].name"),
        (with(|r| r.name = "x".repeat(51)), "rules[0].name"),
        (with(|r| r.start_window_minutes = 0), "rules[0].start_window_minutes"),
        (with(|r| r.completion_window_minutes = 479), "rules[0].completion_window_minutes"),
        (with(|r| r.lifecycle = days(0)), "rules[0].lifecycle.delete_after_days"),
        (with(|r| r.lifecycle = days(36_501)), "rules[0].lifecycle.delete_after_days"),
        (with(|r| r.lifecycle.move_to_cold_after_days = Some(0)), "rules[0].lifecycle.move_to_cold_after_days"),
        (with(|r| r.lifecycle.move_to_cold_after_days = Some(35)), "rules[0].lifecycle.move_to_cold_after_days"),
        (
            with(|r| {
                r.enable_continuous = true;
                r.lifecycle.move_to_cold_after_days = Some(7);
            }),
            "rules[0].lifecycle.move_to_cold_after_days",
        ),
        (with(|r| r.generations = Some(Generations::default())), "rules[0].generations"),
        (with(|r| r.copy_actions = vec![copy("main")]), "rules[0].copy_actions[0].destination_vault"),
        (with(|r| r.copy_actions = vec![copy("dr"), copy("dr")]), "rules[0].copy_actions[1].destination_vault"),
        (
            with(|r| r.copy_actions = vec![CopyAction { lifecycle: days(0), ..copy("dr") }]),
            "rules[0].copy_actions[0].lifecycle.delete_after_days",
        ),
        (
            with(|r| r.recovery_point_tags = BTreeMap::from([("aws:x".to_owned(), String::new())])),
            "rules[0].recovery_point_tags.aws:x",
        ),
    ];
    for (plan, field) in cases {
        assert_eq!(refused(&plan), (field.to_owned(), INVALID_PARAMETER_VALUE));
    }
    let six = with(|r| r.copy_actions = (0..6).map(|n| copy(&format!("dr-{n}"))).collect());
    assert_eq!(refused(&six), ("rules[0].copy_actions".to_owned(), LIMIT_EXCEEDED));
    let eleven = with(|r| r.recovery_point_tags = (0..11).map(|n| (format!("k{n}"), String::new())).collect());
    assert_eq!(refused(&eleven), ("rules[0].recovery_point_tags".to_owned(), LIMIT_EXCEEDED));
}

#[test]
fn a_lifecycle_may_have_a_cold_part_of_a_day_or_more() {
    let lifecycle = |cold, delete| Lifecycle { delete_after_days: delete, move_to_cold_after_days: Some(cold) };
    for accepted in [lifecycle(7, Some(30)), lifecycle(7, Some(8)), lifecycle(36_500, None)] {
        validation::lifecycle("lifecycle", &accepted).unwrap();
    }
    let refused = validation::lifecycle("lifecycle", &lifecycle(30, Some(30))).unwrap_err();
    assert_eq!((refused.field.as_str(), refused.value.as_str()), ("lifecycle.move_to_cold_after_days", "30"));
    assert!(refused.problem.contains("never be in cold storage"), "{refused}");
}

#[test]
fn a_refusal_reads_as_a_sentence_with_its_mend() {
    let error = validation::lifecycle("lifecycle", &days(0)).unwrap_err();
    assert_eq!(error.to_string(), "`lifecycle.delete_after_days` `0`: must be from 1 to 36500 days");
}

#[test]
fn a_vault_refuses_what_it_would_not_keep_right() {
    let access = VaultAccess {
        arn: vault("main"),
        location: "file:///srv/vault".to_owned(),
        key_profile: "main".to_owned(),
        repository_id: None,
    };
    let vault = Vault {
        name: "main".to_owned(),
        region: "ap-northeast-1".parse().unwrap(),
        access,
        cold: None,
        state: VaultState::Available,
        state_message: None,
        min_retention_days: Some(7),
        max_retention_days: Some(30),
        created_at: Timestamp::UNIX_EPOCH,
        vault_type: job_model::VaultType::BackupVault,
        creator_request_id: None,
        tags: std::collections::BTreeMap::new(),
        lock: None,
        access_policy: None,
        notifications: None,
        health: Vec::new(),
    };
    let fits = |lifecycle: Lifecycle| {
        validation::retention_fits_vault("lifecycle", &lifecycle, &vault).map_err(|e: Invalid| e.value)
    };
    assert_eq!(fits(days(7)), Ok(()));
    assert_eq!(fits(days(30)), Ok(()));
    assert_eq!(fits(days(6)), Err("6".to_owned()));
    assert_eq!(fits(days(31)), Err("31".to_owned()));
    assert_eq!(fits(Lifecycle::default()), Err("for ever".to_owned()));
}

#[test]
fn vault_bounds_and_names_are_checked() {
    for (min, max, field) in [
        (Some(0), None, "min_retention_days"),
        (None, Some(36_501), "max_retention_days"),
        (Some(8), Some(7), "min_retention_days"),
    ] {
        assert_eq!(validation::vault_retention(min, max).unwrap_err().field, field);
    }
    validation::vault_retention(Some(7), Some(7)).unwrap();
    validation::vault_name("name", "ab").unwrap();
    for name in ["a", "", "a.b", "ü-vault", &"x".repeat(51)] {
        validation::vault_name("name", name).unwrap_err();
    }
}

fn selection(change: impl FnOnce(&mut Selection)) -> Result<(), Invalid> {
    let mut selection = Selection {
        id: SelectionId::new(Uuid::nil()),
        plan_id: PlanId::new(Uuid::nil()),
        name: "all".to_owned(),
        resources: vec!["arn:aws:files:*:*:tree/*".to_owned()],
        not_resources: Vec::new(),
        list_of_tags: Vec::new(),
        conditions: Conditions::default(),
        created_at: Timestamp::UNIX_EPOCH,
        iam_role: None,
        creator_request_id: None,
    };
    change(&mut selection);
    validation::selection(&selection)
}

#[test]
fn selections_are_held_to_the_quotas() {
    selection(|_| {}).unwrap();
    let tag = |key: &str| TagCondition { key: key.to_owned(), value: String::new() };
    let field = |change: &dyn Fn(&mut Selection)| selection(change).unwrap_err().field;
    assert_eq!(field(&|s| s.name = String::new()), "name");
    assert_eq!(field(&|s| s.resources = vec!["home".to_owned()]), "resources[0]");
    assert_eq!(field(&|s| s.resources = vec!["arn:aws:s3".to_owned()]), "resources[0]");
    assert_eq!(field(&|s| s.resources = vec!["arn:aws:files:*".to_owned(); 31]), "resources");
    assert_eq!(field(&|s| s.not_resources = vec!["arn:aws:files:::tree/a".to_owned(); 501]), "not_resources");
    assert_eq!(field(&|s| s.list_of_tags = vec![tag("")]), "list_of_tags[0].key");
    assert_eq!(field(&|s| s.list_of_tags = vec![tag("aws:ResourceTag/a")]), "list_of_tags[0].key");
    assert_eq!(field(&|s| s.list_of_tags = vec![tag("a"); 31]), "list_of_tags");
    let wrong = Condition { key: "aws:SourceArn".to_owned(), value: "x".to_owned() };
    assert_eq!(field(&|s| s.conditions.string_like = vec![wrong.clone()]), "conditions.string_like[0].key");
}

fn testing(change: impl FnOnce(&mut RestoreTestingPlan)) -> Result<(), Invalid> {
    let mut plan = RestoreTestingPlan {
        name: "weekly_proof".to_owned(),
        schedule: None,
        time_zone: "UTC".to_owned(),
        start_window_hours: 24,
        algorithm: PointAlgorithm::LatestWithinWindow,
        include_vaults: vec!["*".to_owned()],
        exclude_vaults: Vec::new(),
        selection_window_days: 30,
        selections: vec![RestoreTestingSelection {
            name: "files".to_owned(),
            resource_type: ResourceType::Files,
            protected_resources: vec!["*".to_owned()],
            conditions: ProtectedResourceConditions::default(),
            validation_window_hours: 0,
            iam_role: None,
            creator_request_id: None,
            created_at: None,
            updated_at: None,
            restore_metadata_overrides: std::collections::BTreeMap::new(),
        }],
        updated_at: Timestamp::UNIX_EPOCH,
        account: None,
        region: None,
        creator_request_id: None,
        tags: std::collections::BTreeMap::new(),
        created_at: None,
        recovery_point_kinds: vec![job_model::RecoveryPointKind::Snapshot],
        last_started_at: None,
    };
    change(&mut plan);
    validation::restore_testing_plan(&plan)
}

#[test]
fn restore_testing_plans_are_held_to_their_bounds() {
    testing(|_| {}).unwrap();
    let field = |change: &dyn Fn(&mut RestoreTestingPlan)| testing(change).unwrap_err().field;
    let resources = "selections[0].protected_resources";
    assert_eq!(field(&|p| p.name = "with-hyphen".to_owned()), "name");
    assert_eq!(field(&|p| p.start_window_hours = 169), "start_window_hours");
    assert_eq!(field(&|p| p.selection_window_days = 0), "selection_window_days");
    assert_eq!(field(&|p| p.selection_window_days = 366), "selection_window_days");
    assert_eq!(field(&|p| p.include_vaults.clear()), "include_vaults");
    assert_eq!(field(&|p| p.exclude_vaults = vec!["dr".to_owned()]), "exclude_vaults[0]");
    assert_eq!(field(&|p| p.recovery_point_kinds.clear()), "recovery_point_kinds");
    assert_eq!(field(&|p| p.selections.push(p.selections[0].clone())), "selections[1].name");
    assert_eq!(field(&|p| p.selections[0].name = "a-b".to_owned()), "selections[0].name");
    let window = "selections[0].validation_window_hours";
    assert_eq!(field(&|p| p.selections[0].validation_window_hours = 169), window);
    assert_eq!(field(&|p| p.selections[0].protected_resources.clear()), resources);
    let named = "arn:aws:files:::tree/a".to_owned();
    assert_eq!(field(&|p| p.selections[0].protected_resources.push(named.clone())), format!("{resources}[0]"));
    let pattern = vec!["arn:aws:files:*".to_owned()];
    assert_eq!(field(&|p| p.selections[0].protected_resources = pattern.clone()), format!("{resources}[0]"));
}
