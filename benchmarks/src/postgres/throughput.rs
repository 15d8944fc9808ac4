//! The row of what the server's users feel: pgbench beside each tool, and alone right before.

use std::sync::atomic::{AtomicBool, Ordering};

use super::rounds::Rounds;
use super::tools::Bench;
use crate::error::BenchError;
use crate::results::{Beside, Results, middle};
use crate::settings::PgTool;

/// Rates that every tool takes, in bytes a second.
const PACES: std::ops::RangeInclusive<u64> = (32 << 10)..=(1 << 30);

/// What a tool does in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doing {
    /// It receives the log.
    receives: bool,
    backups: Backups,
}

/// Backups that begin in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backups {
    None,
    /// One, with the window.
    One,
    /// One, read so slowly that it takes the whole window.
    Paced,
    /// One after the other without a pause, which nobody does: each begins with a checkpoint.
    Endless,
}

impl Doing {
    const ALL: [Self; 5] = [
        Self { receives: true, backups: Backups::None },
        Self { receives: false, backups: Backups::One },
        Self { receives: true, backups: Backups::One },
        Self { receives: true, backups: Backups::Paced },
        Self { receives: true, backups: Backups::Endless },
    ];

    /// The row that is judged: of ours, a server that is followed and captured.
    const JUDGED: Self = Self { receives: true, backups: Backups::One };

    /// Whether a tool can. A backup of pgBackRest needs the archive, and it reads at no rate.
    fn is_of(self, tool: PgTool) -> bool {
        tool != PgTool::Pgbackrest || (self.receives && self.backups != Backups::Paced)
    }

    /// How it stands in the results.
    fn name(self, tool: PgTool) -> String {
        let receives = match tool {
            _ if !self.receives => "",
            PgTool::Holdfast => ", following",
            PgTool::Pgbackrest => ", archiving",
            PgTool::PgBasebackup => ", pg_receivewal",
        };
        let backups = match self.backups {
            Backups::None => "",
            Backups::One => ", one backup",
            Backups::Paced => ", one backup at a rate",
            Backups::Endless => ", one backup after the other",
        };
        format!("{tool}{receives}{backups}")
    }
}

/// The rate at which so many bytes take so many seconds.
fn pace(bytes: u64, seconds: u64) -> u64 {
    (bytes / seconds.max(1)).clamp(*PACES.start(), *PACES.end())
}

impl Rounds<'_> {
    /// Each measurement is held against pgbench alone right before it, because what a disk can do changes from minute to
    /// minute.
    pub(super) fn throughput(&self, results: &mut Results) -> Result<(), BenchError> {
        results.beside.clear();
        for bench in self.benches() {
            self.prepare(bench)?;
            self.quietly(bench, bench.backup(&self.source, true)?)?;
        }
        for _ in 0..self.run.rounds {
            for bench in self.benches() {
                for doing in Doing::ALL.into_iter().filter(|doing| doing.is_of(bench.tool)) {
                    let beside = self.beside(bench, doing)?;
                    let name = doing.name(bench.tool);
                    crate::print(&format!("pgbench beside {name}: {beside}"))?;
                    results.beside.entry(name).or_default().push(beside);
                    results.save()?;
                }
            }
        }
        self.archive(self.archives)
    }

    fn beside(&self, bench: Bench<'_>, doing: Doing) -> Result<Beside, BenchError> {
        self.archive(false)?;
        self.settle()?;
        let alone = self.source.throughput(self.run.seconds)?;
        let archives = doing.receives && bench.tool == PgTool::Pgbackrest;
        self.archive(archives)?;
        if archives {
            self.source.wait_until_received(true, 0)?;
        }
        let _receiver = if doing.receives { self.receiver(bench)? } else { None };
        self.settle()?;
        let (rate, backups) = self.while_backing_up(bench, doing.backups)?;
        Ok(Beside { alone, rate, seconds: self.run.seconds, backups })
    }

    /// The first change of each page after a checkpoint writes the page to the log: every measurement begins with one, so that
    /// none has the pages of the one before it for nothing.
    fn settle(&self) -> Result<(), BenchError> {
        self.source.execute("CHECKPOINT")?;
        rustix::fs::sync();
        Ok(())
    }

    /// Whether the archiver hands out segments, or only keeps them.
    fn archive(&self, on: bool) -> Result<(), BenchError> {
        let change = if on { "RESET archive_command" } else { "SET archive_command = ''" };
        self.source.execute(&format!("ALTER SYSTEM {change}; SELECT pg_reload_conf()"))
    }

    /// Transactions a second in a window that backups begin in, and the seconds that each of them took. One that goes on
    /// beyond the window is waited for.
    fn while_backing_up(&self, bench: Bench<'_>, backups: Backups) -> Result<(f64, Vec<f64>), BenchError> {
        let rate = match backups {
            Backups::Paced => Some(pace(self.source.bytes()?, self.run.seconds)),
            _ => None,
        };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| -> Result<Vec<f64>, BenchError> {
                let mut taken = Vec::new();
                while backups != Backups::None && (taken.is_empty() || backups == Backups::Endless) {
                    taken.push(self.aside(bench, bench.backup_at(&self.source, false, rate)?)?);
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
                Ok(taken)
            });
            let worked = self.source.throughput(self.run.seconds);
            done.store(true, Ordering::Relaxed);
            let taken = taken.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            worked.and_then(|rate| Ok((rate, taken?)))
        })
    }

    /// The source never waits for us.
    pub(super) fn judge(&self, results: &Results) -> Result<(), BenchError> {
        let judged = Doing::JUDGED.name(PgTool::Holdfast);
        for (name, measured) in &results.beside {
            let percent = middle(measured.iter().map(Beside::percent).collect());
            let is_judged = if *name == judged { ", which is judged" } else { "" };
            crate::print(&format!("pgbench beside {name}: {percent:.1} % of alone{is_judged}"))?;
        }
        let least = f64::from(self.run.least_percent);
        let Some(measured) = results.beside.get(&judged) else { return Ok(()) };
        let percent = middle(measured.iter().map(Beside::percent).collect());
        if percent < least {
            return Err(BenchError::Wrong(format!(
                "pgbench beside {judged} reached {percent:.1} % of what it reaches alone; {least} % are asked for"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paced_backup_takes_the_window() {
        assert_eq!(pace(600 << 20, 30), 20 << 20);
        assert_eq!((pace(1 << 20, 3600), pace(u64::MAX, 0)), (32 << 10, 1 << 30));
    }

    #[test]
    fn every_measurement_has_a_name_of_its_own() {
        let mut names: Vec<String> = PgTool::ALL
            .into_iter()
            .flat_map(|tool| Doing::ALL.into_iter().filter(move |doing| doing.is_of(tool)).map(move |d| d.name(tool)))
            .collect();
        assert_eq!(names.len(), 13);
        assert!(names.contains(&Doing::JUDGED.name(PgTool::Holdfast)));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 13);
    }
}
