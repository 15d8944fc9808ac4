//! The processes of an installation: configuration, start, death.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{MutexGuard, PoisonError};

use job_events::subjects::{self, Service};
use rustix::process::{Pid, Signal, kill_process};

use super::{Failure, Installation, wait_until};

/// One process: a service, in a region where there is one per region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// The service.
    pub service: Service,
    /// Which of the two regions; none for those that serve both.
    pub region: Option<usize>,
    /// Tells several of the same service and region apart.
    pub number: u8,
}

impl Instance {
    /// The first of a worker in a region.
    #[must_use]
    pub const fn worker(service: Service, region: usize) -> Self {
        Self { service, region: Some(region), number: 1 }
    }

    /// The one of a service that serves both regions.
    #[must_use]
    pub const fn single(service: Service) -> Self {
        Self { service, region: None, number: 1 }
    }
}

/// How an installation is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where traces, metrics and logs go.
    pub otlp_endpoint: Option<String>,
    /// Where restores may go; anywhere unless given.
    pub target_roots: Option<Vec<PathBuf>>,
    /// The S3 service of vaults that are not in a directory.
    pub s3: Option<S3Options>,
    /// The role of the PostgreSQL credential profile `test`; windows are reported every second then.
    pub postgres_role: Option<String>,
    /// Where the server of that profile archives its log to.
    pub postgres_archive: Option<PathBuf>,
    /// The process of QEMU of the profile `vm`.
    pub qemu: Option<QemuOptions>,
}

/// Where a process of QEMU is reached.
#[derive(Clone, Debug)]
pub struct QemuOptions {
    /// Its monitor.
    pub qmp_socket: PathBuf,
    /// Its NBD server.
    pub nbd_socket: PathBuf,
    /// Where what is overwritten during a capture is put aside.
    pub scratch_directory: PathBuf,
}

/// An S3 service and who may use it.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// `http://127.0.0.1:<port>`.
    pub endpoint: String,
    /// Files with the access key id and the secret key.
    pub key_files: [PathBuf; 2],
}

impl Installation {
    /// Every process of the installation.
    #[must_use]
    pub fn instances(&self) -> Vec<Instance> {
        let mut all = vec![Instance::single(Service::Planner), Instance::single(Service::Verifier)];
        for service in [Service::SnapshotWorker, Service::CopyReplicator, Service::RestoreWorker] {
            all.extend((0..self.regions.len()).map(|region| Instance::worker(service, region)));
        }
        all
    }

    fn name(&self, instance: &Instance) -> String {
        match instance.region {
            Some(region) => format!("{}-{}-{}", instance.service, self.regions[region], instance.number),
            None => format!("{}-{}", instance.service, instance.number),
        }
    }

    /// The log of a process, all its lives in one file.
    #[must_use]
    pub fn log_file(&self, instance: &Instance) -> PathBuf {
        self.dir.join("logs").join(format!("{}.log", self.name(instance)))
    }

    fn config_file(&self, instance: &Instance) -> PathBuf {
        self.dir.join("config").join(format!("{}.toml", self.name(instance)))
    }

    /// Where restore tests put what they restore.
    #[must_use]
    pub fn sandbox(&self, region: usize) -> PathBuf {
        self.dir.join("sandbox").join(self.regions[region].as_str())
    }

    /// File with the password of all vaults.
    #[must_use]
    pub fn vault_password_file(&self) -> PathBuf {
        self.dir.join("vault.password")
    }

    pub(super) fn write_configuration(&self) -> Result<(), Failure> {
        for dir in ["config", "logs", "state"] {
            fs::create_dir_all(self.dir.join(dir))?;
        }
        fs::write(self.vault_password_file(), "correct horse battery staple\n")?;
        Ok(())
    }

