//! Writes fetched chunks to an image file or a device.

use std::sync::Arc;

use driver_api::{ContentSink, Control, Runs, Uncached};
use job_model::Progress;

/// Bytes that are written at once: some chunks that were captured one after the other and lie in the pack so. An eighth of the
/// requests, each from one huge page, is worth more than the copy takes.
const RUN_BYTES: usize = 2 << 20;
/// Runs that a thread gathers side by side. A capture stores each extent's chunks in a row.
const RUNS_MAX: usize = 1;

pub(super) struct Sink<'a> {
    file: Arc<Uncached>,
    runs: Runs,
    control: &'a dyn Control,
}

impl<'a> Sink<'a> {
    pub(super) fn new(file: Arc<Uncached>, control: &'a dyn Control) -> Self {
        Self { file, runs: Runs::new(RUNS_MAX, RUN_BYTES), control }
    }

    /// Writes what is left.
    pub(super) fn finish(self) -> std::io::Result<()> {
        self.runs.finish()
    }
}

impl ContentSink for Sink<'_> {
    fn write_at(&self, file: usize, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        if bytes.len() < RUN_BYTES {
            self.runs.write_at(file, || Ok(Arc::clone(&self.file)), offset, bytes)?;
        } else {
            self.file.write_all_at(bytes, offset)?;
        }
        self.control.advance(Progress { bytes_done: bytes.len() as u64, ..Progress::default() });
        Ok(())
    }
}
