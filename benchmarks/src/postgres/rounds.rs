//! The rows: what every tool does in turn, round by round.

use std::process::{Child, Command, Stdio};

use super::source::{Source, stop, wait_for};
use super::tools::{Bench, Way, archive_command, clear, configure, put_away, version};
use crate::error::BenchError;
use crate::measure::{Sample, measure};
use crate::results::Results;
use crate::settings::{PgRow, PgTool, PostgresRun};

/// Days in the row of incremental backups.
const DAYS: usize = 10;

pub(crate) fn run(run: &PostgresRun) -> Result<Results, BenchError> {
    std::fs::create_dir_all(&run.dir).map_err(BenchError::io("create", &run.dir))?;
    let mut results = Results::load(&run.dir)?;
    for row in &run.rows {
        results.forget(row);
    }
    let tools: Vec<PgTool> = run.tools.iter().copied().filter(|tool| version(*tool).is_some()).collect();
    for tool in &tools {
        results.versions.insert(tool.to_string(), version(*tool).unwrap_or_default());
    }
    configure(&run.dir)?;
    let archives = tools.contains(&PgTool::Pgbackrest);
    let command = if archives { archive_command(&run.dir) } else { "true".to_owned() };
    let source = Source::create(&run.dir, run.scale, &command)?;
    let rounds = Rounds { run, tools, archives, source };
    for row in &run.rows {
        rounds.row(*row, &mut results)?;
        results.save()?;
    }
    clear(&run.dir)?;
    rounds.judge(&results)?;
    Ok(results)
}

pub(super) struct Rounds<'a> {
    pub(super) run: &'a PostgresRun,
    tools: Vec<PgTool>,
    /// Whether the server's archiver hands out segments in the other rows.
    pub(super) archives: bool,
    pub(super) source: Source,
}

