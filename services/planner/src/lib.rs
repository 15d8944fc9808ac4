//! The only decider: schedules, windows, selection, retention, retries; emits complete orders.
//!
//! [`decide`] and [`handlers`] are pure: state, instant and ids in; changes and messages out. [`shell`] runs them, each
//! step in one transaction of the store with its outbox and inbox, and nothing is acknowledged before that is on disk.
//! The rest listens, waits and looks after what the bus may lose. It knows no vault, no driver and no worker's state.

mod answer;
mod config;
mod consume;
mod decide;
mod handlers;
mod housekeeping;
mod measure;
mod reconcile;
mod retention;
mod serve;
mod service;
mod shell;
mod state;
mod store;
mod timers;
mod windows;
mod wire;

pub use config::{Decisions, PlannerConfig, RegionConfig, VaultsConfig};
pub use service::Planner;

#[cfg(test)]
mod simulation;
