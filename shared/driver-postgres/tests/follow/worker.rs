//! The follower as a process of its own, so that it can be killed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use driver_api::NoControl;
use driver_postgres::follow::{FollowSettings, FollowStatus, Follower, LogSource};
use driver_postgres::server::{Host, ServerAddress};
use job_model::{RecoveryPointId, VaultAccess};
use vault_engine::{KeyProfile, Profiles, StreamSubject, Surroundings, Vault};

use crate::source::{Server, credentials, wait_for};

pub(crate) const SLOT: &str = "holdfast_test";

/// The clock of the machine.
pub(crate) fn now() -> jiff::Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    jiff::Timestamp::new(now.tv_sec, now.tv_nsec as i32).unwrap()
}

/// The continuous recovery point of the tests.
pub(crate) fn point() -> RecoveryPointId {
    "0192f0c1-2345-7000-8000-000000000001".parse().unwrap()
}

fn access(directory: &Path) -> (VaultAccess, Profiles) {
    let password = directory.join("password");
    std::fs::write(&password, "a secret").unwrap();
    let key = KeyProfile { password_file: Some(password), ..KeyProfile::default() };
    let access = VaultAccess {
        arn: "arn:aws:backup:eu-north-1:000000000000:backup-vault:main".parse().unwrap(),
        location: format!("file://{}", directory.join("vault").display()),
        key_profile: "main".to_owned(),
        repository_id: None,
    };
    (access, Profiles { keys: [("main".to_owned(), key)].into(), ..Profiles::default() })
}

/// Makes the vault of a test, or opens it.
pub(crate) fn vault(directory: &Path) -> Vault {
    let (access, profiles) = access(directory);
    let surroundings = Surroundings::new(now);
    match Vault::open(&access, &profiles, &surroundings) {
        Ok(vault) => vault,
        Err(_) => Vault::create(&access, &profiles, &surroundings).unwrap(),
    }
}

/// What the stream belongs to.
pub(crate) fn subject() -> StreamSubject {
    StreamSubject {
        recovery_point_id: point(),
        recovery_point: format!("arn:aws:backup:eu-north-1:000000000000:recovery-point:{}", point()).parse().unwrap(),
        resource: "arn:aws:rds:eu-north-1:000000000000:db:test".parse().unwrap(),
        resource_type: job_model::ResourceType::Rds,
        location: "postgresql://test".to_owned(),
    }
}

/// A running follower; killed when dropped.
pub(crate) struct Worker {
    child: Child,
}

impl Worker {
    /// Starts one. Each has a higher epoch than the one before.
    pub(crate) fn start(directory: &Path, server: &Server, epoch: u64) -> Self {
        Self::spawn(directory, server, epoch, "spool")
    }

    /// Starts one beside another that still runs.
    pub(crate) fn start_beside(directory: &Path, server: &Server, epoch: u64) -> Self {
        Self::spawn(directory, server, epoch, "other-spool")
    }

    /// Starts one that takes the log from an archive, and that dies where `failpoints` says.
    pub(crate) fn start_archived(
        directory: &Path,
        server: &Server,
        epoch: u64,
        archive: &Path,
        failpoints: &str,
    ) -> Self {
        let mut command = Self::command(directory, server, epoch, "spool");
        command.env("FOLLOW_ARCHIVE", archive).env("FAILPOINTS", failpoints);
        Self { child: command.spawn().unwrap() }
    }

    fn spawn(directory: &Path, server: &Server, epoch: u64, spool: &str) -> Self {
        Self { child: Self::command(directory, server, epoch, spool).spawn().unwrap() }
    }

    fn command(directory: &Path, server: &Server, epoch: u64, spool: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "worker::the_follower_of_a_test", "--ignored", "--nocapture"])
            .env("FOLLOW_DIRECTORY", directory)
            .env("FOLLOW_SOCKETS", &server.sockets)
            .env("FOLLOW_EPOCH", epoch.to_string())
            .env("FOLLOW_SPOOL", spool)
            .stdout(Stdio::null());
        command
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until all that the server has written so far is acknowledged.
pub(crate) fn wait_until_durable(server: &Server) {
    let end = server.value("SELECT pg_current_wal_lsn()");
    wait_for("the follower", 60, || {
        server.value(&format!(
            "SELECT coalesce(bool_or(flush_lsn >= '{end}'), false) FROM pg_stat_replication WHERE application_name = 'holdfast'"
        )) == "t"
    });
}

/// Keeps how long bytes took from the server's hand until they were durable.
fn note(directory: &Path, status: &FollowStatus) {
    let mut delays = std::fs::OpenOptions::new().create(true).append(true).open(directory.join("delays")).unwrap();
    writeln!(delays, "{}", status.delay.as_millis()).unwrap();
    // Renamed, so that nobody reads half of it.
    std::fs::write(directory.join("status.new"), format!("{status:?}")).unwrap();
    std::fs::rename(directory.join("status.new"), directory.join("status")).unwrap();
}

/// What the follower said last of where it is.
pub(crate) fn status(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("status")).unwrap_or_default()
}

/// Those delays in milliseconds, sorted.
pub(crate) fn delays(directory: &Path) -> Vec<i64> {
    let text = std::fs::read_to_string(directory.join("delays")).unwrap();
    let mut delays: Vec<i64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    delays.sort_unstable();
    delays
}

#[test]
#[ignore = "the body of a child process of the other tests"]
fn the_follower_of_a_test() {
    let Some(directory) = std::env::var_os("FOLLOW_DIRECTORY").map(PathBuf::from) else { return };
    let sockets = PathBuf::from(std::env::var_os("FOLLOW_SOCKETS").unwrap());
    let epoch = std::env::var("FOLLOW_EPOCH").unwrap().parse().unwrap();
    let _planned_crash = fail::FailScenario::setup();
    if std::env::var("FAILPOINTS").is_ok_and(|points| !points.is_empty()) {
        // As kill -9 would.
        std::panic::set_hook(Box::new(|_| std::process::abort()));
    }
    let vault = vault(&directory);
    let mut settings = FollowSettings::new(
        ServerAddress { host: Host::Socket(sockets), port: 5432 },
        credentials(),
        "postgres".to_owned(),
        SLOT.to_owned(),
        directory.join(std::env::var("FOLLOW_SPOOL").unwrap()),
    );
    // Small, so that a short test commits often.
    settings.commit_bytes = 16 << 20;
    if let Some(archive) = std::env::var_os("FOLLOW_ARCHIVE") {
        settings.log = LogSource::Archive(archive.into());
        settings.missing_after = Duration::from_secs(2);
        settings.commit_bytes = 2 << 20;
    }
    loop {
        // A worker that was succeeded ends here.
        let store = vault.follow(subject(), epoch, &NoControl).unwrap();
        let follower = Follower {
            settings: &settings,
            store: &store,
            control: &NoControl,
            now: &now,
            keep_from: &|| std::fs::read_to_string(directory.join("keep-from")).ok()?.parse().ok(),
            watch: &|status| note(&directory, status),
        };
        let error = follower.run().unwrap_err();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        eprintln!("follower {epoch}: {text}");
        assert!(error.is_passing(), "{text}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
