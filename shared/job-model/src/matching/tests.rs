use jiff::Timestamp;

use super::*;
use crate::{PlanId, ResourceType, SelectionId, TagCondition};

fn resource(arn: &str, tags: &[(&str, &str)]) -> Resource {
    Resource {
        arn: arn.parse().unwrap(),
        resource_type: ResourceType::Files,
        region: "ap-northeast-1".parse().unwrap(),
        location: "file:///srv/home".to_owned(),
        hooks: None,
        tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        registered_at: Timestamp::UNIX_EPOCH,
        account: None,
    }
}

fn selection() -> Selection {
    Selection {
        id: SelectionId::new(uuid::Uuid::nil()),
        plan_id: PlanId::new(uuid::Uuid::nil()),
        name: "all".to_owned(),
        resources: Vec::new(),
        not_resources: Vec::new(),
        list_of_tags: Vec::new(),
        conditions: Conditions::default(),
        created_at: Timestamp::UNIX_EPOCH,
        iam_role: None,
        creator_request_id: None,
    }
}

fn condition(key: &str, value: &str) -> Condition {
    Condition { key: key.to_owned(), value: value.to_owned() }
}

const HOME: &str = "arn:aws:files:ap-northeast-1:000000000000:tree/home";

#[test]
fn a_star_stands_for_anything_anywhere() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("", "", true),
        ("", "a", false),
        ("a*", "a", true),
        ("*a", "ba", true),
        ("*a", "ab", false),
        ("a*a", "a", false),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "acb", false),
        ("ab*ba", "aba", false),
        ("**", "x", true),
        ("a**b", "ab", true),
        ("arn:aws:ec2:*:*:volume/*", "arn:aws:ec2:eu-west-1:000000000000:volume/vol-1", true),
        ("A", "a", false),
    ] {
        assert_eq!(wildcard_matches(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn a_selection_with_nothing_takes_every_resource() {
    assert!(selection_takes(&selection(), &resource(HOME, &[])));
}

#[test]
fn resources_or_tags_are_enough() {
    let both = Selection {
        resources: vec!["arn:aws:files:*:*:tree/home".to_owned()],
        list_of_tags: vec![TagCondition { key: "backup".to_owned(), value: "daily".to_owned() }],
        ..selection()
    };
    let other = "arn:aws:files:ap-northeast-1:000000000000:tree/other";
    assert!(selection_takes(&both, &resource(HOME, &[])));
    assert!(selection_takes(&both, &resource(other, &[("backup", "daily")])));
    assert!(!selection_takes(&both, &resource(other, &[("backup", "weekly")])));
    assert!(!selection_takes(&both, &resource(other, &[("Backup", "daily")])));
}

#[test]
fn conditions_all_have_to_hold() {
    let conditions = Conditions {
        string_equals: vec![condition("aws:ResourceTag/stage", "prod")],
        string_like: vec![condition("team", "data-*")],
        ..Conditions::default()
    };
    let narrowed = Selection { conditions, ..selection() };
    assert!(selection_takes(&narrowed, &resource(HOME, &[("stage", "prod"), ("team", "data-eng")])));
    assert!(!selection_takes(&narrowed, &resource(HOME, &[("stage", "prod"), ("team", "web")])));
    assert!(!selection_takes(&narrowed, &resource(HOME, &[("team", "data-eng")])));
}

#[test]
fn a_missing_tag_fails_equals_and_like_and_satisfies_their_opposites() {
    let tags = BTreeMap::new();
    let one = |key: &str| vec![condition(key, "*")];
    assert!(!conditions_hold(&Conditions { string_equals: one("t"), ..Conditions::default() }, &tags));
    assert!(!conditions_hold(&Conditions { string_like: one("t"), ..Conditions::default() }, &tags));
    assert!(conditions_hold(&Conditions { string_not_equals: one("t"), ..Conditions::default() }, &tags));
    assert!(conditions_hold(&Conditions { string_not_like: one("t"), ..Conditions::default() }, &tags));
}

#[test]
fn not_resources_takes_away_what_everything_else_gives() {
    let except = Selection { not_resources: vec!["*tree/ho*".to_owned()], ..selection() };
    assert!(!selection_takes(&except, &resource(HOME, &[])));
}

#[test]
fn what_restore_tests_made_is_never_taken() {
    let named = "arn:aws:files:ap-northeast-1:000000000000:tree/awsbackup-restore-test-1";
    assert!(!selection_takes(&selection(), &resource(named, &[])));
    assert!(!selection_takes(&selection(), &resource(HOME, &[(RESTORE_TEST_MARK, "")])));
    let explicit = Selection { resources: vec![named.to_owned()], ..selection() };
    assert!(!selection_takes(&explicit, &resource(named, &[])));
}
