//! Copies of the catalogue that miss nothing, reports, and what is told of coverage and of runs to come.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use job_events::{Answer, Fact, Query, ScanKind, ScanRow, StartBackup};
use job_model::{Arn, RecoveryPoint};

use super::api::{HOUR, ask, day};
use super::scene::{EUROPE, days, protect, register, rule, scene, start_backup, test_restore_of};
use crate::decide::Out;

#[test]
fn a_scan_gives_every_row_once_and_in_order_however_small_its_pages() {
    let mut s = scene();
    for number in 0..7 {
        register(&mut s.world, EUROPE, &format!("tree-{number}"));
    }
    for _ in 0..3 {
        s.backed_up();
    }
    for kind in ScanKind::ALL {
        let pages = |limit: Option<u32>| {
            let mut rows = Vec::new();
            let mut after = None;
            loop {
                match ask(&s.world, &Query::Scan { kind, after, limit }) {
                    Answer::Scan(page) => {
                        assert_eq!(page.facts_told, s.world.state.meta().facts);
                        rows.extend(page.rows);
                        match page.next {
                            Some(next) => after = Some(next),
                            None => return rows,
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        assert_eq!(pages(Some(2)), pages(None), "{kind:?}");
    }
    match ask(&s.world, &Query::Scan { kind: ScanKind::Vaults, after: Some("x".to_owned()), limit: None }) {
        Answer::Refused { field, .. } => assert_eq!(field, "after"),
        other => panic!("{other:?}"),
    }
}

/// A copy that somebody keeps of the recovery points: from a scan in the middle, and from facts.
#[test]
fn a_copy_from_a_scan_and_the_facts_after_it_is_the_catalogue() {
    let mut s = scene();
    let mut copy: BTreeMap<Arn, RecoveryPoint> = BTreeMap::new();
    let mut seen = 0;
    let mut told = 0;
    let mut begun = false;
    for round in 0..6 {
        let request = StartBackup { lifecycle: days(2), ..start_backup(&s.home, &s.near) };
        s.world.accepted(request);
        s.world.run_for(day(1));
        if round == 2 {
            seen = s.world.said.len();
            match ask(&s.world, &Query::Scan { kind: ScanKind::RecoveryPoints, after: None, limit: None }) {
                Answer::Scan(page) => {
                    told = page.facts_told;
                    for row in page.rows {
                        let ScanRow::RecoveryPoint(point) = row else { panic!("{row:?}") };
                        copy.insert(point.arn.clone(), *point);
                    }
                }
                other => panic!("{other:?}"),
            }
            begun = true;
        }
        if !begun {
            continue;
        }
        for out in &s.world.said[seen..] {
            let Out::Fact { fact, number, .. } = out else { continue };
            assert!(*number > told, "a fact after the scan has a number above its own");
            match fact.as_ref() {
                Fact::RecoveryPointCreated(fact) => {
                    copy.insert(fact.recovery_point.arn.clone(), fact.recovery_point.clone());
                }
                Fact::RecoveryPointChanged(fact) => {
                    copy.insert(fact.recovery_point.arn.clone(), fact.recovery_point.clone());
                }
                Fact::RecoveryPointDeleted(fact) => {
                    copy.remove(&fact.recovery_point);
                }
                _ => {}
            }
        }
        seen = s.world.said.len();
        let real: BTreeMap<Arn, RecoveryPoint> =
            s.world.state.points.values().map(|row| (row.point.arn.clone(), row.point.clone())).collect();
        assert_eq!(copy, real);
    }
    assert!(copy.len() < 6, "some were deleted meanwhile");
}

#[test]
fn a_report_is_due_every_day_and_fails_when_nobody_writes_it() {
    let mut s = scene();
    let create = job_events::CreateReportPlan {
        name: "jobs".to_owned(),
        description: None,
        delivery: job_model::ReportDelivery { bucket: "reports".to_owned(), prefix: None, formats: Vec::new() },
        setting: job_model::ReportSetting {
            template: "BACKUP_JOB_REPORT".to_owned(),
            accounts: Vec::new(),
            regions: Vec::new(),
        },
        tags: BTreeMap::new(),
    };
    s.world.accepted(create);
    s.world.run_for(day(1) + SignedDuration::from_mins(1));
    let job = s.world.state.report_jobs.values().next().expect("a daily report").clone();
    let finish = job_events::FinishReportJob {
        report_job_id: job.id,
        state: job_model::ReportJobState::Completed,
        message: None,
        keys: vec!["jobs.csv".to_owned()],
    };
    s.world.accepted(finish);
    s.world.run_for(day(1) + HOUR * 2);
    let states: Vec<_> = s.world.state.report_jobs.values().map(|job| job.state.as_str()).collect();
    assert_eq!(states.len(), 2);
    assert!(states.contains(&"COMPLETED") && states.contains(&"FAILED"), "{states:?}");
    let plan = s.world.state.report_plans.values().next().unwrap();
    assert!(plan.last_succeeded_at.is_some());
}

#[test]
fn coverage_and_forecast_tell_what_is_and_what_will_be() {
    let mut s = scene();
    let bare = register(&mut s.world, EUROPE, "bare");
    protect(&mut s.world, "daily", rule("daily", s.near.clone(), "cron(0 5 * * ? *)", "UTC"), &[&s.home]);
    s.world.run_for(day(1));
    let point = s.world.newest_point(&s.home, &s.near);
    test_restore_of(&mut s.world, point, 7, 0);
    s.world.run_for(HOUR);
    match ask(&s.world, &Query::Coverage { account: None, days: None, after: None }) {
        Answer::Coverage(coverage) => {
            assert_eq!((coverage.resources, coverage.protected, coverage.proven), (2, 1, 1));
            assert!(coverage.rows.iter().any(|row| row.resource == bare && !row.protected && row.proven_at.is_none()));
        }
        other => panic!("{other:?}"),
    }
    match ask(&s.world, &Query::ListUnprotected { account: None, after: None }) {
        Answer::Resources(free) => assert_eq!(free.into_iter().map(|r| r.arn).collect::<Vec<_>>(), [bare]),
        other => panic!("{other:?}"),
    }
    let until = s.world.now.checked_add(day(3)).unwrap();
    match ask(&s.world, &Query::Forecast { account: None, until, limit: None }) {
        Answer::Forecast(runs) => {
            assert_eq!(runs.len(), 3);
            assert!(runs.iter().all(|run| run.resource == s.home && run.fits_window == Some(true)), "{runs:?}");
        }
        other => panic!("{other:?}"),
    }
}
