//! Vaults are read part by part, and what is damaged is told by name.

use jiff::SignedDuration;
use job_events::{OrderBody, StartVaultCheck, VaultChecked};
use job_model::{Finding, FindingKind, JobState, ScrubCoverage, Severity, StorageClass};

use super::scene::{Scene, scene};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn scrubs(s: &Scene) -> usize {
    let is_it = |order: &&OrderBody| matches!(order, OrderBody::CheckVault(order) if order.scrub_mib == Some(64) && !order.read_data);
    s.world.workers.orders.iter().filter(is_it).count()
}

#[test]
fn each_vault_is_read_a_part_at_a_time_as_often_as_the_operator_says() {
    let mut s = scene();
    s.world.run_for(DAY * 3);
    assert_eq!(scrubs(&s), 0, "never where it is off");
    (s.world.settings.scrub_every, s.world.settings.scrub_mib) = (DAY, 64);
    s.world.run_for(DAY * 3);
    assert!((6..=8).contains(&scrubs(&s)), "two vaults for three days: {}", scrubs(&s));
    s.world.workers.temper(&s.near.clone()).absent = true;
    s.world.workers.temper(&s.far.clone()).absent = true;
    let before = scrubs(&s);
    s.world.run_for(DAY * 4);
    assert!(scrubs(&s) <= before + 2, "one that did not end is not followed by another");
}

#[test]
fn damage_is_told_with_the_recovery_points_and_stays_known_until_a_check_finds_none() {
    let mut s = scene();
    let point = s.backed_up();
    let near = s.near.clone();
    let id = s.world.point(&point).id;
    let check = StartVaultCheck { vault: near.clone(), read_data: true, storage_class: StorageClass::Warm };
    let checked = |s: &Scene, job, damaged: bool, coverage| VaultChecked {
        attempt: job_events::AttemptHeader {
            job_id: job,
            attempt: 1,
            epoch: 7,
            worker: "w/1".to_owned(),
            at: s.world.now,
        },
        findings: if damaged {
            let message = "its SHA-256 is another".to_owned();
            vec![Finding {
                kind: FindingKind::ContentDiffers,
                severity: Severity::Failure,
                subject: "data/ab".to_owned(),
                message,
            }]
        } else {
            Vec::new()
        },
        packs_read: 1,
        bytes_read: 10,
        snapshots: 1,
        recovery_points_damaged: u64::from(damaged),
        recovery_points: if damaged { vec![id] } else { Vec::new() },
        coverage,
    };
    let coverage = ScrubCoverage { packs: 9, bytes: 90, packs_covered: 3, bytes_covered: 30, oldest_read: None };
    s.world.workers.temper(&near).absent = true;
    let job = s.world.accepted(check.clone()).0.unwrap();
    s.world.hear(checked(&s, job, true, Some(coverage)));
    assert_eq!(s.world.job(job).state, JobState::Failed);
    let message = s.world.job(job).status_message.clone().unwrap();
    assert!(message.contains(&point.to_string()) && message.contains("3 of 9 packs"), "{message}");
    let health = &s.world.state.vaults.get(&near).unwrap().health;
    assert_eq!((health[0].damage, health[0].recovery_points.as_slice()), (1, [point.clone()].as_slice()));
    s.world.run_for(HOUR);
    let job = s.world.accepted(check).0.unwrap();
    s.world.hear(checked(&s, job, false, None));
    let health = &s.world.state.vaults.get(&near).unwrap().health;
    assert_eq!((health.len(), health[0].damage, health[0].coverage), (1, 0, Some(coverage)));
    assert_eq!(health[0].checked_at, s.world.now);
}
