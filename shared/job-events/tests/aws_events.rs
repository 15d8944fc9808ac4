//! Facts in the words of AWS.

#![expect(clippy::unwrap_used, reason = "tests")]

use job_events::aws_events::{event, notices};
use job_events::{Envelope, Fact};
use job_model::{JobKind, JobState};

fn fact(name: &str) -> Fact {
    let path = format!("{}/fixtures/fact/{name}.v1.json", env!("CARGO_MANIFEST_DIR"));
    Envelope::from_bytes(&std::fs::read(path).unwrap()).unwrap().fact().unwrap()
}

fn job(state: JobState) -> Fact {
    let Fact::JobChanged(mut changed) = fact("job-changed") else { unreachable!() };
    assert_eq!(changed.job.kind, JobKind::Backup);
    changed.job.state = state;
    changed.into()
}

#[test]
fn every_event_names_account_region_and_a_subject_of_its_type() {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let mut types = Vec::new();
    for name in Fact::NAMES {
        let Some(event) = event("f-1", now, &fact(name)) else { continue };
        assert_eq!((event.id.as_str(), event.source.as_str()), ("f-1", "aws.backup"), "{name}");
        assert_eq!(event.account.len(), 12, "{name}: {event:?}");
        assert!(!event.region.is_empty(), "{name}: {event:?}");
        assert!(event.subject().starts_with("backup.events.") && !event.subject().contains(' '));
        types.push(event.detail_type);
    }
    for wanted in [
        "Backup Job State Change",
        "Backup Vault State Change",
        "Backup Plan State Change",
        "Recovery Point State Change",
        "Region Setting State Change",
    ] {
        assert!(types.iter().any(|found| found == wanted), "{wanted} in {types:?}");
    }
}

#[test]
fn a_backup_tells_its_vault_how_it_ended() {
    let told = |state| notices(&job(state)).into_iter().flat_map(|notice| notice.events).collect::<Vec<_>>();
    assert_eq!(told(JobState::Running), ["BACKUP_JOB_STARTED"]);
    assert_eq!(told(JobState::Completed), ["BACKUP_JOB_SUCCESSFUL", "BACKUP_JOB_COMPLETED"]);
    assert_eq!(told(JobState::Failed), ["BACKUP_JOB_FAILED", "BACKUP_JOB_COMPLETED"]);
    assert_eq!(told(JobState::Expired), ["BACKUP_JOB_EXPIRED", "BACKUP_JOB_COMPLETED"]);
    assert!(told(JobState::Created).is_empty());
}

#[test]
fn every_notice_is_one_that_a_vault_can_be_told_to_give() {
    let states = JobState::ALL.into_iter().map(job);
    for fact in Fact::NAMES.iter().map(|name| fact(name)).chain(states) {
        for notice in notices(&fact) {
            for event in notice.events {
                assert!(job_model::VAULT_EVENTS.contains(&event), "{event}");
            }
        }
    }
}

#[test]
fn a_window_that_moves_on_is_no_event_and_an_interruption_is_a_notice() {
    let Fact::RecoveryPointChanged(mut changed) = fact("recovery-point-changed") else { unreachable!() };
    let Fact::LogFollowed(followed) = fact("log-followed") else { unreachable!() };
    let mut continuous = followed.continuous;
    continuous.message = None;
    changed.recovery_point.continuous = Some(continuous.clone());
    changed.is_report = true;
    let report = Fact::from(changed.clone());
    assert!(event("f-1", jiff::Timestamp::UNIX_EPOCH, &report).is_none() && notices(&report).is_empty());
    changed.is_report = false;
    assert_eq!(notices(&Fact::from(changed.clone()))[0].events, ["RECOVERY_POINT_MODIFIED"]);
    continuous.state = job_model::FollowState::Interrupted;
    continuous.message = Some("the server cannot be reached".to_owned());
    changed.recovery_point.continuous = Some(continuous);
    let told = notices(&Fact::from(changed));
    assert_eq!(told[0].events[0], "CONTINUOUS_BACKUP_INTERRUPTED");
    assert!(told[0].message.contains("cannot be reached"), "{}", told[0].message);
}
