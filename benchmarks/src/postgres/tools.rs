//! How each tool is told to do the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::source::{Source, own};
use super::{as_postgres, program, shell_as_postgres, word};
use crate::error::BenchError;
use crate::measure::bytes_below;
use crate::settings::{PgTool, name};
use crate::step::Kind;
use crate::tools::{remove, said, step};

/// The name under which pgBackRest knows the server.
const STANZA: &str = "bench";

/// Where `pg_basebackup` puts archives, in its directory.
const PACKED: &str = "packed";

/// What pgBackRest is told besides where things are. As near to what ours does as it can: two processes, the same
/// compression. It does not encrypt, ours does.
const PGBACKREST: &str = "\
process-max=2
compress-type=zst
compress-level=1
start-fast=y
repo1-bundle=y
repo1-retention-full=99
log-level-console=warn
log-level-file=off
";

/// Its first line about itself; none where it is not installed.
pub(super) fn version(tool: PgTool) -> Option<String> {
    match tool {
        PgTool::Holdfast => Some(format!("holdfast {}", env!("CARGO_PKG_VERSION"))),
        PgTool::Pgbackrest => said("pgbackrest", "version"),
        PgTool::PgBasebackup => said(&program("pg_basebackup"), "--version"),
    }
}

/// How a backup is kept and brought back. Only `pg_basebackup` has more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Its defaults: of `pg_basebackup` a plain directory, which is copied and not looked at.
    Usual,
    /// The same directory, every file of which is compared with the manifest before it is copied.
    Verified,
    /// Archives that are compressed, with what the others compress with.
    Packed,
}

/// A tool, and the directory where all of them work.
#[derive(Clone, Copy)]
pub(super) struct Bench<'a> {
    pub(super) tool: PgTool,
    pub(super) way: Way,
    pub(super) dir: &'a Path,
}

/// Where goes what is in the way.
const AWAY: &str = "away";

/// Takes what is in the way out of it, without removing it: where ext4 has just deleted many files it is slow to make new
/// ones, and that would be measured.
pub(super) fn put_away(dir: &Path, path: &Path) -> Result<(), BenchError> {
    let away = dir.join(AWAY);
    fs::create_dir_all(&away).map_err(BenchError::io("create", &away))?;
    let count = fs::read_dir(&away).map_err(BenchError::io("list", &away))?.count();
    match fs::rename(path, away.join(count.to_string())) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BenchError::io("rename", path)(error)),
        _ => Ok(()),
    }
}

/// Removes all that was put away.
pub(super) fn clear(dir: &Path) -> Result<(), BenchError> {
    remove(&dir.join(AWAY))
}

/// What the archiver of the server runs.
pub(super) fn archive_command(dir: &Path) -> String {
    format!("pgbackrest --config={} --stanza={STANZA} archive-push %p", configuration(dir).display())
}

fn configuration(dir: &Path) -> PathBuf {
    dir.join("pgbackrest.conf")
}

/// Writes the configuration of pgBackRest, before there is a server.
pub(super) fn configure(dir: &Path) -> Result<(), BenchError> {
    let path = configuration(dir);
    let below = |name: &str| dir.join(name).display().to_string();
    for name in ["pgbackrest", "pgbackrest-spool", "pgbackrest-lock", "pg-basebackup"] {
        put_away(dir, &dir.join(name))?;
        own(&dir.join(name))?;
    }
    // Its asynchronous archiver would hold a lock that keeps backups from beginning; only what is read ahead counts.
    let text = format!(
        "[global:archive-get]\narchive-async=y\n\n[global]\n{PGBACKREST}repo1-path={}\nspool-path={}\nlock-path={}\n\n[{STANZA}]\npg1-path={}\npg1-socket-path={}\n",
        below("pgbackrest"),
        below("pgbackrest-spool"),
        below("pgbackrest-lock"),
        below("source/data"),
        below("source"),
    );
    fs::write(&path, text).map_err(BenchError::io("write", &path))
}

impl<'a> Bench<'a> {
    /// All ways of the same tool.
    pub(super) fn ways(self) -> impl Iterator<Item = Bench<'a>> {
        let others: &[Way] = if self.tool == PgTool::PgBasebackup { &[Way::Verified, Way::Packed] } else { &[] };
        std::iter::once(Way::Usual).chain(others.iter().copied()).map(move |way| Bench { way, ..self })
    }
}

