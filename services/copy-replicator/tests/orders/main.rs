//! Orders on a real bus, copies between real vaults, and the facts they lead to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod copies;
mod moves;
mod scene;
