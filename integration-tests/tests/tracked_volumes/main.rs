//! Volumes through whole installations: what changed is read and nothing else, across processes that die, and nothing is left
//! that nobody knows of. Needs root, mkfs.xfs and qemu-storage-daemon.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod boundaries;
mod served;

// The daemon of the driver's own tests.
#[expect(dead_code, reason = "the driver's own tests use all of it")]
#[path = "../../../shared/driver-qemu/tests/served/daemon.rs"]
mod daemon;

use daemon::{MIB, run};
