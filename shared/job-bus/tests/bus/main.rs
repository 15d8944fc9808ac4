//! The bus against a real nats-server, one child process per test.
//!
//! Goal: what the rest of the system builds on (one open order per resource, no false success of a settling, leases with
//! epochs that only grow, checked settings, least privilege) holds on the server itself, not on a model of it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod connect;
mod deliver;
mod fixture;
mod inspect;
mod lease;
mod permissions;
mod provision;
mod publish;
mod query;