    fn configuration(&self, instance: &Instance) -> Result<String, Failure> {
        let name = self.name(instance);
        let mut text = String::new();
        let url = self.nats.url();
        if let Some(region) = instance.region {
            writeln!(text, "region = \"{}\"", self.regions[region])?;
            if instance.service == Service::RestoreWorker {
                fs::create_dir_all(self.sandbox(region))?;
                writeln!(text, "sandbox_root = {:?}", self.sandbox(region))?;
                if let Some(roots) = &self.options.target_roots {
                    writeln!(text, "target_roots = {roots:?}")?;
                }
            }
        }
        writeln!(text, "[common]\ninstance = \"{name}\"\nstate_dir = {:?}", self.dir.join("state").join(&name))?;
        writeln!(text, "stop_wait = \"5s\"")?;
        writeln!(
            text,
            "[common.telemetry]\nlog_filter = \"info,message_ledger=debug,order_runner=debug,job_bus=debug,planner=debug\""
        )?;
        if let Some(endpoint) = &self.options.otlp_endpoint {
            writeln!(text, "otlp_endpoint = \"{endpoint}\"")?;
        }
        match instance.region {
            Some(_) => writeln!(text, "[nats]\nurl = \"{url}\"\nname = \"{name}\"")?,
            None => {
                for region in &self.regions {
                    writeln!(text, "[regions.{region}.nats]\nurl = \"{url}\"\nname = \"{name}\"")?;
                }
            }
        }
        if instance.service == Service::Planner {
            // Some minutes of attempts: a test that ends what made the first fail is in time for another on any machine.
            writeln!(text, "[decisions]\nretry_base = \"1s\"\nmax_attempts = 8")?;
            // The AWS Backup API names no location of a vault.
            for region in &self.regions {
                let place = self.dir.join("api-vaults").join(region.as_str());
                let location = format!("file://{}/{{account}}/{{name}}", place.display());
                writeln!(text, "[regions.{region}.vaults]\nlocation = \"{location}\"\nkey_profile = \"main\"")?;
            }
        } else {
            writeln!(text, "[keys.main]\npassword_file = {:?}", self.vault_password_file())?;
            if let Some(S3Options { endpoint, key_files: [id, secret] }) = &self.options.s3 {
                writeln!(text, "[stores.main]\nendpoint = {endpoint:?}\nregion = \"us-east-1\"\nallow_http = true")?;
                writeln!(text, "access_key_id_file = {id:?}\nsecret_access_key_file = {secret:?}")?;
            }
        }
        let logs_in = [Service::SnapshotWorker, Service::RestoreWorker, Service::Verifier].contains(&instance.service);
        if let Some(role) = self.options.postgres_role.as_ref().filter(|_| logs_in) {
            writeln!(text, "[postgres.profiles.test]\nuser = {role:?}\nssl_mode = \"disable\"")?;
            if instance.service == Service::SnapshotWorker {
                if let Some(archive) = &self.options.postgres_archive {
                    writeln!(text, "archive_dir = {archive:?}")?;
                }
                writeln!(text, "[follow]\nreport_seconds = 1")?;
            }
        }
        if let Some(qemu) = self.options.qemu.as_ref().filter(|_| instance.service == Service::SnapshotWorker) {
            let QemuOptions { qmp_socket, nbd_socket, scratch_directory } = qemu;
            writeln!(text, "[qemu.profiles.vm]\nqmp_socket = {qmp_socket:?}\nnbd_socket = {nbd_socket:?}")?;
            writeln!(text, "scratch_directory = {scratch_directory:?}")?;
        }
        Ok(text)
    }

    /// What the command line prints.
    ///
    /// # Errors
    /// With what it complains of, when it does not succeed.
    pub fn cli(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = Command::new(program()?);
        command.args(["--url", &self.nats.url(), "--region", self.regions[0].as_str()]).args(arguments);
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts a process. `failpoints` plans a crash, for example `runner::after_effect_before_result=return`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, instance: &Instance, failpoints: Option<&str>) -> Result<(), Failure> {
        let plan = failpoints.map(|failpoints| ("FAILPOINTS", failpoints.to_owned()));
        self.spawn_in(instance, plan)
    }

