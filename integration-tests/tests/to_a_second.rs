//! A PostgreSQL server through a whole installation: followed by a worker that is killed and killed itself, restored to the
//! second before a table was dropped, and restored from the copy in the other region. Needs PostgreSQL's programs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use driver_postgres::connection::{Connection, Mode};
use driver_postgres::error::PgError;
use driver_postgres::server::{Credentials, Host, ServerAddress, SslMode};
use driver_postgres::tool::{self, User};
use integration_tests::cycle::Stage;
use integration_tests::installation::{Installation, Instance, Options, wait_until};
use jiff::Timestamp;
use job_events::subjects::Service;
use job_events::{CreatePlan, CreateSelection, RegisterResource, RuleInput, StartRestore};
use job_model::{
    Arn, Conditions, CopyAction, JobDetail, JobId, JobState, Lifecycle, OverwritePolicy, RecoveryPoint,
    RecoveryPointKind, ResourceType, RestoreTarget, VerdictStatus,
};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};

const ROLE: &str = "holdfast";
const PORT: u16 = 5432;

/// A server of the test; stopped when dropped.
struct Server {
    bin: PathBuf,
    user: User,
    data: PathBuf,
    sockets: PathBuf,
    port: u16,
}

impl Server {
    fn open(&self) -> Result<Connection, PgError> {
        let server = ServerAddress { host: Host::Socket(self.sockets.clone()), port: self.port };
        let credentials =
            Credentials { user: ROLE.to_owned(), password: None, ssl_mode: SslMode::Disable, root_certificate: None };
        Connection::open(&server, &credentials, Mode::Database("postgres"))
    }

    fn value(&self, sql: &str) -> String {
        self.open().unwrap().query(sql).unwrap().single().unwrap().to_owned()
    }

    fn start(&self) {
        let mut start = tool::command(&self.bin.join("pg_ctl"), Some(&self.user));
        start.args(["start", "--wait", "--silent", "-D"]).arg(&self.data).arg("-l").arg(self.sockets.join("log"));
        tool::run(start, "pg_ctl").unwrap();
    }

