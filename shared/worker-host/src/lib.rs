//! What the three workers share: their configuration, their composition and the directories they may touch.
//!
//! A worker is: its durable state, a connection to its region's bus, the relay of its outbox, the loop that takes orders,
//! and upkeep (exports, pruning, health). What it does with an order is its own.

mod config;
mod roots;
#[cfg(feature = "testing")]
pub mod testing;
mod upkeep;
mod worker;

pub use config::{WorkerSettings, check_region, check_slots, default_nats};
pub use roots::{OutsideRoots, check_roots, within};
pub use worker::Worker;