    /// Starts a process whose wall clock is so many hours ahead of everybody else's.
    ///
    /// # Errors
    /// When the program cannot be started, or libfaketime is not installed.
    pub fn spawn_ahead(&self, instance: &Instance, hours: u32) -> Result<(), Failure> {
        let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
        if !Path::new(library).exists() {
            return Err(format!("no `{library}`; install Debian's package faketime").into());
        }
        let environment = [("LD_PRELOAD", library.to_owned()), ("FAKETIME", format!("+{hours}h"))];
        // What measures how long something takes goes on as it was.
        self.spawn_in(instance, environment.into_iter().chain([("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned())]))
    }

    fn spawn_in(
        &self,
        instance: &Instance,
        environment: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<(), Failure> {
        fs::write(self.config_file(instance), self.configuration(instance)?)?;
        let log = File::options().create(true).append(true).open(self.log_file(instance))?;
        let mut command = Command::new(program()?);
        command
            .args(["service", instance.service.as_str(), "--config"])
            .arg(self.config_file(instance))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .env_remove("FAILPOINTS")
            .envs(environment);
        let child = command.spawn()?;
        if let Some(mut before) = self.children().insert(instance.clone(), child) {
            end(&mut before);
        }
        Ok(())
    }

    /// Kills a process as a power cut would, and waits until it is gone.
    pub fn kill9(&self, instance: &Instance) {
        let child = self.children().remove(instance);
        if let Some(mut child) = child {
            end(&mut child);
        }
    }

    /// How a process ended, if it has.
    pub fn ended(&self, instance: &Instance) -> Option<ExitStatus> {
        self.children().get_mut(instance).and_then(|child| child.try_wait().ok().flatten())
    }

    /// Waits until every worker says that it takes orders. One that ended instead would leave its orders waiting for ever,
    /// which says nothing of why.
    ///
    /// # Errors
    /// When one has ended, or is not ready after a long time.
    pub(super) async fn workers_take_orders(&self) -> Result<(), Failure> {
        for worker in self.instances().into_iter().filter(|instance| instance.region.is_some()) {
            let log = self.log_file(&worker);
            let ready = || async {
                if let Some(status) = self.ended(&worker) {
                    return Ok(Some(Err(format!("{worker:?} ended at its start: {status}; see `{}`", log.display()))));
                }
                Ok(std::fs::read_to_string(&log)?.contains("ready part=\"orders\"").then_some(Ok(())))
            };
            wait_until(&format!("{worker:?} to take orders"), ready).await??;
        }
        Ok(())
    }

    /// Freezes a process: it keeps its connections and knows nothing of the time that passes.
    pub fn pause(&self, instance: &Instance) {
        self.signal(instance, Signal::STOP);
    }

    /// Lets a frozen process go on.
    pub fn resume(&self, instance: &Instance) {
        self.signal(instance, Signal::CONT);
    }

    /// Lets the frozen planner go on, and waits until it has renewed its lease. One that was frozen for longer than the lease
    /// lasts ends instead, which a slow machine makes of any pause, and is started again as by whoever supervises it.
    ///
    /// # Errors
    /// When it does neither.
    pub async fn thaw_planner(&self) -> Result<(), Failure> {
        let planner = Instance::single(Service::Planner);
        let bucket = subjects::lease_bucket(&self.regions[0]);
        let (stream, subject) = (format!("KV_{bucket}"), format!("$KV.{bucket}.planner"));
        let lease = async || -> Result<_, Failure> {
            Ok(self.buses[0].last_on_subject(&stream, &subject).await?.map(|entry| entry.sequence))
        };
        let before = lease().await?;
        self.resume(&planner);
        wait_until("the planner to go on", || async {
            if self.ended(&planner).is_some() {
                self.spawn(&planner, None)?;
                return Ok(Some(()));
            }
            Ok((before < lease().await?).then_some(()))
        })
        .await
    }

    /// Asks a process to end, as `systemctl stop` does.
    pub fn terminate(&self, instance: &Instance) {
        self.signal(instance, Signal::TERM);
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<Instance, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, instance: &Instance, signal: Signal) {
        let pid =
            self.children().get(instance).and_then(|child| i32::try_from(child.id()).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // A process that is gone already needs no signal.
            let _ = kill_process(pid, signal);
        }
    }
}

/// The `holdfast` beside the test: cargo puts both below the same target directory.
///
/// # Errors
/// When it is not built.
pub fn program() -> Result<PathBuf, Failure> {
    let test = std::env::current_exe()?;
    test.ancestors()
        .map(|dir| dir.join("holdfast"))
        .find(|path| path.is_file())
        .ok_or_else(|| "`holdfast` is not built; type: cargo build -p holdfast --features holdfast/failpoints".into())
}

pub(super) fn end(child: &mut Child) {
    // Both fail only for a process that is gone already.
    drop(child.kill());
    drop(child.wait());
}
