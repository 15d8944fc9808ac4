//! Rolls a restored full capture forward to an instant: a server that nobody can reach replays the log from the vault and is
//! promoted there.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use driver_api::{Driver as _, DriverError, RestoreRequest, Restored, StreamSource};
use driver_filesystem::FilesystemDriver;
use jiff::{SignedDuration, Timestamp};
use job_model::{FailureCode, PhaseTiming};

use super::{CONTROL_FILE, bin_dir, judge_target, notes, read_mark, running, server, unsynced, write_mark};
use crate::archive::{Recovery, recovery_settings, serve, settle_archive};
use crate::control_data::ControlData;
use crate::error::PgError;
use crate::facts::PhysicalFacts;
use crate::io_error;
use crate::ledger::Stored;
use crate::options::Options;
use crate::owner::OwnedBy;
use crate::sandbox::{Cluster, PREFIX, Sandbox};
use crate::settings::PostgresSettings;
use crate::tool::User;
use crate::window::{Log, Plan, Target};

/// The program that a recovering server fetches its log with.
const HELPER: &str = "holdfast-wal";

/// Tells a server from where to replay; the server renames it when it begins.
const BACKUP_LABEL: &str = "backup_label";

/// Transactions may stand in the log in another order than their times; by no more than this, or replay ends too early.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(1);

/// What a full capture is rolled forward with.
#[derive(Clone, Copy)]
pub struct Forward<'a> {
    /// The log.
    pub source: &'a dyn StreamSource,
    /// What is durable of it.
    pub stored: &'a Stored,
    /// What it holds.
    pub log: &'a Log,
    /// From where to where.
    pub plan: &'a Plan,
}

impl std::fmt::Debug for Forward<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forward").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// Restores the full capture and rolls it forward. Goes on where an attempt before was.
pub(crate) fn run(
    settings: &PostgresSettings,
    request: &RestoreRequest<'_>,
    forward: &Forward<'_>,
) -> Result<Restored, DriverError> {
    let facts = PhysicalFacts::read(request.description)?;
    let options = Options::parse(request.options)?;
    if !options.tables.is_empty() || options.restore_into.is_some() {
        return Err(crate::logical::restore::refused(
            if options.restore_into.is_some() { "RestoreInto" } else { "Tables" },
            "an instant is restored as a whole server; restore it, and dump what you need from it",
        ));
    }
    let user = User::to_run_as(&settings.run_as)?;
    let bin_dir = bin_dir(settings, &facts)?;
    let helper = helper(settings)?;
    let data = request.target;
    // Everything that decides what will lie there: another instant is another restore.
    let mark = format!("{} {}", request.reader.root().to_hex(), forward.plan.target);
    let failed = |action| move |error| io_error(action, data.display().to_string(), error);
    let mut is_there = read_mark(data).as_deref() == Some(&mark);
    if is_there && unsynced::is_lost(data).map_err(failed("look into"))? {
        if crate::capture::is_served(data) {
            return Err(running(data));
        }
        tracing::warn!(data = %data.display(), "the machine went down during the replay, which begins anew");
        remove_lost(request).map_err(failed("remove what a power cut left of"))?;
        is_there = false;
    }
    let mut restored = if is_there {
        Restored { location: data.to_owned(), ..Restored::default() }
    } else {
        judge_target(data, &facts)?;
        let view = OwnedBy::new(request.reader, &user);
        let restored =
            FilesystemDriver.restore_in_place(&RestoreRequest { reader: &view, ..*request }, CONTROL_FILE)?;
        write_mark(data, &mark, &user)?;
        restored
    };
    if data.join(BACKUP_LABEL).exists() {
        // No server has been started on it yet.
        let failed = failed("prepare for the recovery");
        settle_archive(data).map_err(failed)?;
        for name in ["postgresql.auto.conf", "recovery.signal"] {
            server::give(&data.join(name), &user).map_err(failed)?;
        }
    }
    let was_forward = is_forward(&bin_dir, data)?;
    let began = (request.elapsed_ms)();
    if !was_forward {
        roll(settings, request, forward, &facts, &Programs { bin_dir: &bin_dir, helper: &helper, user: &user })?;
    }
    unsynced::end(data).map_err(failed("sync"))?;
    if !was_forward {
        let duration_ms = (request.elapsed_ms)().saturating_sub(began);
        restored.phases.push(PhaseTiming { phase: "replay".to_owned(), duration_ms });
    }
    if options.start_server {
        let began = (request.elapsed_ms)();
        server::start(settings, request, &facts, &options, &bin_dir, &user)?;
        let duration_ms = (request.elapsed_ms)().saturating_sub(began);
        restored.phases.push(PhaseTiming { phase: "start".to_owned(), duration_ms });
    }
    restored.findings.append(&mut notes(&facts, &options));
    Ok(restored)
}

/// Removes a directory that is worth nothing. Its name goes first: half of a directory could not be told from somebody's own,
/// and what lies where a restore builds its target is made right by the next attempt.
fn remove_lost(request: &RestoreRequest<'_>) -> io::Result<()> {
    let aside = FilesystemDriver.staging(request);
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::rename(request.target, &aside) {
        Ok(()) => {
            fail::fail_point!("restore::before_lost_removal");
            fs::remove_dir_all(&aside)
        }
        // A mount has no other name.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => fs::remove_dir_all(request.target),
        Err(error) => Err(error),
    }
}

/// Up to where a restored data directory was rolled forward; none for one that is as it was captured.
pub(crate) fn rolled_to(data: &Path) -> Option<String> {
    Some(read_mark(data)?.split_once(' ')?.1.to_owned())
}

