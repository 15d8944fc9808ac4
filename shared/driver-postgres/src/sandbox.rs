//! A server that nobody else can reach and that does not outlive whoever started it.
//!
//! It has a Unix socket in a directory of its own and no other way in or out: where this process may make them, it runs in
//! name spaces without network and with the data directory mounted where its user can get at it. It dies with the thread
//! that started it.

mod processes;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use driver_api::{Control, DriverError};

use crate::connection::{Connection, Mode};
use crate::error::PgError;
use crate::facts::PhysicalFacts;
use crate::io_error;
use crate::server::{Credentials, Host, ServerAddress, SslMode};
use crate::settings::PostgresSettings;
use crate::tool::{self, User};

/// Part of the names of its directories: `holdfast-pg-<process>-<number>`.
pub(crate) const PREFIX: &str = "holdfast-pg-";

/// What its processes print, below its directory.
const LOG: &str = "log";

/// Its port: part of its socket's name and nothing else.
const PORT: u16 = 5432;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long it may take to end by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Sandbox {
    /// None until it is started.
    child: Option<Child>,
    directory: PathBuf,
    superuser: String,
}

/// What a server is started on.
pub(crate) enum Cluster<'a> {
    /// A restored data directory.
    Restored {
        /// It.
        data: &'a Path,
        /// What was captured.
        facts: &'a PhysicalFacts,
    },
    /// A new one, with an owner of this name.
    Empty {
        /// Its superuser.
        owner: &'a str,
    },
}

impl Cluster<'_> {
    fn owner(&self) -> String {
        match self {
            Self::Restored { facts, .. } => facts.superuser.clone().unwrap_or_else(|| "postgres".to_owned()),
            Self::Empty { owner } => (*owner).to_owned(),
        }
    }

    fn data(&self) -> Option<&Path> {
        match self {
            Self::Restored { data, .. } => Some(data),
            Self::Empty { .. } => None,
        }
    }

    /// Settings of the source.
    fn settings(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Restored { facts, .. } => Some(&facts.settings),
            Self::Empty { .. } => None,
        }
    }
}

/// Why there is none.
pub(crate) enum NotStarted {
    /// It ended, with its last words: what was restored is no good.
    Ended(String),
    /// It took too long.
    TooSlow(String),
}

impl NotStarted {
    /// Its last words.
    pub(crate) fn into_words(self) -> String {
        match self {
            Self::Ended(words) | Self::TooSlow(words) => words,
        }
    }
}

/// Makes a new cluster.
fn initialise(data: &Path, owner: &str, bin_dir: &Path, user: &User) -> Result<(), DriverError> {
    let mut command = tool::command(&bin_dir.join("initdb"), Some(user));
    command.args(["--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync", "--username", owner, "-D"]).arg(data);
    tool::run(command, "initdb").map(drop).map_err(DriverError::from)
}

impl Sandbox {
    /// Starts one.
    pub(crate) fn start(
        settings: &PostgresSettings,
        cluster: &Cluster<'_>,
        bin_dir: &Path,
        user: &User,
    ) -> Result<Self, DriverError> {
        Self::start_with(settings, cluster, bin_dir, user, &[])
    }

