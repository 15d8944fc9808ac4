//! A gateway before an installation, with access keys of two accounts, and the Python that its clients need.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use job_bus::server_process::KeptPort;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::processes::end;
use super::{Failure, Installation, program, wait_until};

/// The access keys: id, account, role, and the profile of the credentials file.
const KEYS: [(&str, &str, &str, &str); 8] = [
    ("PROOFADMIN", "000000000000", "administrator", "default"),
    ("PROOFOPERATOR", "000000000000", "operator", "operator"),
    ("PROOFRESTORE", "000000000000", "restore-only", "restore-only"),
    ("PROOFAUDIT", "000000000000", "auditor", "auditor"),
    ("OTHERADMIN", "111122223333", "administrator", "other"),
    ("OTHEROPERATOR", "111122223333", "operator", "other-operator"),
    ("OTHERRESTORE", "111122223333", "restore-only", "other-restore-only"),
    ("OTHERAUDIT", "111122223333", "auditor", "other-auditor"),
];
/// How long the gateway lets a call wait for a service: short, because tests take services away.
const CALL_TIMEOUT_SECONDS: u32 = 5;

/// A gateway as a child process. Dropping it kills it.
#[derive(Debug)]
pub struct ApiGateway {
    /// `http://127.0.0.1:<port>`, the same over restarts.
    pub url: String,
    /// The profiles `default`, `operator`, `restore-only`, `auditor`, and `other…` of a second account.
    pub credentials_file: PathBuf,
    health: KeptPort,
    _listen: KeptPort,
    config_file: PathBuf,
    log_file: PathBuf,
    child: Option<Child>,
}

impl Drop for ApiGateway {
    fn drop(&mut self) {
        self.kill9();
    }
}

impl ApiGateway {
    /// Prepares and starts a gateway before an installation, and waits until it answers.
    ///
    /// # Errors
    /// When the program is missing or the gateway does not become ready.
    pub async fn start(installation: &Installation) -> Result<Self, Failure> {
        let dir = &installation.dir;
        let (listen, health) = (KeptPort::draw()?, KeptPort::draw()?);
        let mut config = format!(
            "listen = \"{}\"\ncall_timeout = \"{CALL_TIMEOUT_SECONDS}s\"\nrequests_per_second = 5000\n[common]\n\
             instance = \"gateway\"\nhealth_listen = \"{}\"\nstate_dir = {:?}\nstop_wait = \"2s\"\n",
            listen.address(),
            health.address(),
            dir.join("state/gateway")
        );
        for region in &installation.regions {
            writeln!(config, "[regions.{region}.nats]\nname = \"gateway\"\nurl = \"{}\"", installation.nats.url())?;
        }
        let reports = dir.join("reports");
        fs::create_dir_all(&reports)?;
        writeln!(config, "[report_buckets.reports]\nurl = \"file://{}\"", reports.display())?;
        let mut credentials = String::new();
        for (id, account, role, profile) in KEYS {
            let (file, secret) = (dir.join(format!("config/{id}.secret")), format!("{:032x}", rand::random::<u128>()));
            fs::write(&file, &secret)?;
            writeln!(config, "[access_keys.{id}]\naccount = \"{account}\"\nrole = \"{role}\"\nsecret_file = {file:?}")?;
            writeln!(credentials, "[{profile}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}")?;
        }
        let mut gateway = Self {
            url: format!("http://{}", listen.address()),
            credentials_file: dir.join("config/aws-credentials"),
            health,
            _listen: listen,
            config_file: dir.join("config/gateway.toml"),
            log_file: dir.join("logs/gateway.log"),
            child: None,
        };
        fs::write(&gateway.config_file, config)?;
        fs::write(&gateway.credentials_file, credentials)?;
        gateway.restart().await?;
        Ok(gateway)
    }

    /// Starts the gateway, after it was killed or for the first time, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        self.kill9();
        let log = File::options().create(true).append(true).open(&self.log_file)?;
        let mut command = Command::new(program()?);
        command.args(["service", "gateway", "--config"]).arg(&self.config_file);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).env_remove("FAILPOINTS");
        self.child = Some(command.spawn()?);
        wait_until("the gateway to be ready", || async { Ok(self.is_ready().await?.then_some(())) }).await
    }

    async fn is_ready(&self) -> Result<bool, Failure> {
        let mut stream = TcpStream::connect(self.health.address()).await?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200"))
    }

    /// Kills it as a power cut would.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child);
        }
    }
}

/// Directory of the pinned Python tools: `aws`, and a `python3` that has boto3.
///
/// # Errors
/// When they are not there.
pub fn aws_tools() -> Result<PathBuf, Failure> {
    let usual = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.holdfast/aws-tools/bin");
    let dir = std::env::var_os("AWS_TOOLS_BIN").map_or_else(usual, PathBuf::from);
    if dir.join("python3").exists() {
        return Ok(dir.canonicalize()?);
    }
    Err(format!("no aws tools in `{}`; type: ./run aws-tools, or name their directory in AWS_TOOLS_BIN", dir.display())
        .into())
}