/// What runs, and as whom.
struct Programs<'a> {
    bin_dir: &'a Path,
    helper: &'a Path,
    user: &'a User,
}

/// Whether the server was promoted already.
fn is_forward(bin_dir: &Path, data: &Path) -> Result<bool, DriverError> {
    if data.join("recovery.signal").exists() || data.join(BACKUP_LABEL).exists() {
        return Ok(false);
    }
    let control = ControlData::read(bin_dir, data)?;
    Ok(matches!(control.state()?, "in production" | "shut down"))
}

fn roll(
    settings: &PostgresSettings,
    request: &RestoreRequest<'_>,
    forward: &Forward<'_>,
    facts: &PhysicalFacts,
    programs: &Programs<'_>,
) -> Result<(), DriverError> {
    let place = Place::make(settings, programs.helper)?;
    let owner = programs.user.must_change().then_some((programs.user.uid, programs.user.gid));
    let recovery = Recovery {
        source: forward.source,
        stored: forward.stored,
        history: &forward.log.history,
        size: forward.log.size,
        plan: forward.plan,
        data: request.target,
        directory: &place.directory,
        owner,
        control: request.control,
    };
    let command = place.directory.join(HELPER).display().to_string();
    let served = serve(&recovery, |socket| -> Result<Result<(), String>, DriverError> {
        let mut told = recovery_settings(forward.plan, &[&command, "fetch"], socket);
        let synced_later = unsynced::begin(request.target)
            .map_err(|error| io_error("note the replay in", request.target.display().to_string(), error))?;
        // What is restored must survive a power cut, at the latest when all is synced; nobody looks before it is promoted; and
        // a server that is promoted without keeping commit timestamps throws those of the source away.
        let fsync = if synced_later { "off" } else { "on" };
        let needed =
            [("fsync", fsync), ("full_page_writes", "on"), ("hot_standby", "off"), ("track_commit_timestamp", "on")];
        told.extend(needed.map(owned));
        let cluster = Cluster::Restored { data: request.target, facts };
        let mut server = Sandbox::start_with(settings, &cluster, programs.bin_dir, programs.user, &told)?;
        let timeout_ms = settings.start_timeout_seconds.saturating_mul(1000);
        match server.wait(request.control, request.elapsed_ms, timeout_ms)? {
            Ok(_) => {
                let reached = reached(&server, forward)?;
                Ok(if server.stop() { reached } else { Err(server.last_words()) })
            }
            Err(not_started) => Ok(Err(not_started.into_words())),
        }
    });
    let (ended, problems) = served.map_err(|error| DriverError::Service {
        code: FailureCode::SnapshotDiffers,
        problem: format!("the log cannot be read from the vault: {error}"),
        source: Some(Box::new(error)),
    })?;
    ended?.map_err(|words: String| {
        let problems = if problems.is_empty() { String::new() } else { format!("{}; ", problems.join("; ")) };
        DriverError::Service {
            code: FailureCode::TargetInvalid,
            problem: format!("the server did not reach {}: {problems}its log ends: {words}", forward.plan.target),
            source: None,
        }
    })
}

/// Holds the last transaction that was replayed against what the log says was committed by then.
fn reached(server: &Sandbox, forward: &Forward<'_>) -> Result<Result<(), String>, DriverError> {
    let Target::Time(target) = &forward.plan.target else { return Ok(Ok(())) };
    let sql = "SELECT coalesce((extract(epoch FROM pg_catalog.pg_last_xact_replay_timestamp()) * 1000000)::bigint, 0)";
    let microseconds: i64 = server.open("template1")?.query(sql)?.parse(0, 0)?;
    let last = Timestamp::from_microsecond(microseconds)
        .map_err(|error| PgError::Unexpected { problem: format!("the last transaction's time: {error}") })?;
    if last > *target {
        return Ok(Err(format!("a transaction of {last} was replayed")));
    }
    Ok(match forward.log.committed_by(&forward.plan.base, *target) {
        Some(known) if last.saturating_add(CLOCK_SLACK).unwrap_or(Timestamp::MAX) < known => {
            Err(format!("the last transaction that was replayed is of {last}, and one of {known} is in the log"))
        }
        _ => Ok(()),
    })
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// The configured helper, or the one beside this program.
fn helper(settings: &PostgresSettings) -> Result<PathBuf, DriverError> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join(HELPER));
    let helper = settings.wal_helper.clone().or_else(beside);
    helper.filter(|path| path.is_file()).ok_or_else(|| DriverError::Service {
        code: FailureCode::ServerNotReady,
        problem: format!(
            "`{HELPER}` is not beside this program; install it there, or name it with the key `postgres.wal_helper`"
        ),
        source: None,
    })
}

/// A directory for the socket and the helper; its name lets a later process remove it when this one is killed.
struct Place {
    directory: PathBuf,
}

impl Place {
    fn make(settings: &PostgresSettings, helper: &Path) -> Result<Self, DriverError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = settings.work_dir().join(format!("{PREFIX}{}-wal-{number}", std::process::id()));
        let failed = |error: io::Error| io_error("make the directory", directory.display().to_string(), error);
        fs::create_dir(&directory).map_err(failed)?;
        let place = Self { directory: directory.clone() };
        // The user that servers run as may not be able to reach the place where this program is installed.
        let copy = directory.join(HELPER);
        fs::copy(helper, &copy).map_err(failed)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(%error, directory = %self.directory.display(), "the directory of a recovery cannot be removed");
        }
    }
}
