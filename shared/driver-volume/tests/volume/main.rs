//! Volumes captured and restored for real. Run as root: some tests attach loop devices.

mod conformance;
mod devices;
mod images;
mod oracle;
