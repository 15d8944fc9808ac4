//! How results look: JSON documents, tables for people, messages on standard error.

mod jobs;
mod rows;
mod table;
mod units;
mod vaults;

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::args::OutputFormat;
use crate::error::CliError;

pub(crate) use jobs::{job_detail, job_state, recovery_point_detail, test_run_detail, trace_id};
pub(crate) use rows::{
    jobs, next_runs, plan_detail, plans, recovery_points, resources, selections, test_plans, test_runs, vaults,
};
pub(crate) use table::Table;
pub(crate) use units::{bytes, count, millis, moment, percent};
pub(crate) use vaults::vault_detail;

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: OutputFormat,
}

impl Output {
    /// In the given format.
    #[must_use]
    pub(crate) const fn new(format: OutputFormat) -> Self {
        Self { format }
    }

    /// For waits whose progress somebody else tells.
    #[must_use]
    pub(crate) const fn quiet() -> Self {
        Self { format: OutputFormat::Json }
    }

    /// Whether a machine reads.
    #[must_use]
    pub(crate) const fn is_json(self) -> bool {
        matches!(self.format, OutputFormat::Json)
    }

    /// Whether a person watches: progress bars make sense.
    #[must_use]
    pub(crate) fn is_interactive(self) -> bool {
        !self.is_json() && io::stderr().is_terminal()
    }

    /// One result: the value for machines, the text for people.
    ///
    /// # Errors
    /// When standard output cannot be written; a reader that went away is no error.
    pub(crate) fn result<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<(), CliError> {
        let bytes = if self.is_json() {
            let mut bytes = serde_json::to_vec_pretty(value)
                .map_err(|e| CliError::Io { step: "write the result as JSON".to_owned(), source: e.into() })?;
            bytes.push(b'\n');
            bytes
        } else {
            let mut text = text();
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.into_bytes()
        };
        write_out(&bytes)
    }

    /// One of many results: one line.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(crate) fn line<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<(), CliError> {
        let mut bytes = if self.is_json() {
            serde_json::to_vec(value)
                .map_err(|e| CliError::Io { step: "write a result as JSON".to_owned(), source: e.into() })?
        } else {
            text().into_bytes()
        };
        bytes.push(b'\n');
        write_out(&bytes)
    }
}

/// Bytes to standard output.
///
/// # Errors
/// When it cannot be written; a reader that went away is no error.
pub(crate) fn write_out(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(CliError::io("write to standard output")),
    }
}

/// A line to standard error. There is nobody to tell when that fails.
pub(crate) fn note(text: &str) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "{text}");
}

#[cfg(test)]
mod tests;
