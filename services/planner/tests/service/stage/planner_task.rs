//! A planner in this process, or in one of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use planner::{Planner, PlannerConfig, RegionConfig};
use service_host::{CommonConfig, Health, Host, Service as _, ServiceError, SystemIds};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::test_clock::TestClock;
use super::{FAR, NEAR, bus_config};

pub(crate) struct InProcess {
    host: Host,
    task: JoinHandle<Result<(), ServiceError>>,
}

impl InProcess {
    pub(crate) fn start(url: &str, state_dir: &Path, clock: &Arc<TestClock>) -> Self {
        let region = || RegionConfig { nats: bus_config(url, "planner"), vaults: None };
        let config = PlannerConfig {
            common: CommonConfig { state_dir: state_dir.to_owned(), ..CommonConfig::default() },
            regions: [NEAR, FAR].map(|name| (name.to_owned(), region())).into(),
            ..PlannerConfig::default()
        };
        let host = Host {
            clock: clock.clone(),
            ids: Arc::new(SystemIds),
            stop: CancellationToken::new(),
            hard_stop: CancellationToken::new(),
            health: Health::new(),
        };
        host.health.not_ready("planner", "not begun");
        let task = tokio::spawn(Planner::run(config, host.clone()));
        Self { host, task }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.host.health.is_ready()
    }

    pub(crate) fn stands_by(&self) -> bool {
        self.host.health.reasons().iter().any(|reason| reason.contains("standing by"))
    }

    pub(crate) async fn stop(self) {
        self.host.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(url: &str, dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let region = |name: &str| format!("[regions.{name}.nats]\nurl = \"{url}\"\nname = \"planner\"\n");
        let state = dir.join("state");
        let text = format!("[common]\nstate_dir = \"{}\"\n{}{}", state.display(), region(NEAR), region(FAR));
        let config = dir.join("planner.toml");
        std::fs::write(&config, text).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_planner"))
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child }
    }

    /// `SIGKILL`: no time to tidy up.
    pub(crate) fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn stop(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the planner ended with {status}");
    }
}

impl Drop for Process {
    /// A test that fails leaves nothing behind.
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _already_waited = self.child.wait();
    }
}
