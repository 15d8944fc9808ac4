use super::*;
use crate::names::short_name;

#[test]
fn bytes_have_three_digits_and_a_binary_unit() {
    let shown: Vec<String> =
        [0, 1023, 1024, 10_240, 1 << 20, 1_047_552, 5_368_709_120, u64::MAX].map(bytes).into_iter().collect();
    assert_eq!(shown, ["0 B", "1023 B", "1.00 KiB", "10.0 KiB", "1.00 MiB", "1.00 MiB", "5.00 GiB", "16.0 EiB"]);
}

#[test]
fn spans_of_time_are_short() {
    let shown: Vec<String> = [0, 999, 1_234, 12_345, 125_000, 11_040_000].map(millis).into_iter().collect();
    assert_eq!(shown, ["0 ms", "999 ms", "1.23 s", "12.3 s", "2 min 5 s", "3 h 4 min"]);
}

#[test]
fn counts_are_grouped_and_shares_of_nothing_are_not_zero() {
    assert_eq!(count(1_234_567), "1 234 567");
    assert_eq!(count(12), "12");
    assert_eq!(percent(1, 8), "12.5 %");
    assert_eq!(percent(0, 0), "n/a");
}

#[test]
fn a_table_aligns_its_columns_and_keeps_a_cell_on_one_line() {
    let mut table = Table::new(&["name", ">size", "message"], "nothing");
    table.row(vec!["a".to_owned(), "1 KiB".to_owned(), "two\nlines".to_owned()]);
    table.row(vec!["longer".to_owned(), "100 MiB".to_owned(), String::new()]);
    assert_eq!(
        table.render(),
        "NAME       SIZE  MESSAGE\n\
         a         1 KiB  two lines\n\
         longer  100 MiB  -\n"
    );
}

#[test]
fn an_empty_table_says_what_to_do() {
    assert_eq!(
        resources(&[]),
        "no resources; register one with `holdfast resource add NAME --type files --path DIR`\n"
    );
}

#[test]
fn the_trace_id_is_taken_from_a_traceparent_only_where_there_is_one() {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(trace_id(traceparent), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(trace_id("garbage"), None);
}

#[test]
fn a_job_shows_its_bytes_its_phases_and_its_trace() {
    let job: job_model::Job = serde_json::from_value(serde_json::json!({
        "id": "018f0000-0000-7000-8000-000000000001",
        "kind": "backup",
        "state": "COMPLETED",
        "message_category": "SUCCESS",
        "resource": "arn:aws:files:ap-northeast-1:000000000000:tree/home",
        "resource_type": "Files",
        "region": "ap-northeast-1",
        "created_at": "2026-11-21T00:00:00Z",
        "scheduled_at": "2026-11-21T00:00:00Z",
        "start_by": null, "complete_by": null,
        "started_at": "2026-11-21T00:00:01Z",
        "ended_at": "2026-11-21T00:00:03Z",
        "attempt": 1,
        "not_before": null, "created_by": null, "parent": null,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "progress": {"bytes_total": 2048, "bytes_done": 2048, "bytes_read": 1024, "bytes_new": 512, "bytes_stored": 300,
                     "items_done": 12},
        "phases": [{"phase": "read", "duration_ms": 1500}],
        "detail": {"kind": "backup",
                   "vault": "arn:aws:backup:ap-northeast-1:000000000000:backup-vault:tokyo",
                   "recovery_point_id": "018f0000-0000-7000-8000-000000000002",
                   "lifecycle": {}, "generations": null, "time_zone": "UTC", "tags": {}, "copy_actions": []}
    }))
    .unwrap();
    assert_eq!(short_name(&job.resource), "home");
    insta::assert_snapshot!("one_job", job_detail(&job));
    let mut waiting = job.clone();
    waiting.progress.waits_for = Some(job_model::WaitsFor::Checkpoint);
    assert!(!job_detail(&waiting).contains("waits for"), "a job that has ended waits for nothing");
    waiting.state = job_model::JobState::Running;
    assert!(job_detail(&waiting).contains("the server's checkpoint"), "{}", job_detail(&waiting));
    insta::assert_snapshot!("list_of_jobs", jobs(std::slice::from_ref(&job)));
}

#[test]
fn ages_are_told_by_vault_and_region_and_what_was_never_checked_says_so() {
    let at = |second| jiff::Timestamp::from_second(second).unwrap();
    let recency = |vault: &str, checked_at| job_model::Recency {
        vault: vault.parse().unwrap(),
        restorable_at: at(1_000),
        checked_at,
        since: at(100),
    };
    let tokyo = recency("arn:aws:backup:ap-northeast-1:000000000000:backup-vault:tokyo", Some(at(940)));
    let osaka = recency("arn:aws:backup:ap-northeast-3:000000000000:backup-vault:osaka", None);
    let shown = [tokyo, osaka].map(|recency| super::jobs::rpo_line(&crate::rpo::Rpo::of(recency, at(1_002))));
    assert_eq!(
        shown,
        [
            "from tokyo (ap-northeast-1): restorable 2.00 s (1970-01-01T00:16:40Z), checked 1 min 2 s (1970-01-01T00:15:40Z)",
            "from osaka (ap-northeast-3): restorable 2.00 s (1970-01-01T00:16:40Z), never checked",
        ]
    );
}
