//! Makes a recovery point exist in another vault, under that vault's key; transfers only what is missing there.
//!
//! It chooses nothing: an order says what, from where, to where. The secrets of both vaults stand in the worker's own
//! configuration.

mod config;
mod orders;
mod service;
mod work;

pub use config::Config;
pub use service::CopyReplicator;
