//! Disks of a real `qemu-storage-daemon`, written by `qemu-io` while they are captured, through whatever may happen to the
//! capture and to the daemon. `qemu-img compare` is the judge.

#![expect(clippy::unwrap_used, reason = "tests")]

mod bitmaps;
mod captures;
mod chain;
mod daemon;
mod failures;
