//! A restore to an instant whose machine goes down during the replay: the server that replays does not wait for the disk, so
//! nothing of what it has written counts afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::ThreadId;
use std::time::Instant;

use driver_api::{
    CaptureRequest, Control, Driver as _, DriverError, NoControl, QuiesceOutcome, RestoreRequest, Restored, Side,
};
use driver_postgres::facts::PhysicalFacts;
use driver_postgres::server::{CredentialProfile, SslMode};
use driver_postgres::window::{Base, Plan, Target};
use driver_postgres::{Forward, PostgresDriver, PostgresSettings};
use jiff::Timestamp;
use job_model::{FailureCode, OverwritePolicy, Progress, RecoveryPointId, ResourceType};
use vault_engine::{
    DESCRIPTION_SCHEMA, Reader, RecoveryPointDescription, SnapshotInput, read_description, recovery_point_tag,
    snapshot_root,
};

use crate::restored::{Known, known_beyond};
use crate::scene::Scene;
use crate::source::{Server, is_possible, run, wait_for};
use crate::worker::{now, point};

/// Says in the data directory that it is not on the disk, and since which start of the machine.
const NOTE: &str = "holdfast-unsynced";

fn driver() -> PostgresDriver {
    let helper = PathBuf::from(env!("CARGO_BIN_EXE_holdfast-wal"));
    let mut settings = PostgresSettings { count_rows: false, wal_helper: Some(helper), ..PostgresSettings::default() };
    let profile =
        CredentialProfile { user: "postgres".to_owned(), ssl_mode: SslMode::Disable, ..CredentialProfile::default() };
    settings.profiles.insert("test".to_owned(), profile);
    PostgresDriver::new(settings)
}

/// A full capture in the scene's vault, as a worker makes one.
fn capture(scene: &Scene) -> Reader<'_> {
    let location = format!("postgresql:///?host={}&profile=test", scene.server.sockets.display());
    let writer = scene.vault.writer(&NoControl).unwrap();
    let started_at = now();
    let mut capture = driver()
        .capture(CaptureRequest {
            location: &location,
            writer: &writer,
            parent: None,
            quiesced: QuiesceOutcome::NotQuiesced,
            tracking: None,
            parallelism: 2,
            control: &NoControl,
            now: &now,
        })
        .unwrap();
    let id: RecoveryPointId = "0192f0c1-2345-7000-8000-000000000002".parse().unwrap();
    let sidecars = std::mem::take(&mut capture.sidecars);
    let description = RecoveryPointDescription {
        schema: DESCRIPTION_SCHEMA,
        recovery_point: format!("arn:aws:backup:eu-north-1:000000000000:recovery-point:{id}").parse().unwrap(),
        resource: "arn:aws:rds:eu-north-1:000000000000:db:test".parse().unwrap(),
        resource_type: ResourceType::Rds,
        consistency: capture.consistency,
        capture_started_at: started_at,
        capture_ended_at: now(),
        change_detection: capture.change_detection,
        reading: None,
        size_bytes: capture.size_bytes,
        items: capture.items,
        exceptions: capture.exceptions,
        driver: capture.facts,
    };
    let root = snapshot_root(&writer, capture.data, &description, sidecars, now()).unwrap();
    let committed = writer
        .commit(SnapshotInput {
            root,
            time: started_at,
            hostname: String::new(),
            paths: vec![location],
            tags: vec![recovery_point_tag(id)],
            parent: None,
        })
        .unwrap();
    scene.vault.reader(committed.snapshot_id).unwrap()
}

/// Stops a restore as soon as the replay has begun.
struct UntilReplay(PathBuf);

impl Control for UntilReplay {
    fn is_stopped(&self) -> bool {
        self.0.exists()
    }

    fn advance(&self, _difference: Progress) {}
}

/// Stops a restore when the server has begun to replay. The thread that waits for the server waits for that here, so that it is
/// not too late however fast the server is.
struct InReplay {
    note: PathBuf,
    begun: PathBuf,
    thread: ThreadId,
}

impl InReplay {
    /// For a restore that is begun by this thread.
    fn of(target: &Path) -> Self {
        // The server renames its label then.
        let (note, begun) = (target.join(NOTE), target.join("backup_label.old"));
        Self { note, begun, thread: std::thread::current().id() }
    }
}

impl Control for InReplay {
    fn is_stopped(&self) -> bool {
        if !self.note.exists() {
            return false;
        }
        if std::thread::current().id() == self.thread {
            wait_for("the replay", 60, || self.begun.exists());
        }
        self.begun.exists()
    }

    fn advance(&self, _difference: Progress) {}
}

/// What is restored, over and over.
struct Restore<'a> {
    scene: &'a Scene,
    reader: &'a Reader<'a>,
    description: serde_json::Value,
    known: Known,
    plan: Plan,
    target: PathBuf,
}

impl<'a> Restore<'a> {
    fn to(scene: &'a Scene, reader: &'a Reader<'a>, at: Timestamp) -> Self {
        let description = serde_json::to_value(read_description(reader).unwrap()).unwrap();
        let bases = [Base::of("base", &PhysicalFacts::read(&description).unwrap()).unwrap()];
        let known = known_beyond(&scene.vault, &bases, at);
        let plan = known.plan(&bases, Target::Time(at)).unwrap();
        let place = scene.place.path().join("restored");
        run(Command::new("install").args(["-d", "-o", "postgres", "-g", "postgres", "-m", "755"]).arg(&place));
        Self { scene, reader, description, known, plan, target: place.join("data") }
    }

