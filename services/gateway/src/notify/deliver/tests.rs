//! Notices on their way to a webhook that is a real server.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use parking_lot::Mutex;
use service_host::{SystemClock, SystemIds};
use state_store::StateStore;

use super::*;
use crate::backend::Backend;
use crate::notify::{TopicConfig, Topics};

const TOPIC: &str = "arn:aws:sns:eu-central-1:111122223333:backups";

#[test]
fn tries_come_less_and_less_often_but_do_not_end_before_their_time() {
    assert_eq!(wait_after(1), RETRY_BASE);
    assert_eq!(wait_after(3), RETRY_BASE * 4);
    assert_eq!(wait_after(100), RETRY_MAX);
}

/// A server that refuses the first so many posts; what it was sent.
async fn webhook(refusals: usize) -> (String, Arc<Mutex<Vec<Value>>>) {
    let sent: Arc<Mutex<Vec<Value>>> = Arc::default();
    let seen = sent.clone();
    let app = Router::new().fallback(move |body: axum::body::Bytes| {
        let seen = seen.clone();
        async move {
            let mut seen = seen.lock();
            seen.push(serde_json::from_slice(&body).unwrap());
            if seen.len() <= refusals { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
        }
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/services/T0/B0", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());
    (url, sent)
}

fn notice(number: u32) -> NoticeRow {
    let at: Timestamp = "2025-01-02T03:04:05Z".parse().unwrap();
    NoticeRow {
        id: format!("notice-{number}"),
        topic: TOPIC.to_owned(),
        vault: "arn:aws:backup:eu-central-1:111122223333:backup-vault:main".to_owned(),
        region: "eu-central-1".to_owned(),
        event: "BACKUP_JOB_COMPLETED".to_owned(),
        message: format!("backup {number} is completed"),
        happened_at: at + SignedDuration::from_secs(i64::from(number)),
        noted_at: Timestamp::MAX,
        attempts: 0,
        not_before: at,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_fails_is_tried_again_and_gets_each_notice_once_in_order() {
    let (url, sent) = webhook(1).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("webhook");
    std::fs::write(&file, url).unwrap();
    let config = TopicConfig { webhook_file: Some(file), nats_subject: None };
    let clock = Arc::new(SystemClock::new());
    let around = Around {
        store: StateStore::in_memory(),
        backend: Backend::new(BTreeMap::new(), Duration::from_secs(1), clock.clone(), Arc::new(SystemIds)),
        clock,
        topics: Arc::new(Topics::load(&BTreeMap::from([(TOPIC.to_owned(), config)])).unwrap()),
    };
    for number in [1, 2] {
        let row = notice(number);
        around.store.transact(move |tx| tx.put(&NOTICES, &row.key(), &row)).await.unwrap();
    }
    let stop = CancellationToken::new();
    let delivering = tokio::spawn(run(around.clone(), stop.clone()));
    let left = async || around.store.read(|tx| tx.scan(&NOTICES, &[])).await.unwrap().len();
    let all_gone = async {
        while left().await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_gone).await.unwrap();
    stop.cancel();
    delivering.await.unwrap();
    let sent = sent.lock();
    let ids: Vec<&str> = sent.iter().map(|body| body["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["notice-1", "notice-1", "notice-2"], "refused once, then each once, and none overtakes another");
    assert_eq!(sent[1]["text"], "backup 1 is completed");
    assert_eq!(sent[1]["eventType"], "BACKUP_JOB_COMPLETED");
    assert_eq!(sent[1]["topicArn"], TOPIC);
}