    /// As [`Sandbox::start`], with further settings, which overrule all others.
    pub(crate) fn start_with(
        settings: &PostgresSettings,
        cluster: &Cluster<'_>,
        bin_dir: &Path,
        user: &User,
        further: &[(String, String)],
    ) -> Result<Self, DriverError> {
        let place = settings.work_dir();
        remove_leftovers(&place);
        let isolated = can_isolate();
        let directory = make_directory(&place, user)?;
        let mut sandbox = Self { child: None, directory: directory.clone(), superuser: cluster.owner() };
        match cluster {
            Cluster::Restored { data, .. } if !isolated => must_reach(data, user)?,
            Cluster::Restored { .. } => {}
            Cluster::Empty { owner } => initialise(&directory.join("data"), owner, bin_dir, user)?,
        }
        let failed = |action, error| io_error(action, directory.display().to_string(), error);
        let conf = directory.join("postgresql.conf");
        std::fs::write(&conf, configuration(settings, cluster.settings(), &directory))
            .map_err(|e| failed("write into", e))?;
        std::fs::write(directory.join("pg_hba.conf"), "local all all trust\n").map_err(|e| failed("write into", e))?;
        std::fs::write(directory.join("pg_ident.conf"), "").map_err(|e| failed("write into", e))?;
        let log = File::create(directory.join(LOG)).map_err(|e| failed("write into", e))?;
        let mut command = command(isolated, &directory, cluster.data(), bin_dir, user);
        command.arg("-c").arg(format!("config_file={}", conf.display()));
        if matches!(cluster, Cluster::Restored { facts, .. } if !facts.tablespaces.is_empty()) {
            command.arg("-c").arg("allow_in_place_tablespaces=on");
        }
        for (key, value) in overriding(&directory) {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        for (key, value) in further {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        let error_log = log.try_clone().map_err(|e| failed("write into", e))?;
        command.stdin(Stdio::null()).stdout(log).stderr(error_log);
        let child = command.spawn().map_err(|error| {
            DriverError::from(PgError::Tool {
                tool: "postgres".to_owned(),
                problem: format!("cannot be started: {error}"),
            })
        })?;
        sandbox.child = Some(child);
        Ok(sandbox)
    }

    /// Waits until it has replayed its log and answers. Gives the time it answered at all.
    pub(crate) fn wait(
        &mut self,
        control: &dyn Control,
        elapsed_ms: &dyn Fn() -> u64,
        timeout_ms: u64,
    ) -> Result<Result<u64, NotStarted>, DriverError> {
        let began = elapsed_ms();
        let mut answered = None;
        loop {
            if control.is_stopped() {
                return Err(DriverError::Stopped);
            }
            match self.open("template1") {
                Ok(mut connection) => {
                    let now = elapsed_ms();
                    answered.get_or_insert(now);
                    if connection.query("SELECT pg_is_in_recovery()")?.single()? == "f" {
                        return Ok(Ok(answered.unwrap_or(now)));
                    }
                }
                // It says that it is starting up.
                Err(PgError::Server(_)) => {
                    answered.get_or_insert_with(elapsed_ms);
                }
                Err(_) => {}
            }
            if self.has_ended() {
                return Ok(Err(NotStarted::Ended(self.last_words())));
            }
            if elapsed_ms().saturating_sub(began) > timeout_ms {
                return Ok(Err(NotStarted::TooSlow(self.last_words())));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Opens a connection as the owner of the cluster.
    pub(crate) fn open(&self, database: &str) -> Result<Connection, PgError> {
        self.open_as(&self.superuser, database)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> ServerAddress {
        ServerAddress { host: Host::Socket(self.directory.join("socket")), port: PORT }
    }

    /// Opens a connection as a role.
    pub(crate) fn open_as(&self, role: &str, database: &str) -> Result<Connection, PgError> {
        let server = self.address();
        let credentials =
            Credentials { user: role.to_owned(), password: None, ssl_mode: SslMode::Disable, root_certificate: None };
        Connection::open(&server, &credentials, Mode::Database(database))
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        tool::tail_of(&self.directory.join(LOG))
    }

    /// Shuts it down in order, so that its files can be judged. False when it had to be killed.
    pub(crate) fn stop(&mut self) -> bool {
        if let Some(pid) = self.pid()
            && rustix::process::kill_process(pid, rustix::process::Signal::INT).is_ok()
        {
            let rounds = STOP_TIMEOUT.as_millis() / LOOK_EVERY.as_millis();
            for _ in 0..rounds {
                if self.has_ended() {
                    return true;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        }
        false
    }

    fn pid(&self) -> Option<rustix::process::Pid> {
        rustix::process::Pid::from_raw(i32::try_from(self.child.as_ref()?.id()).ok()?)
    }

    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(Some(_))))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !self.has_ended()
            && let Some(child) = &mut self.child
            && let Err(error) = child.kill().and_then(|()| child.wait().map(drop))
        {
            tracing::warn!(%error, "a server in a sandbox cannot be ended");
        }
        // Whoever starts the next server on this data, or removes it, must come after all of this one's processes.
        if let Err(error) = processes::end_all_that_write_to(&self.directory.join(LOG)) {
            tracing::warn!(%error, directory = %self.directory.display(), "processes of a sandbox cannot be ended");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::warn!(%error, directory = %self.directory.display(), "a sandbox's directory cannot be removed");
        }
    }
}

/// The directory of its socket and configuration: others may pass through, nobody may look.
fn make_directory(place: &Path, user: &User) -> Result<PathBuf, DriverError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);

    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory = place.join(format!("{PREFIX}{}-{number}", std::process::id()));
    let failed = |error: io::Error| io_error("make the directory", directory.display().to_string(), error);
    std::fs::DirBuilder::new().mode(0o711).create(&directory).map_err(failed)?;
    for name in ["data", "socket"] {
        let path = directory.join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        if user.must_change() {
            std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).map_err(failed)?;
        }
    }
    Ok(directory)
}

/// Removes directories of processes that were killed. The first processes of their servers died with them, and what they had
/// started is ended here, if it has not noticed.
fn remove_leftovers(place: &Path) {
    let Ok(entries) = std::fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')?.0.parse::<u32>().ok());
        let is_dead = pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if !is_dead {
            continue;
        }
        let ended = processes::end_all_that_write_to(&entry.path().join(LOG));
        if let Err(error) = ended.and_then(|()| std::fs::remove_dir_all(entry.path())) {
            tracing::debug!(%error, name, "a leftover cannot be removed");
        }
    }
}

/// The program with its name spaces, user and limits.
fn command(isolated: bool, directory: &Path, data: Option<&Path>, bin_dir: &Path, user: &User) -> Command {
    let own = directory.join("data");
    let seen_as = if isolated { own.as_path() } else { data.unwrap_or(&own) };
    let mut command = if isolated {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--ipc", "--propagation", "private", "--"]);
        if let Some(data) = data {
            command.args(["/bin/sh", "-c", "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\""]);
            command.arg("holdfast-sandbox").arg(data).arg(&own);
        }
        command.arg("prlimit");
        command
    } else {
        Command::new("prlimit")
    };
    command.args(["--core=0", "--nofile=8192", "--", "setpriv"]);
    if user.must_change() {
        command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid)).arg("--clear-groups");
    }
    command.args(["--no-new-privs", "--pdeathsig", "KILL", "--"]);
    command.arg(bin_dir.join("postgres")).arg("-D").arg(seen_as);
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.current_dir("/");
    command
}

