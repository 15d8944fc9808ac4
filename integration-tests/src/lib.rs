//! What the journeys across processes share: an installation of child processes, an S3 server, an OTLP sink.

pub mod cycle;
pub mod installation;
pub mod jobs;
pub mod mounts;
pub mod otlp_sink;
pub mod s3_store;
pub mod up;
