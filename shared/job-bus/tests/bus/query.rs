use std::time::Duration;

use futures::StreamExt;
use job_bus::{Publish, QueryError, StartAt};
use job_events::subjects::{self, Service};
use job_model::JobId;
use uuid::Uuid;

use crate::fixture::{Fixture, WAIT, provisioned};

fn stop_of(f: &Fixture, job: JobId) -> Publish {
    Publish {
        subject: subjects::stop(&f.region, job),
        id: format!("stop:{job}"),
        payload: "{}".into(),
        traceparent: None,
        expect_stream: subjects::control_stream(&f.region),
        once_per_subject: false,
    }
}

#[tokio::test]
async fn a_question_is_answered_by_one_of_those_who_serve_it() {
    let f = provisioned().await;
    let asked = subjects::query(&f.region, Service::Planner, "list-jobs");
    assert!(matches!(f.bus.query(&asked, Vec::new(), WAIT).await, Err(QueryError::NobodyAnswers { .. })));
    for _ in 0..2 {
        let mut served = f.bus.serve_queries(&subjects::queries_to(&f.region, Service::Planner)).await.unwrap();
        tokio::spawn(async move {
            while let Some(question) = served.next().await {
                let answer = [&question.payload[..], b" to ", question.subject.as_bytes()].concat();
                question.respond(answer).await.unwrap();
            }
        });
    }
    let answer = f.bus.query(&asked, b"yes".to_vec(), WAIT).await.unwrap();
    assert_eq!(&answer[..], format!("yes to {asked}").as_bytes());
}

#[tokio::test]
async fn a_question_that_nobody_answers_ends_in_time() {
    let f = provisioned().await;
    let asked = subjects::query(&f.region, Service::Planner, "list-jobs");
    let _silent = f.bus.serve_queries(&asked).await.unwrap();
    let error = f.bus.query(&asked, Vec::new(), Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, QueryError::NoAnswer { .. }), "{error}");
}

#[tokio::test]
async fn a_stop_is_heard_at_once_and_found_later() {
    let f = provisioned().await;
    let job = JobId::new(Uuid::from_u128(7));
    assert!(!f.bus.stop_requested(&f.region, job).await.unwrap());
    let mut heard = f.bus.watch_stops(&f.region).await.unwrap();
    f.bus.publish(&stop_of(&f, job)).await.unwrap();
    assert_eq!(heard.next().await, Some(job));
    assert!(f.bus.stop_requested(&f.region, job).await.unwrap());
    assert!(!f.bus.stop_requested(&f.region, JobId::new(Uuid::from_u128(8))).await.unwrap());
}

#[tokio::test]
async fn a_watch_sees_each_message_once_and_in_order() {
    let f = provisioned().await;
    let stream = subjects::fact_stream(&f.region);
    let fact = |job: &str, n: u64| Publish {
        subject: subjects::fact(&f.region, Service::SnapshotWorker, "attempt-progressed", job, 1, n),
        id: format!("{job}-{n}"),
        payload: n.to_string().into(),
        traceparent: None,
        expect_stream: stream.clone(),
        once_per_subject: true,
    };
    for n in 1..=3 {
        f.bus.publish(&fact("a", n)).await.unwrap();
        f.bus.publish(&fact("b", n)).await.unwrap();
    }
    let of_b = format!("hf.v1.{}.fact.*.*.b.*", f.region);
    let mut all = f.bus.watch(&stream, &of_b, StartAt::All).await.unwrap();
    let mut new = f.bus.watch(&stream, &of_b, StartAt::New).await.unwrap();
    f.bus.publish(&fact("b", 4)).await.unwrap();
    for n in 1..=4 {
        let seen = all.next().await.unwrap().unwrap();
        assert_eq!(&seen.payload[..], n.to_string().as_bytes());
    }
    let seen = new.next().await.unwrap().unwrap();
    assert_eq!(&seen.payload[..], b"4");
    let again = f.bus.watch(&stream, &of_b, StartAt::Since(seen.published_at.unwrap())).await;
    assert_eq!(again.unwrap().next().await.unwrap().unwrap().sequence, seen.sequence);
}