/// Without a mount of its own the user must get at the data directory through all above it.
fn must_reach(data: &Path, user: &User) -> Result<(), DriverError> {
    let mut test = tool::command(Path::new("/usr/bin/test"), Some(user));
    test.arg("-x").arg(data);
    if test.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(DriverError::Service {
        code: job_model::FailureCode::PermissionDenied,
        problem: format!(
            "user `{}` cannot reach `{}`; let others pass through the directories above it, or give the verifier the right \
             to make name spaces (CAP_SYS_ADMIN)",
            user.name,
            data.display()
        ),
        source: None,
    })
}

/// Whether name spaces can be made here.
fn can_isolate() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--ipc", "--propagation", "private", "--", "/bin/true"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    rustix::process::geteuid().is_root() && command.status().is_ok_and(|status| status.success())
}

fn configuration(settings: &PostgresSettings, source: Option<&BTreeMap<String, String>>, directory: &Path) -> String {
    let mut text = String::new();
    let buffers = format!("{}MB", settings.sandbox_buffers_mib);
    let place = |name: &str| directory.join(name).display().to_string();
    for (key, value) in [
        ("hba_file", place("pg_hba.conf")),
        ("ident_file", place("pg_ident.conf")),
        ("shared_buffers", buffers),
        ("max_connections", "20".to_owned()),
        ("work_mem", "16MB".to_owned()),
        ("maintenance_work_mem", "64MB".to_owned()),
        ("temp_file_limit", "20GB".to_owned()),
        ("max_parallel_workers", "2".to_owned()),
        ("max_wal_size", "1GB".to_owned()),
        ("lc_messages", "C".to_owned()),
    ] {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key} = '{}'", value.replace('\'', "''"));
    }
    for key in ["max_prepared_transactions", "max_locks_per_transaction"] {
        let value = source.and_then(|source| source.get(key));
        if let Some(value) = value.filter(|value| value.bytes().all(|b| b.is_ascii_digit())) {
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    text
}

/// What must hold whatever the source's `postgresql.auto.conf` says: nothing leaves, nothing is loaded, nobody is asked.
fn overriding(directory: &Path) -> Vec<(&'static str, String)> {
    let socket = directory.join("socket").display().to_string();
    let fixed = [
        ("listen_addresses", ""),
        ("ssl", "off"),
        ("archive_mode", "off"),
        ("archive_command", ""),
        ("archive_cleanup_command", ""),
        ("recovery_end_command", ""),
        ("primary_conninfo", ""),
        ("shared_preload_libraries", ""),
        ("session_preload_libraries", ""),
        ("local_preload_libraries", ""),
        ("hot_standby", "off"),
        ("autovacuum", "off"),
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("synchronous_standby_names", ""),
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
    ];
    let mut all: Vec<_> = fixed.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
    all.push(("unix_socket_directories", socket));
    all.push(("port", PORT.to_string()));
    all
}