    fn run(&self, control: &dyn Control) -> Result<Restored, DriverError> {
        let began = Instant::now();
        let stream = self.scene.vault.stream(point());
        let request = RestoreRequest {
            options: &BTreeMap::new(),
            reader: self.reader,
            description: &self.description,
            target: &self.target,
            overwrite: OverwritePolicy::Refuse,
            include: &[],
            parallelism: 2,
            control,
            elapsed_ms: &|| u64::try_from(began.elapsed().as_millis()).unwrap(),
        };
        let (stored, log) = (&self.known.stored, &self.known.log);
        driver().restore_to(request, &Forward { source: &stream, stored, log, plan: &self.plan })
    }

    /// Runs it until the replay has begun. Then the power goes: the machine's next life is another one, and of what was not
    /// synced nothing is as it was written.
    fn cut(&self) {
        let stopped = self.run(&UntilReplay(self.target.join(NOTE)));
        assert!(matches!(stopped, Err(DriverError::Stopped)), "{stopped:?}");
        let life = fs::read("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!(fs::read(self.target.join(NOTE)).unwrap(), life);
        fs::write(self.target.join(NOTE), "another life\n").unwrap();
        for entry in fs::read_dir(self.target.join("base/1")).unwrap() {
            fs::write(entry.unwrap().path(), "").unwrap();
        }
    }

    /// Restores, and gives back the notes that are there.
    fn notes(&self) -> String {
        self.run(&NoControl).unwrap();
        assert!(!self.target.join(NOTE).exists(), "all of it is on the disk");
        let beside: Vec<_> = fs::read_dir(self.target.parent().unwrap()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(beside, std::slice::from_ref(&self.target));
        let mut server = Server::at(&self.target);
        server.start(&[]);
        server.wait_until_ready();
        // Reads what the template of all databases has in `base/1`, too.
        run(Command::new("setpriv")
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
            .args([&format!("{}/pg_amcheck", crate::source::BIN), "--all", "--install-missing", "-U", "postgres"])
            .arg("-h")
            .arg(&server.sockets)
            .current_dir("/"));
        let notes = server.value("SELECT coalesce(string_agg(text, ' ' ORDER BY text), '-') FROM notes");
        server.stop();
        fs::remove_dir_all(&self.target).unwrap();
        fs::remove_file(&server.log).unwrap();
        notes
    }
}

/// Processes of servers that this process has started in sandboxes, by where their log goes.
fn processes_of_sandboxes() -> Vec<String> {
    let log = format!("holdfast-pg-{}-", std::process::id());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let outputs = processes.filter_map(|process| fs::read_link(process.path().join("fd/1")).ok());
    outputs.map(|path| path.display().to_string()).filter(|path| path.contains(&log)).collect()
}

#[test]
fn what_a_power_cut_leaves_of_a_replay_is_removed_and_restored_anew() {
    if !is_possible() {
        return;
    }
    let scene = Scene::new("");
    let _worker = scene.follow(&scene.server, 1);
    let reader = capture(&scene);
    scene.server.execute("INSERT INTO notes VALUES ('wanted')");
    let at = scene.server.end_of_second();
    scene.server.execute("INSERT INTO notes VALUES ('later')");
    let restore = Restore::to(&scene, &reader, at);

    restore.cut();
    assert_eq!(restore.notes(), "wanted");

    // The lock that the replaying server left names a number that another program has by now: this one.
    restore.cut();
    let lock = restore.target.join("postmaster.pid");
    fs::write(&lock, format!("{}\n", std::process::id())).unwrap();
    assert_eq!(restore.notes(), "wanted");

    // The power goes again while the directory is being removed.
    restore.cut();
    fail::cfg("restore::before_lost_removal", "panic").unwrap();
    let cut = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| restore.run(&NoControl)));
    assert!(cut.is_err() && !restore.target.exists());
    fail::remove("restore::before_lost_removal");
    assert_eq!(restore.notes(), "wanted");

    // A server runs there, which somebody has started since: nobody takes its files away.
    restore.cut();
    let source = fs::read_to_string(scene.server.data.join("postmaster.pid")).unwrap();
    fs::write(&lock, source).unwrap();
    let error = restore.run(&NoControl).unwrap_err();
    assert_eq!(error.failure_code(Side::Target), FailureCode::TargetExists, "{error}");
    assert!(restore.target.join(NOTE).exists() && restore.target.join("base/1").exists());
}

#[test]
fn a_replay_that_is_only_stopped_goes_on_where_it_was() {
    if !is_possible() {
        return;
    }
    let scene = Scene::new("");
    let _worker = scene.follow(&scene.server, 1);
    let reader = capture(&scene);
    scene.server.execute("INSERT INTO notes VALUES ('wanted')");
    let at = scene.server.end_of_second();
    let restore = Restore::to(&scene, &reader, at);
    let stopped = restore.run(&InReplay::of(&restore.target));
    assert!(matches!(stopped, Err(DriverError::Stopped)), "{stopped:?}");
    assert_eq!(processes_of_sandboxes(), Vec::<String>::new(), "it would write beside the next server");
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(&restore.target);
    restore.run(&NoControl).unwrap();
    assert_eq!(inode(&restore.target), before, "it was restored anew for nothing");
    assert_eq!(restore.notes(), "wanted");
}