/// Killed when dropped.
pub(super) struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        // One that has ended by itself is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Rounds<'_> {
    pub(super) fn benches(&self) -> impl Iterator<Item = Bench<'_>> {
        self.tools.iter().map(|&tool| Bench { tool, way: Way::Usual, dir: &self.run.dir })
    }

    fn row(&self, row: PgRow, results: &mut Results) -> Result<(), BenchError> {
        match row {
            PgRow::Full => self.full(results),
            PgRow::Incremental => self.days(results),
            // Measured with the row before.
            PgRow::Days => Ok(()),
            PgRow::Restore => self.restore(results),
            PgRow::Instant => self.instant(results),
            PgRow::Throughput => self.throughput(results),
        }
    }

    fn full(&self, results: &mut Results) -> Result<(), BenchError> {
        for _ in 0..self.run.rounds {
            for bench in self.benches().flat_map(Bench::ways).filter(|bench| bench.way != Way::Verified) {
                self.prepare(bench)?;
                let mut sample = self.measured(bench, "pg-full", bench.backup(&self.source, true)?)?;
                sample.stored = bench.stored()?;
                self.add(results, PgRow::Full, bench, sample)?;
            }
        }
        Ok(())
    }

    /// Ten days, each with its changes and its backup.
    fn days(&self, results: &mut Results) -> Result<(), BenchError> {
        for bench in self.benches() {
            self.prepare(bench)?;
            self.quietly(bench, bench.backup(&self.source, true)?)?;
        }
        let mut together = vec![Sample::default(); self.tools.len()];
        for _ in 0..DAYS {
            self.source.change_pages()?;
            for (bench, sum) in self.benches().zip(&mut together) {
                let before = bench.stored()?;
                let mut sample = self.measured(bench, "pg-incremental", bench.backup(&self.source, false)?)?;
                sample.stored = bench.stored()?.saturating_sub(before);
                sum.wall += sample.wall;
                sum.cpu += sample.cpu;
                sum.peak = sum.peak.max(sample.peak);
                self.add(results, PgRow::Incremental, bench, sample)?;
            }
        }
        for (bench, mut sample) in self.benches().zip(together) {
            // A tool without incremental backups keeps only its last one here.
            if bench.tool != PgTool::PgBasebackup {
                sample.stored = bench.stored()?;
                self.add(results, PgRow::Days, bench, sample)?;
            }
        }
        Ok(())
    }

    fn restore(&self, results: &mut Results) -> Result<(), BenchError> {
        for bench in self.benches() {
            self.prepare(bench)?;
            for bench in bench.ways().filter(|bench| bench.way != Way::Verified) {
                self.quietly(bench, bench.backup(&self.source, true)?)?;
            }
        }
        for _ in 0..self.run.rounds {
            for bench in self.benches().flat_map(Bench::ways) {
                let sample = self.measured(bench, "pg-restore", bench.restore()?)?;
                self.end_target(bench)?;
                self.add(results, PgRow::Restore, bench, sample)?;
            }
        }
        Ok(())
    }

    fn instant(&self, results: &mut Results) -> Result<(), BenchError> {
        let mut receivers = Vec::new();
        for bench in self.benches() {
            self.prepare(bench)?;
            receivers.extend(self.receiver(bench)?);
            self.quietly(bench, bench.backup(&self.source, true)?)?;
        }
        self.source.write_log(self.run.wal_mib)?;
        let instant = self.source.instant()?;
        self.source.wait_until_received(self.archives, receivers.len())?;
        drop(receivers);
        for _ in 0..self.run.rounds {
            for bench in self.benches() {
                let sample = self.measured(bench, "pg-instant", bench.recover(&instant)?)?;
                self.end_target(bench)?;
                self.add(results, PgRow::Instant, bench, sample)?;
            }
        }
        Ok(())
    }

    /// Starts what receives the log, and waits until the server knows it.
    pub(super) fn receiver(&self, bench: Bench<'_>) -> Result<Option<Receiver>, BenchError> {
        let Some(mut command) = bench.receive(&self.source)? else { return Ok(None) };
        if bench.tool == PgTool::PgBasebackup {
            self.source.execute(
                "SELECT pg_create_physical_replication_slot('pg_receivewal', true) \
                 WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'pg_receivewal')",
            )?;
        }
        let path = self.run.dir.join(format!("{}-receiver.log", bench.tool));
        let log = std::fs::File::create(&path).map_err(BenchError::io("create", &path))?;
        let before = self.source.value("SELECT count(*) FROM pg_stat_replication WHERE flush_lsn IS NOT NULL")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(BenchError::io("run", command.get_program()))?;
        let receiver = Receiver(child);
        wait_for("the receiver", || {
            self.source.execute("SELECT pg_switch_wal()")?;
            let sql = "SELECT count(*) FROM pg_stat_replication WHERE flush_lsn IS NOT NULL";
            Ok(self.source.value(sql)? != before)
        })?;
        // The slot has kept the log since a receiver was there last: that is no part of any measurement.
        let receivers = before.parse::<usize>().map_or(1, |before| before + 1);
        self.source.wait_until_received(false, receivers)?;
        Ok(Some(receiver))
    }

    /// An empty repository.
    pub(super) fn prepare(&self, bench: Bench<'_>) -> Result<(), BenchError> {
        match bench.begin()? {
            Some(command) => self.quietly(bench, command),
            None => Ok(()),
        }
    }

    fn end_target(&self, bench: Bench<'_>) -> Result<(), BenchError> {
        stop(&bench.target().join("data"));
        put_away(&self.run.dir, &bench.target())
    }

    fn add(&self, results: &mut Results, row: PgRow, bench: Bench<'_>, sample: Sample) -> Result<(), BenchError> {
        let (tool, Sample { wall, cpu, peak, stored, .. }) = (bench.name(), sample);
        let (peak, stored) = (peak / 1_000_000, stored / 1_000_000);
        crate::print(&format!("{row} {tool}: {wall:.2} s, CPU {cpu:.2} s, {peak} MB, {stored} MB stored"))?;
        results.add(row, tool, sample);
        results.save()
    }

    /// What it costs is no part of any row.
    pub(super) fn quietly(&self, bench: Bench<'_>, command: Command) -> Result<(), BenchError> {
        self.aside(bench, command).map(drop)
    }

    /// The same, for the seconds it takes.
    pub(super) fn aside(&self, bench: Bench<'_>, mut command: Command) -> Result<f64, BenchError> {
        let log = self.run.dir.join(format!("{}-unmeasured.log", bench.tool));
        measure(&mut command, &log).map(|sample| sample.wall)
    }

    /// What others wrote is on the disk before the clock starts.
    fn measured(&self, bench: Bench<'_>, row: &str, mut command: Command) -> Result<Sample, BenchError> {
        rustix::fs::sync();
        measure(&mut command, &self.run.dir.join(format!("{}-{row}.log", bench.tool)))
    }
}
