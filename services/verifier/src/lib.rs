//! Runs restore tests, checks what came back, judges, and keeps the verdicts.
//!
//! It owns restore testing plans, their runs and their verdicts, and a projection of the recovery points, learned from
//! facts. It knows nothing of schedules of backups, of retention, or of how a restore is made: it asks the planner for
//! restores as anybody could, and takes the order to verify what came of them.
//!
//! Every selected resource is an entry of its run, and every entry ends with a verdict: proven, found different, no
//! eligible recovery point, a restore that failed, or one that never ended. What could not be proven is a failure and
//! never a missing row.

mod ask;
mod config;
mod drivers;
mod handlers;
mod judge;
mod loops;
mod pick;
mod queries;
mod reading;
mod rebuild;
mod runs;
mod service;
mod speak;
mod store;
mod timers;
mod upkeep;
mod verify;

pub use config::{Config, RegionConfig};
pub use service::Verifier;
