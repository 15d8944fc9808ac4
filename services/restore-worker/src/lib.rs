//! Materialises a recovery point in a target, and removes the sandboxes that restore tests leave.
//!
//! It chooses nothing: an order says what, from where, to where. Below which directories it may write stands in the
//! worker's own configuration.

mod config;
mod drivers;
mod instant;
mod orders;
mod removal;
mod sandbox;
mod service;
mod staging;
mod sweeper;
mod work;

pub use config::Config;
pub use service::RestoreWorker;
