//! PostgreSQL servers through a whole installation: followed over a replication slot by a worker that is killed, or out of the
//! directory that they archive to; restored to the second before a table was dropped, and from the copy in the other region.
//! Needs PostgreSQL's programs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod archived;
mod followed;
mod protection;
mod server;