    /// Kills the postmaster as a power cut would, and waits until every process of the server has noticed.
    fn kill9(&self) {
        let lock = fs::read_to_string(self.data.join("postmaster.pid")).unwrap();
        let number = lock.lines().next().unwrap();
        kill_process(Pid::from_raw(number.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        // Its number is free once it was reaped; all others of a server work in its data directory.
        let postmaster = Path::new("/proc").join(number);
        let works = |process: &Path| fs::read_link(process.join("cwd")).is_ok_and(|directory| directory == self.data);
        wait_for("the server to be gone", || {
            !postmaster.exists() && !fs::read_dir("/proc").unwrap().flatten().any(|entry| works(&entry.path()))
        });
    }

    /// The server's clock.
    fn clock(&self) -> Timestamp {
        let microseconds = self.value("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
        Timestamp::from_microsecond(microseconds.parse().unwrap()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stop = tool::command(&self.bin.join("pg_ctl"), Some(&self.user));
        stop.args(["stop", "--silent", "-m", "immediate", "-D"]).arg(&self.data);
        let _ended = stop.status();
    }
}

/// A place that the user who runs servers can get at, and the source server in it; none without PostgreSQL's programs.
fn source() -> Option<(tempfile::TempDir, Server)> {
    let bin = [17, 16, 15].iter().find_map(|version| tool::bin_dir(None, *version).ok())?;
    let user = User::to_run_as("postgres").unwrap();
    let place = tempfile::Builder::new().prefix("holdfast-second-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let own = |name: &str| {
        let path = place.path().join(name);
        fs::create_dir(&path).unwrap();
        if user.must_change() {
            chown(&path, Some(user.uid), Some(user.gid)).unwrap();
        }
        path
    };
    let (sockets, data) = (own("s"), place.path().join("s/data"));
    let mut initdb = tool::command(&bin.join("initdb"), Some(&user));
    initdb
        .args(["-k", "-A", "trust", "-U", ROLE, "--no-locale", "-E", "UTF8", "--wal-segsize=1", "-N", "-D"])
        .arg(&data);
    tool::run(initdb, "initdb").unwrap();
    let settings = format!(
        "unix_socket_directories = '{}'\nport = {PORT}\nlisten_addresses = ''\nfsync = off\ntrack_commit_timestamp = on\n",
        sockets.display()
    );
    let configuration = data.join("postgresql.conf");
    fs::write(&configuration, fs::read_to_string(&configuration).unwrap() + &settings).unwrap();
    let source = Server { bin, user: user.clone(), data: data.canonicalize().unwrap(), sockets, port: PORT };
    source.start();
    own("restored");
    Some((place, source))
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A load that goes on whatever happens to the server.
#[derive(Default)]
struct Load {
    rows: AtomicU64,
    stop: AtomicBool,
}

/// Ends the load, also when the test fails meanwhile.
struct Stop<'a>(&'a Load);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
    }
}

impl Load {
    /// Inserts a row every 50 ms.
    fn run(&self, source: &Server) {
        let mut connection = None;
        while !self.stop.load(Ordering::Acquire) {
            let open = connection.take().map_or_else(|| source.open(), Ok);
            connection = open.ok().and_then(|mut open| {
                open.query("INSERT INTO ticks (at) VALUES (clock_timestamp())").ok()?;
                self.rows.fetch_add(1, Ordering::AcqRel);
                Some(open)
            });
            // The pace of the load.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until so many more rows are committed.
    fn wait_for_rows(&self, more: u64) {
        let wanted = self.rows.load(Ordering::Acquire) + more;
        wait_for("rows", || self.rows.load(Ordering::Acquire) >= wanted);
    }
}

async fn protect(installation: &Installation, stage: &Stage, source: &Server) -> Arn {
    let region = installation.regions[0].clone();
    let arn: Arn = format!("arn:aws:rds:{region}:000000000000:db:shop").parse().unwrap();
    let register = RegisterResource {
        arn: arn.clone(),
        resource_type: ResourceType::Rds,
        region,
        location: format!("postgresql:///?host={}&port={PORT}&profile=test", source.sockets.display()),
        hooks: None,
        tags: BTreeMap::new(),
    };
    installation.request(register).await.unwrap();
    let lifecycle = Lifecycle { delete_after_days: Some(7), ..Lifecycle::default() };
    let rule = RuleInput {
        name: "every-minute".to_owned(),
        target_vault: stage.primary.clone(),
        schedule: Some("cron(* * * * ? *)".to_owned()),
        time_zone: None,
        start_window_minutes: Some(60),
        completion_window_minutes: Some(120),
        lifecycle,
        generations: None,
        copy_actions: vec![CopyAction { destination_vault: stage.copy.clone(), lifecycle }],
        recovery_point_tags: BTreeMap::new(),
        enable_continuous: true,
    };
    let plan = CreatePlan {
        name: "continuous".to_owned(),
        rules: vec![rule],
        advanced_settings: Vec::new(),
        tags: BTreeMap::new(),
    };
    let plan_id = installation.request(plan).await.unwrap().result.unwrap().parse().unwrap();
    let selection = CreateSelection {
        plan_id,
        name: "shop".to_owned(),
        resources: vec![arn.to_string()],
        not_resources: Vec::new(),
        list_of_tags: Vec::new(),
        conditions: Conditions::default(),
        iam_role: None,
    };
    installation.request(selection).await.unwrap();
    arn
}

/// Waits until the window reaches beyond an instant.
async fn window_beyond(installation: &Installation, resource: &Arn, at: Timestamp) -> RecoveryPoint {
    wait_until(&format!("a window beyond {at}"), || async {
        let points = installation.recovery_points(resource).await?;
        let reaches = |point: &RecoveryPoint| {
            let continuous = point.continuous.as_ref();
            continuous.and_then(|continuous| continuous.window.last()).is_some_and(|interval| interval.to > at)
        };
        Ok(points.into_iter().find(|point| point.kind == RecoveryPointKind::Continuous && reaches(point)))
    })
    .await
    .unwrap()
}

async fn restore(installation: &Installation, point: &Arn, to: &Path, metadata: &[(&str, String)]) -> JobId {
    let request = StartRestore {
        recovery_point: point.clone(),
        target: RestoreTarget::Location { url: format!("file://{}", to.display()) },
        overwrite: OverwritePolicy::Refuse,
        include: Vec::new(),
        test: None,
        metadata: metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
        iam_role: None,
    };
    installation.request(request).await.unwrap().job_id.unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_comes_back_to_the_second_before_though_the_worker_was_killed() {
    let Some((place, source)) = source() else { return };
    let seed = std::env::var("HOLDFAST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("HOLDFAST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    source.open().unwrap().query("CREATE TABLE ticks (id bigserial PRIMARY KEY, at timestamptz NOT NULL)").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = Options { postgres_role: Some(ROLE.to_owned()), ..Options::default() };
    let installation = Installation::start(dir.path(), options).await.unwrap();
    let stage = installation.make_vaults().await.unwrap();
    let resource = protect(&installation, &stage, &source).await;
    let first = window_beyond(&installation, &resource, Timestamp::UNIX_EPOCH).await;

    let worker = Instance::worker(Service::SnapshotWorker, 0);
    let load = Load::default();
    let (before_worker, before_server) = (random.random_range(5..40), random.random_range(5..40));
    std::thread::scope(|scope| {
        let _stop = Stop(&load);
        scope.spawn(|| load.run(&source));
        load.wait_for_rows(before_worker);
        installation.kill9(&worker);
        // The server goes on without its follower.
        load.wait_for_rows(10);
        installation.spawn(&worker, None).unwrap();
        load.wait_for_rows(before_server);
        source.kill9();
        source.start();
        load.wait_for_rows(30);
    });
    let (from, to) = (
        source.value("SELECT extract(epoch FROM min(pg_xact_commit_timestamp(xmin)))::bigint + 1 FROM ticks"),
        source.value("SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::bigint FROM ticks"),
    );
    let second: i64 = random.random_range(from.parse().unwrap()..to.parse().unwrap());
    let at = Timestamp::from_second(second).unwrap();
    let ledger = format!("FROM ticks WHERE pg_xact_commit_timestamp(xmin) <= '{at}'");
    let known = source.value(&format!("SELECT count(*) || ' ' || max(id) || ' ' || sum(id) {ledger}"));
    source.open().unwrap().query("DROP TABLE ticks").unwrap();
    let dropped = source.clock();
    let point = window_beyond(&installation, &resource, dropped).await;
    assert_eq!(point.arn, first.arn, "one recovery point for all of it");
    let continuous = point.continuous.as_ref().unwrap();
    assert_eq!((continuous.window.len(), continuous.gap_count), (1, 0), "{continuous:?}");

    let begun = Instant::now();
    let restored = Server {
        bin: source.bin.clone(),
        user: source.user.clone(),
        data: place.path().join("restored/data"),
        sockets: place.path().join("restored"),
        port: free_port(),
    };
    let sockets = restored.sockets.display().to_string();
    let metadata =
        [("RestoreTime", at.to_string()), ("Port", restored.port.to_string()), ("SocketDirectory", sockets.clone())];
    let job = restore(&installation, &point.arn, &restored.data, &metadata).await;
    let job = installation.completed(job).await.unwrap();
    println!("restored to {at} in {:?}: {:?}", begun.elapsed(), job.phases);
    assert_eq!(restored.value("SELECT count(*) || ' ' || max(id) || ' ' || sum(id) FROM ticks"), known, "at {at}");
    // By the restored server's own ledger, too: it holds nothing that was committed later.
    assert_eq!(
        restored.value(&format!("SELECT count(*) || ' ' || max(id) || ' ' || sum(id) {ledger}")),
        known,
        "at {at}"
    );
    assert_eq!(restored.value("SELECT pg_is_in_recovery()"), "f");

    let before = [("RestoreTime", "2020-01-01T00:00:00Z".to_owned())];
    let refused = restore(&installation, &point.arn, &place.path().join("restored/never"), &before).await;
    let refused = installation.job_ended(refused).await.unwrap();
    let message = refused.status_message.unwrap_or_default();
    assert_eq!(refused.state, JobState::Failed, "{message}");
    assert!(message.contains("restorable is") && message.contains("before the end of the first"), "{message}");

    let run = installation.prove(&resource, ResourceType::Rds, &stage.primary).await.unwrap();
    let verdict = run.entries[0].verdict.clone().unwrap();
    assert_eq!(verdict.status, VerdictStatus::Successful, "{run:?}");
    let JobDetail::Restore { metadata, .. } = installation.restore_job(&run).await.unwrap().detail else { panic!() };
    println!("proven at {:?} in {} ms", metadata.get("RestoreTime"), verdict.rto_ms);
    assert!(metadata.contains_key("RestoreTime"), "a second of the window was drawn: {metadata:?}");

    let copy = wait_until("the copy", || async {
        let points = installation.recovery_points(&resource).await?;
        Ok(points.into_iter().find(|copy| copy.vault == stage.copy))
    });
    let copy = copy.await.unwrap();
    assert_eq!((copy.kind, copy.copied_from.as_ref()), (RecoveryPointKind::Snapshot, Some(&point.arn)));
    // In one go: whoever follows the server still writes into it.
    fs::rename(installation.vault_dir("primary"), place.path().join("lost")).unwrap();
    let far = Server {
        data: place.path().join("restored/far"),
        port: free_port(),
        bin: source.bin.clone(),
        user: source.user.clone(),
        sockets: restored.sockets.clone(),
    };
    let metadata = [("StartServer", "true".to_owned()), ("Port", far.port.to_string()), ("SocketDirectory", sockets)];
    let job = restore(&installation, &copy.arn, &far.data, &metadata).await;
    installation.completed(job).await.unwrap();
    assert_eq!(far.value("SELECT count(*) FROM pg_tables WHERE tablename = 'ticks'"), "1", "copied before the drop");
}
