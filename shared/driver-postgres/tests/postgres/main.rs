//! The driver against real servers of PostgreSQL 15 and 17, restored and judged by PostgreSQL's own programs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod captures;
mod cluster;
mod conformance;
mod delta_kills;
mod deltas;
mod gentle;
mod incremental;
mod logical;
mod points;
mod proofs;
mod refusals;
mod restored;
mod restores;
