//! A whole installation on this machine: a nats-server and each service as a child process that a test may kill, pause, and
//! start again, with crashes planned at a given boundary.

mod api;
mod conversation;
mod processes;

pub use api::{ApiGateway, aws_tools};
pub use conversation::{Rejected, Talk, wait_until};
pub use processes::{Instance, Options, QemuOptions, S3Options, program};

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use job_bus::server_process::{NatsServer, ServerOptions};
use job_bus::{Bus, BusConfig};

/// Why an installation or a conversation with it failed; tests print it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A running installation. Dropping it kills every process.
pub struct Installation {
    /// Where everything lies.
    pub dir: PathBuf,
    nats: NatsServer,
    talk: Talk,
    options: Options,
    children: Mutex<BTreeMap<Instance, Child>>,
}

impl std::fmt::Debug for Installation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installation").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Installation {
    /// Starts a server and every service in `dir`, and waits until the planner answers.
    ///
    /// # Errors
    /// When a program is missing or nothing answers in time.
    pub async fn start(dir: &Path, options: Options) -> Result<Self, Failure> {
        let regions = ["ap-northeast-1".parse()?, "ap-northeast-3".parse()?];
        let nats = NatsServer::start(ServerOptions { dir: dir.join("nats"), ..ServerOptions::default() })?;
        let config = BusConfig {
            url: nats.url(),
            name: "integration-tests".to_owned(),
            user: None,
            password_file: None,
            nkey_seed_file: None,
            inbox_prefix: None,
            ca_file: None,
        };
        let bus = Bus::connect(&config, Duration::from_secs(20)).await?;
        for region in &regions {
            bus.provision(region).await?;
        }
        let talk = Talk { regions, buses: [bus.clone(), bus] };
        let installation = Self { dir: dir.to_owned(), nats, talk, options, children: Mutex::new(BTreeMap::new()) };
        installation.write_configuration()?;
        for instance in installation.instances() {
            installation.spawn(&instance, None)?;
        }
        installation.wait_until_ready().await?;
        installation.workers_take_orders().await?;
        Ok(installation)
    }

    /// The server, to kill and restart.
    pub fn nats(&mut self) -> &mut NatsServer {
        &mut self.nats
    }
}

impl Deref for Installation {
    type Target = Talk;

    fn deref(&self) -> &Talk {
        &self.talk
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        let all: Vec<Instance> =
            self.children.get_mut().map(|children| children.keys().cloned().collect()).unwrap_or_default();
        for instance in all {
            self.kill9(&instance);
        }
        if std::thread::panicking() {
            self.keep_logs();
        }
    }
}

impl Installation {
    /// The directory of a failed test is removed; what its processes said is not.
    #[expect(clippy::print_stderr, reason = "a failed test says where to look")]
    fn keep_logs(&self) {
        let kept = std::env::temp_dir().join(format!("holdfast-failed-{}", std::process::id()));
        let copied = Command::new("cp").arg("-rT").arg(self.dir.join("logs")).arg(&kept).status();
        match copied {
            Ok(status) if status.success() => eprintln!("the logs of the services are kept in {}", kept.display()),
            other => eprintln!("the logs of the services could not be kept: {other:?}"),
        }
    }
}
