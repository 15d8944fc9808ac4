//! `docs/reference/metrics.md` is made from the table of metrics. `just gen` writes it anew.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use telemetry::METRICS;

fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Generated from shared/telemetry/src/metrics.rs by its test `reference`. `just gen` writes it anew. -->\n\n\
         Every process sends these over OTLP to the collector its configuration names. Units are UCUM. No attribute holds \
         a job or a\nresource, so that the number of series stays small; traces have those.\n\n\
         | metric | kind | unit | attributes | meaning |\n|---|---|---|---|---|\n",
    );
    for metric in METRICS {
        let attributes: Vec<_> = metric.attributes.iter().map(|name| format!("`{name}`")).collect();
        let (attributes, meaning) = (attributes.join(", "), metric.description.trim());
        writeln!(
            page,
            "| `{}` | {} | `{}` | {attributes} | {meaning} |",
            metric.name,
            metric.kind.as_str(),
            metric.unit
        )
        .unwrap();
    }
    page
}

#[test]
fn the_page_of_metrics_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    if std::env::var_os("HOLDFAST_GENERATE").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page(), "docs/reference/metrics.md is stale; type: just gen");
}
