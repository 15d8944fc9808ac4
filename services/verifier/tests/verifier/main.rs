//! The whole verifier against a real nats-server, a real vault and a real restored tree.
//!
//! Goal: every selected resource ends with the right verdict, good ones proven and bad ones found. Method: the test plays the
//! planner and the restore-worker on the bus; what counts are the facts in the stream and the answers to queries.

#![expect(clippy::unwrap_used, reason = "tests")]

mod planner;
mod plans;
mod proof;
mod vault;
mod world;
