//! Volumes captured and restored for real. Run as root: some tests attach loop devices.

#![expect(clippy::unwrap_used, reason = "tests")]

mod conformance;
mod devices;
mod images;
mod older_chunks;
mod oracle;
mod tracking;
