//! Measures the vault engine and its drivers beside restic, rustic, borg, pgBackRest and `pg_basebackup`, on the same data, in one run.

mod data;
mod error;
mod index_load;
mod keeper;
mod measure;
mod postgres;
mod primitives;
mod reflink;
mod results;
mod rounds;
mod sealed;
mod settings;
mod step;
mod tools;
mod tree_floor;
mod volume_floor;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::error::BenchError;
use crate::results::Results;
use crate::settings::{Command, Settings};

fn main() -> ExitCode {
    process_memory::give_large_buffers_back();
    match run(Settings::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(source) = cause {
                text = format!("{text}: {source}");
                cause = source.source();
            }
            // Where even this cannot be written, the exit code says it.
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> Result<(), BenchError> {
    match settings.command {
        Command::Run(run) => print(&rounds::run(&run)?.table()),
        Command::Postgres(run) => print(&postgres::run(&run)?.table()),
        Command::Table { dir } => print(&Results::load(&dir)?.table()),
        Command::Step(step) => step::run(step),
    }
}

/// Writes a line to standard output.
fn print(text: &str) -> Result<(), BenchError> {
    writeln!(std::io::stdout(), "{text}").map_err(BenchError::io("write", "standard output"))
}
