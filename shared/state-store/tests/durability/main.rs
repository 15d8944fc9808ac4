//! What the store promises, on a real disk: processes are killed, files are damaged, disks are full.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod barrier;
mod child;
mod damage;
mod exports;
#[cfg(feature = "failpoints")]
mod failpoints;
mod kill;
mod opening;
mod rows;
