//! Restores to a target, as a restore does: plan, base, log, promotion.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use driver_api::NoControl;
use driver_postgres::archive::{Recovery, recovery_settings, serve, settle_archive};
use driver_postgres::ledger::{self, Stored};
use driver_postgres::wal::SegmentSize;
use driver_postgres::window::{Base, Interval, Log, Plan, Refusal, Target, intervals, plan};
use vault_engine::Vault;

use crate::source::{Server, run, wait_for};
use crate::worker::point;

/// What the vault knows.
pub(crate) struct Known {
    pub(crate) stored: Stored,
    pub(crate) log: Log,
}

pub(crate) fn known(vault: &Vault) -> Known {
    let stream = vault.stream(point());
    let facts = ledger::load(&stream).unwrap().facts;
    let size = facts.map_or(SegmentSize::DEFAULT, |facts| facts.segment_size);
    let (stored, log) = ledger::survey(&stream, size).unwrap();
    Known { stored, log }
}

/// Waits until the window reaches beyond an instant: the heartbeat after it is durable.
pub(crate) fn known_beyond(vault: &Vault, bases: &[Base], at: jiff::Timestamp) -> Known {
    let mut seen = known(vault);
    wait_for("the window", 60, || {
        seen = known(vault);
        seen.window(bases).last().is_some_and(|interval| interval.to > at)
    });
    seen
}

impl Known {
    pub(crate) fn window(&self, bases: &[Base]) -> Vec<Interval> {
        intervals(bases, &self.log)
    }

    pub(crate) fn plan(&self, bases: &[Base], target: Target) -> Result<Plan, Refusal> {
        plan(bases, &self.log, &target)
    }
}

/// Restores and looks, or says what the recovering server said.
pub(crate) fn restore<T: Send>(
    vault: &Vault,
    known: &Known,
    plan: &Plan,
    base: &Path,
    directory: &Path,
    look: impl FnOnce(&Server) -> T + Send,
) -> Result<T, String> {
    run(Command::new("install").args(["-d", "-o", "postgres", "-g", "postgres", "-m", "700"]).arg(directory));
    let data = directory.join("data");
    run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(base).arg(&data));
    settle_archive(&data).unwrap();
    run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(&data));
    let owner = run(Command::new("id").args(["-u", "postgres"])).parse().unwrap();
    let group = run(Command::new("id").args(["-g", "postgres"])).parse().unwrap();
    let helper = directory.join("holdfast-wal");
    run(Command::new("install").args(["-m", "755", env!("CARGO_BIN_EXE_holdfast-wal")]).arg(&helper));
    let stream = vault.stream(point());
    let socket = directory.join("wal");
    let recovery = Recovery {
        source: &stream,
        stored: &known.stored,
        history: &known.log.history,
        size: known.log.size,
        plan,
        data: &data,
        directory: &socket,
        owner: Some((owner, group)),
        control: &NoControl,
    };
    let (result, problems) = serve(&recovery, |socket| {
        let mut server = Server::at(&data);
        let settings = recovery_settings(plan, &[&helper.display().to_string(), "fetch"], socket);
        server.start(&settings);
        loop {
            if server.has_ended() {
                return Err(server.log());
            }
            if let Ok(mut connection) = server.connect()
                && connection.query("SELECT pg_is_in_recovery()").is_ok_and(|rows| rows.single().unwrap() == "f")
            {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let seen = look(&server);
        server.kill();
        Ok(seen)
    })
    .unwrap();
    assert!(!data.join("pg_wal/holdfast-ahead").exists(), "log that was fetched ahead stayed");
    std::fs::remove_dir_all(&data).unwrap();
    result.map_err(|log| format!("{}\n{log}", problems.join("; ")))
}
