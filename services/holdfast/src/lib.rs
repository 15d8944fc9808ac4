//! The operator's binary: the command line, all services as child processes, and the demo.
//!
//! Knows the services only by their names, configurations and messages; what it shows comes from facts and queries, never
//! from another process's files. The exceptions open a vault as restic would: `recovery-point browse`,
//! `vault key`, `vault keep` and `vault scrub`.

mod api;
pub mod args;
mod client;
mod commands;
mod connection;
mod demo;
mod endpoint;
mod error;
pub mod exit;
mod follow;
mod names;
mod render;
mod rpo;
mod service;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use service_host::{SystemClock, SystemIds};

use crate::args::{Cli, Command, OutputFormat};
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::Output;

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    process_memory::give_large_buffers_back();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors; clap prints each where it belongs.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            return match error.print() {
                Ok(()) => exit.into(),
                Err(_) => Exit::Internal.into(),
            };
        }
    };
    match cli.command {
        Command::Service(args) => service::run(&args),
        Command::Guard(args) => report(Err(up::guard(&args)), OutputFormat::Human),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "holdfast", &mut text);
            report(render::write_out(&text), OutputFormat::Human)
        }
        _ => {
            let format = match &cli.command {
                Command::Demo(args) if args.json => OutputFormat::Json,
                _ => cli.output,
            };
            report(on_runtime(cli, Output::new(format)), format)
        }
    }
}

/// Runs what speaks to the bus or supervises.
fn on_runtime(cli: Cli, output: Output) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(CliError::io("start the runtime"))?;
    let clock = SystemClock::new();
    let state = connection::state_dir(cli.connection.state.as_deref(), |name| std::env::var(name).ok());
    // The root future runs on the main thread. `up` relies on that: the kernel ties a child's parent-death signal to
    // the thread that started it.
    runtime.block_on(async {
        match cli.command {
            Command::Up(args) => up::run(&args, &cli.connection, &state, &clock, output).await,
            Command::Demo(args) => demo::run(&args, &cli.connection, &clock, output).await,
            command => {
                let destination = connection::destination(&cli.connection, &state)?;
                let client = client::Client::connect(destination, &clock, &SystemIds).await?;
                commands::run(command, &client, output).await
            }
        }
    })
}

/// The exit code; an error is told on standard error first, to machines as a JSON object.
fn report(result: Result<(), CliError>, format: OutputFormat) -> ExitCode {
    let Err(error) = result else { return Exit::Ok.into() };
    match format {
        OutputFormat::Human => render::note(&format!("holdfast: {}", error.chain())),
        OutputFormat::Json => {
            let document = serde_json::json!({ "error": error.chain(), "exit_code": error.exit().code() });
            render::note(&document.to_string());
        }
    }
    error.exit().into()
}
