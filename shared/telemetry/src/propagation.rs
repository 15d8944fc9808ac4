//! W3C trace context as text: how a trace crosses the bus and survives in a store.
//!
//! The source of the format: W3C Recommendation "Trace Context", section 3.2. Only `traceparent` travels; baggage does
//! not cross the border of trust.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The header and the CloudEvents extension.
const TRACEPARENT: &str = "traceparent";

/// The `traceparent` of the current span; none outside of one, or without [`crate::init`].
#[must_use]
pub fn current_traceparent() -> Option<String> {
    traceparent_of(&tracing::Span::current())
}

/// The `traceparent` of a span. Starts the span: its parent cannot be set afterwards.
#[must_use]
pub fn traceparent_of(span: &tracing::Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    context
        .is_valid()
        .then(|| format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8()))
}

/// Makes the remote span the parent of a span that was not entered yet. Nothing happens where the text is absent or no
/// `traceparent`: a sender's broken trace must not stop its message.
pub fn set_parent(span: &tracing::Span, traceparent: Option<&str>) {
    if let Some(remote) = traceparent.and_then(remote) {
        let context = opentelemetry::Context::new().with_remote_span_context(remote);
        if let Err(error) = span.set_parent(context) {
            tracing::trace!(%error, "the parent of a span could not be set");
        }
    }
}

/// Links a span to another one of the same or another trace: a retry to its previous attempt, a handler to its sender.
pub fn add_link(span: &tracing::Span, traceparent: Option<&str>) {
    if let Some(remote) = traceparent.and_then(remote) {
        span.add_link(remote);
    }
}

/// A span without a parent, where a story begins: a schedule that fires, a request without a trace.
#[must_use]
pub fn new_root(name: &str) -> tracing::Span {
    tracing::info_span!(parent: None, "root", otel.name = name)
}

/// Whether a text is a `traceparent` that others can go on with.
#[must_use]
pub fn is_traceparent(text: &str) -> bool {
    remote(text).is_some()
}

fn remote(traceparent: &str) -> Option<SpanContext> {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &carrier);
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_traceparents_are_taken() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-xyz-00f067aa0ba902b7-01",
        ] {
            assert!(!is_traceparent(wrong), "{wrong}");
        }
    }

    #[test]
    fn there_is_no_traceparent_outside_of_a_span() {
        assert_eq!(current_traceparent(), None);
    }
}
