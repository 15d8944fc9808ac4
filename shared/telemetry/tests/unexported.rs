//! A process without a collector.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_spans_still_have_ids_and_parents() {
    let resource = telemetry::Resource {
        service: "s".to_owned(),
        instance: "1".to_owned(),
        region: None,
        version: "0".to_owned(),
    };
    let guard = telemetry::init(&telemetry::TelemetryConfig::default(), &resource).unwrap();
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let span = tracing::info_span!("child");
    telemetry::set_parent(&span, Some(given));
    let made = span.in_scope(telemetry::current_traceparent).unwrap();
    assert_eq!(made[..35], given[..35]);
    assert_ne!(made, given);
    telemetry::metrics().lease_lost.add(1, &[]);
    assert!(telemetry::init(&telemetry::TelemetryConfig::default(), &resource).is_err());
    guard.shutdown().await;
}
