//! OpenTelemetry and tracing set-up, names of spans, metrics and fields.
