//! Turns a resource into a recovery point, follows resources, makes vaults, removes recovery points and checks vaults.
//!
//! It chooses nothing: an order says what, from where, to where. What an order cannot say stands in the worker's own
//! configuration: the secrets of vaults, the commands of hooks, and the directories it may read.

mod config;
mod drivers;
mod following;
mod kept;
mod orders;
mod service;
mod work;

pub use config::{Config, TrackingConfig};
pub use following::FollowConfig;
pub use service::SnapshotWorker;
