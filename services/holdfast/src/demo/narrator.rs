//! Says on standard error what the demo does, with the time since its start.

use std::time::Instant;

use crate::render::note;

/// Tells a story.
#[derive(Debug)]
pub(super) struct Narrator {
    began: Instant,
}

impl Narrator {
    /// The clock starts.
    pub(super) fn new() -> Self {
        Self { began: Instant::now() }
    }

    /// One line.
    pub(super) fn say(&self, text: &str) {
        note(&format!("{:>4} s  {text}", self.began.elapsed().as_secs()));
    }

    /// Milliseconds since the start.
    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
