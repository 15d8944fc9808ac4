//! What a policy says, and what is refused.

use super::AccessPolicy;
use crate::Arn;

const VAULT: &str = "arn:aws:backup:eu-central-1:111122223333:backup-vault:main";

fn arn(text: &str) -> Arn {
    text.parse().unwrap()
}

fn policy(statement: &str) -> AccessPolicy {
    AccessPolicy::parse(&format!(r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#)).unwrap()
}

fn refused(statement: &str) -> String {
    AccessPolicy::parse(&format!(r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#)).unwrap_err().field
}

#[test]
fn a_deny_for_everybody_denies_every_action_its_pattern_takes() {
    let policy = policy(r#"{"Effect": "Deny", "Principal": "*", "Action": "backup:Delete*", "Resource": "*"}"#);
    let who = arn("arn:aws:iam::111122223333:role/operator");
    assert!(policy.denies("backup:DeleteRecoveryPoint", &who, &arn(VAULT)));
    assert!(policy.denies("backup:DeleteBackupVault", &who, &arn(VAULT)));
    assert!(!policy.denies("backup:StartBackupJob", &who, &arn(VAULT)));
}

#[test]
fn an_account_stands_for_all_its_roles_and_a_role_for_itself() {
    let account = policy(
        r#"{"Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": ["backup:StartBackupJob"],
            "Resource": "*"}"#,
    );
    let role = policy(
        r#"{"Effect": "Deny", "Principal": {"AWS": ["arn:aws:iam::111122223333:role/auditor"]}, "Action": "*",
            "Resource": "arn:aws:backup:*:*:backup-vault:main"}"#,
    );
    let (operator, auditor) =
        (arn("arn:aws:iam::111122223333:role/operator"), arn("arn:aws:iam::111122223333:role/auditor"));
    assert!(account.denies("backup:StartBackupJob", &operator, &arn(VAULT)));
    assert!(!account.denies("backup:StartBackupJob", &arn("arn:aws:iam::444455556666:role/operator"), &arn(VAULT)));
    assert!(role.denies("backup:StartBackupJob", &auditor, &arn(VAULT)));
    assert!(!role.denies("backup:StartBackupJob", &operator, &arn(VAULT)));
}

#[test]
fn all_but_the_named_actions_are_meant_by_not_action() {
    let policy = policy(r#"{"Effect": "Deny", "Principal": "*", "NotAction": "backup:List*", "Resource": "*"}"#);
    let who = arn("arn:aws:iam::111122223333:role/operator");
    assert!(policy.denies("backup:StartBackupJob", &who, &arn(VAULT)));
    assert!(!policy.denies("backup:ListRecoveryPointsByBackupVault", &who, &arn(VAULT)));
}

#[test]
fn somebody_elses_copy_needs_an_allow_and_no_deny() {
    let allow = r#"{"Effect": "Allow", "Principal": {"AWS": "444455556666"}, "Action": "backup:CopyIntoBackupVault", "Resource": "*"}"#;
    let deny =
        r#"{"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "backup:CopyIntoBackupVault", "Resource": "*"}"#;
    let who = arn("arn:aws:iam::444455556666:root");
    assert!(policy(allow).allows("backup:CopyIntoBackupVault", &who, &arn(VAULT)));
    assert!(!policy(&format!("{allow}, {deny}")).allows("backup:CopyIntoBackupVault", &who, &arn(VAULT)));
    assert!(!policy(deny).allows("backup:CopyIntoBackupVault", &who, &arn(VAULT)));
}

#[test]
fn what_is_not_evaluated_is_refused_by_its_name() {
    let with = |extra: &str| {
        refused(&format!(r#"{{"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*", {extra}}}"#))
    };
    assert_eq!(with(r#""Condition": {"Bool": {"aws:SecureTransport": "false"}}"#), "policy.Statement[0].Condition");
    assert_eq!(with(r#""NotResource": "*""#), "policy.Statement[0].NotResource");
    let service =
        r#"{"Effect": "Deny", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "*", "Resource": "*"}"#;
    assert_eq!(refused(service), "policy.Statement[0].Principal");
    let other = r#"{"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}"#;
    assert_eq!(refused(other), "policy.Statement[0].Action");
    assert_eq!(AccessPolicy::parse("no json").unwrap_err().field, "policy");
}
