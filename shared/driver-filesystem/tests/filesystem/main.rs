//! File trees captured and restored for real, judged by `rsync`, `du` and `lsattr`. Run as root.

#![expect(clippy::unwrap_used, reason = "tests")]

mod conformance;
mod generated;
mod hostile;
mod oracle;
mod policies;
mod source;
mod torture;
mod tracking;
mod windows;
