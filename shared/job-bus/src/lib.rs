//! NATS JetStream: the only crate that links async-nats.
