use jiff::SignedDuration;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_millis(ms)
}

fn job() -> JobId {
    JobId::new(Uuid::from_u128(8))
}

/// Captured at 0 s, ordered at 60 s, restored in 1.2 s, verified from 62 s, first read at 62.3 s, judged at 63 s.
fn measured() -> Measured {
    Measured {
        restore_ordered_at: at(60_000),
        restore_phases: vec![phase("fetch", 900), phase("write", 300)],
        verify_started_at: at(62_000),
        check_started_at: at(62_200),
        first_correct_read_at: Some(at(62_300)),
        ended_at: at(63_000),
        capture_ended_at: at(0),
        bytes: 4_096,
        items: 3,
        rto_phases: Vec::new(),
        compared: None,
    }
}

fn finding(kind: FindingKind, severity: Severity, subject: &str, message: &str) -> Finding {
    Finding { kind, severity, subject: subject.to_owned(), message: message.to_owned() }
}

fn differs() -> Finding {
    finding(FindingKind::ContentDiffers, Severity::Failure, "etc/hosts", "byte 17 differs")
}

#[test]
fn a_restore_without_findings_is_proven() {
    let judgement = judge(Vec::new(), &measured(), job());
    assert_eq!(
        judgement.verdict,
        Verdict {
            status: VerdictStatus::Successful,
            message: "3 entries with 4096 bytes are as they were captured".to_owned(),
            judged_at: at(63_000),
            restore_job_id: Some(job()),
            rto_ms: 2_300,
            rpo_ms: 63_000,
        }
    );
    assert_eq!(
        judgement.rto_phases,
        [
            phase("wait", 800),
            phase("fetch", 900),
            phase("write", 300),
            phase("check-open", 200),
            phase("check-first-read", 100)
        ]
    );
}

#[test]
fn what_was_compared_is_said_where_it_is_not_the_capture() {
    let compared = Some("the server of noon answers".to_owned());
    let judgement = judge(Vec::new(), &Measured { compared, ..measured() }, job());
    assert_eq!(judgement.verdict.status, VerdictStatus::Successful);
    assert_eq!(judgement.verdict.message, "the server of noon answers");
    let failed = judge(vec![differs()], &Measured { compared: Some("x".to_owned()), ..measured() }, job());
    assert!(failed.verdict.message.starts_with("`etc/hosts`"), "{failed:?}");
}

#[test]
fn known_good_and_known_bad_findings_are_told_apart() {
    let incomplete = capture_finding(2).unwrap();
    let golden = [
        (vec![], "SUCCESSFUL", "3 entries with 4096 bytes are as they were captured"),
        (
            vec![finding(FindingKind::MetadataDiffers, Severity::Note, "a", "no root, owner not compared")],
            "SUCCESSFUL",
            "3 entries with 4096 bytes are as they were captured, with 1 remarks",
        ),
        (
            vec![finding(FindingKind::MetadataDiffers, Severity::Warning, "a", "mtime differs")],
            "SUCCESSFUL",
            "3 entries with 4096 bytes are as they were captured, with 1 remarks",
        ),
        (vec![differs()], "FAILED", "`etc/hosts`: byte 17 differs"),
        (
            vec![finding(FindingKind::EntryUnexpected, Severity::Warning, "x", "was not captured"), differs()],
            "FAILED",
            "`etc/hosts`: byte 17 differs",
        ),
        (
            vec![incomplete.clone()],
            "FAILED",
            "2 entries were not captured as they should be; the recovery point lists them",
        ),
        (
            vec![differs(), incomplete],
            "FAILED",
            "`etc/hosts`: byte 17 differs (and 1 more); 2 entries were not captured as they should be; the recovery \
             point lists them",
        ),
    ];
    for (findings, status, message) in golden {
        let verdict = judge(findings, &measured(), job()).verdict;
        let found = if verdict.status == VerdictStatus::Successful { "SUCCESSFUL" } else { "FAILED" };
        assert_eq!((found, verdict.message.as_str()), (status, message));
    }
}

#[test]
fn no_exceptions_are_no_finding() {
    assert_eq!(capture_finding(0), None);
    assert!(capture_finding(1).unwrap().message.starts_with("1 entry was not"));
}

#[test]
fn without_a_correct_read_there_is_no_rto() {
    let judgement = judge(vec![differs()], &Measured { first_correct_read_at: None, ..measured() }, job());
    assert_eq!(judgement.verdict.rto_ms, 0);
    assert_eq!(judgement.rto_phases.last(), Some(&phase("check-open", 200)));
}

#[test]
fn a_clock_that_went_back_gives_no_negative_times() {
    let judgement = judge(Vec::new(), &Measured { restore_ordered_at: at(70_000), ..measured() }, job());
    assert_eq!(judgement.rto_phases[0], phase("wait", 0));
}

#[test]
fn of_many_findings_the_worst_are_kept() {
    let mut findings: Vec<Finding> =
        (0..80).map(|n| finding(FindingKind::MetadataDiffers, Severity::Note, &n.to_string(), "note")).collect();
    findings.push(differs());
    let judgement = judge(findings, &measured(), job());
    assert_eq!(judgement.findings.len(), 50);
    assert_eq!(judgement.findings[0], differs());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_phases_add_up_to_the_rto_and_to_the_time_that_passed(
        restore in prop::collection::vec(0_u64..10_000, 0..4),
        waited in 0_u64..10_000,
        opened in 0_i64..10_000,
        read in 0_i64..10_000,
    ) {
        let restored: u64 = restore.iter().sum();
        let verify_ms = i64::try_from(restored + waited).unwrap();
        let measured = Measured {
            restore_ordered_at: at(0),
            restore_phases: restore.iter().map(|ms| phase("fetch", *ms)).collect(),
            verify_started_at: at(verify_ms),
            check_started_at: at(verify_ms + opened),
            first_correct_read_at: Some(at(verify_ms + opened + read)),
            ended_at: at(verify_ms + opened + read),
            ..measured()
        };
        let judgement = judge(Vec::new(), &measured, job());
        let sum: u64 = judgement.rto_phases.iter().map(|p| p.duration_ms).sum();
        prop_assert_eq!(sum, judgement.verdict.rto_ms);
        prop_assert_eq!(i64::try_from(sum).unwrap(), verify_ms + opened + read);
    }

    #[test]
    fn the_verdict_fails_exactly_when_a_finding_does(severities in prop::collection::vec(0_u8..3, 0..60)) {
        let all = [Severity::Note, Severity::Warning, Severity::Failure];
        let findings: Vec<Finding> = severities
            .iter()
            .map(|n| finding(FindingKind::CheckFailed, all[usize::from(*n)], "x", "y"))
            .collect();
        let fails = severities.contains(&2);
        let verdict = judge(findings, &measured(), job()).verdict;
        prop_assert_eq!(verdict.status == VerdictStatus::Failed, fails);
    }
}
