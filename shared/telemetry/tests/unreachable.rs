//! A collector that takes connections and never answers.

use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_delays_neither_work_nor_the_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = telemetry::TelemetryConfig {
        otlp_endpoint: Some(format!("http://{}", listener.local_addr().unwrap())),
        ..telemetry::TelemetryConfig::default()
    };
    let resource = telemetry::Resource {
        service: "s".to_owned(),
        instance: "1".to_owned(),
        region: None,
        version: "0".to_owned(),
    };
    let guard = telemetry::init(&config, &resource).unwrap();

    let started = Instant::now();
    for number in 0..50_000_u32 {
        let span = tracing::info_span!("step", number);
        span.in_scope(|| tracing::debug!("working"));
        telemetry::metrics().bytes_read.add(1, &[]);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());

    let started = Instant::now();
    guard.shutdown().await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    drop(listener);
}
