//! Orders carried out against a real nats-server.
//!
//! Goal: no effect twice, no order lost, no result lost. Method: the server and its streams are real, the work is a script
//! of the test, and what counts are the facts in the stream and what is left of the order. The deaths of whole processes are
//! those of `examples/one_worker.rs`, which dies at the failpoint it is told.

#![expect(clippy::unwrap_used, reason = "tests")]

mod deaths;
mod fixture;
mod leases;
mod lives;
mod proxy;