impl Bench<'_> {
    /// How it stands in the results.
    pub(super) fn name(&self) -> String {
        match self.way {
            Way::Usual => name(self.tool),
            Way::Verified => format!("{}, verified", name(self.tool)),
            Way::Packed => format!("{}, tar and zstd", name(self.tool)),
        }
    }

    /// Where backups lie.
    pub(super) fn repository(&self) -> PathBuf {
        self.dir.join(name(self.tool))
    }

    /// A restored server's own directory; its data is below.
    pub(super) fn target(&self) -> PathBuf {
        self.dir.join(format!("{}-restored", name(self.tool)))
    }

    /// Bytes of backups. Of pgBackRest without the archive, which grows with what happens between the backups.
    pub(super) fn stored(&self) -> Result<u64, BenchError> {
        match self.tool {
            PgTool::Holdfast | PgTool::PgBasebackup => bytes_below(&self.repository()),
            PgTool::Pgbackrest => bytes_below(&self.repository().join("backup")),
        }
    }

    fn pgbackrest(&self, words: &[&str]) -> Command {
        let mut command = as_postgres("pgbackrest");
        command.arg(format!("--config={}", configuration(self.dir).display())).arg(format!("--stanza={STANZA}"));
        command.args(words);
        command
    }

    /// Drops all backups and makes an empty place for new ones; none where there is nothing to prepare.
    pub(super) fn begin(&self) -> Result<Option<Command>, BenchError> {
        let repository = self.repository();
        match self.tool {
            PgTool::Holdfast => {
                put_away(self.dir, &repository)?;
                remove(&repository.with_extension("last.json"))?;
                step(&["init"], &[&repository]).map(Some)
            }
            PgTool::Pgbackrest => {
                // What the archiver has pushed goes with it; a new backup needs none of it.
                put_away(self.dir, &repository)?;
                own(&repository)?;
                Ok(Some(self.pgbackrest(&["stanza-create"])))
            }
            PgTool::PgBasebackup => {
                put_away(self.dir, &repository)?;
                own(&repository).map(|()| None)
            }
        }
    }

    /// A backup: full, or the least that brings the last one up to date. `pg_basebackup` has full ones only, each in a
    /// directory of its own.
    pub(super) fn backup(&self, source: &Source, full: bool) -> Result<Command, BenchError> {
        self.backup_at(source, full, None)
    }

    /// The same, reading at most so many bytes in a second. pgBackRest has nothing like it.
    pub(super) fn backup_at(&self, source: &Source, full: bool, rate: Option<u64>) -> Result<Command, BenchError> {
        match self.tool {
            PgTool::Holdfast => {
                let sockets = source.sockets.display();
                let location = PathBuf::from(format!("postgresql:///?host={sockets}&profile=main"));
                let mut command = step(&["backup"], &[])?;
                command.args(rate.map(|bytes| format!("--read-bytes-per-second-max={bytes}")));
                command.arg(self.repository()).arg(name(Kind::Postgres)).arg(location);
                Ok(command)
            }
            PgTool::Pgbackrest => Ok(self.pgbackrest(&["backup", if full { "--type=full" } else { "--type=incr" }])),
            PgTool::PgBasebackup => {
                let place = self.repository().join(if self.way == Way::Packed { PACKED } else { "base" });
                put_away(self.dir, &place)?;
                let mut command = source.client("pg_basebackup");
                command.args(["-c", "fast", "-X", "stream", "-D"]).arg(place);
                if self.way == Way::Packed {
                    command.args(["-Ft", "--compress=client-zstd:1"]);
                }
                command.args(rate.map(|bytes| format!("--max-rate={}", bytes >> 10)));
                Ok(command)
            }
        }
    }

    /// Restores the newest backup, starts a server on it, and waits until it was promoted.
    pub(super) fn restore(&self) -> Result<Command, BenchError> {
        let data = self.empty_target()?;
        match self.tool {
            PgTool::Holdfast => {
                let mut command = step(&["restore"], &[])?;
                command.args(self.options()).arg(self.repository()).arg(name(Kind::Postgres)).arg(data);
                Ok(command)
            }
            PgTool::Pgbackrest => Ok(self.restored_by_pgbackrest(&data, "--type=immediate --target-action=promote")),
            PgTool::PgBasebackup => Ok(match self.way {
                Way::Usual => self.copied(&data, ""),
                Way::Verified => self.verified(&data),
                Way::Packed => self.unpacked(&data),
            }),
        }
    }

    /// The same up to an instant, with the log that was received or archived.
    pub(super) fn recover(&self, instant: &str) -> Result<Command, BenchError> {
        let data = self.empty_target()?;
        match self.tool {
            PgTool::Holdfast => {
                let mut command = step(&["recover"], &[])?;
                command.args(self.options()).arg(self.repository()).arg(data).arg(instant);
                Ok(command)
            }
            PgTool::Pgbackrest => {
                let target = format!("--type=time --target='{}' --target-action=promote", plain(instant));
                Ok(self.restored_by_pgbackrest(&data, &target))
            }
            PgTool::PgBasebackup => {
                let log = self.repository().join("log").display().to_string();
                let settings = format!(
                    "touch {data}/recovery.signal; cat >> {data}/postgresql.auto.conf <<'END'\n\
                     restore_command = 'cp {log}/%f %p || cp {log}/%f.partial %p'\n\
                     recovery_target_time = '{instant}'\nrecovery_target_action = 'promote'\nEND\n",
                    data = word(&data),
                    instant = plain(instant),
                );
                Ok(self.copied(&data, &settings))
            }
        }
    }

    fn options(&self) -> [String; 2] {
        ["StartServer=true".to_owned(), format!("SocketDirectory={}", self.target().display())]
            .map(|option| format!("--option={option}"))
    }

    fn empty_target(&self) -> Result<PathBuf, BenchError> {
        let target = self.target();
        put_away(self.dir, &target)?;
        own(&target)?;
        Ok(target.join("data"))
    }

    fn restored_by_pgbackrest(&self, data: &Path, target: &str) -> Command {
        let configuration = word(&configuration(self.dir));
        let restore =
            format!("pgbackrest --config={configuration} --stanza={STANZA} restore --pg1-path={} {target}", word(data));
        shell_as_postgres(&format!("{restore}\n{}", self.start(data)))
    }

    fn copied(&self, data: &Path, settings: &str) -> Command {
        let copy = format!("cp -a {} {}\n{settings}", word(&self.repository().join("base")), word(data));
        self.synced_and_started(data, &copy)
    }

    fn verified(&self, data: &Path) -> Command {
        let (base, verify) = (word(&self.repository().join("base")), program("pg_verifybackup"));
        self.synced_and_started(data, &format!("{verify} --quiet {base}\ncp -a {base} {}\n", word(data)))
    }

    fn unpacked(&self, data: &Path) -> Command {
        let (packed, data_word) = (word(&self.repository().join(PACKED)), word(data));
        // The log comes in an archive of its own, which is not compressed.
        let unpack = format!(
            "mkdir -m 700 {data_word}\nzstd -dcq {packed}/base.tar.zst | tar -xf - -C {data_word}\n\
             tar -xf {packed}/pg_wal.tar -C {data_word}/pg_wal\n"
        );
        self.synced_and_started(data, &unpack)
    }

    /// As durable as what the others restore.
    fn synced_and_started(&self, data: &Path, restore: &str) -> Command {
        shell_as_postgres(&format!("{restore}sync -f {}\n{}", word(data), self.start(data)))
    }

    /// The end of both: a server that nobody archives from, and that is no more in recovery.
    fn start(&self, data: &Path) -> String {
        let sockets = self.target().display().to_string();
        let start = format!(
            "{} start -w -s -t 3600 -D {} -l '{sockets}/log' -o \"-c archive_mode=off -c unix_socket_directories='{sockets}'\"\n",
            program("pg_ctl"),
            word(data)
        );
        // `pg_ctl` does not wait for the end of a recovery that answers queries before.
        let promoted = format!(
            "until [ \"$({} -h '{sockets}' -U postgres -d postgres -Atc 'SELECT pg_is_in_recovery()')\" = f ]; do sleep 0.05; done\n",
            program("psql")
        );
        start + &promoted
    }

    /// Receives the log until it is killed; none where the server's archiver sends it.
    pub(super) fn receive(&self, source: &Source) -> Result<Option<Command>, BenchError> {
        match self.tool {
            PgTool::Holdfast => {
                let spool = self.dir.join("holdfast-spool");
                step(&["follow"], &[&self.repository(), &source.sockets, &spool]).map(Some)
            }
            PgTool::Pgbackrest => Ok(None),
            PgTool::PgBasebackup => {
                let log = self.repository().join("log");
                own(&log)?;
                let mut command = source.client("pg_receivewal");
                command.args(["--synchronous", "-S", "pg_receivewal", "-D"]).arg(log);
                Ok(Some(command))
            }
        }
    }
}

/// An instant as PostgreSQL and pgBackRest read it.
fn plain(instant: &str) -> String {
    instant.replace('T', " ").replace('Z', "+00")
}
