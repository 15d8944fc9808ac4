//! Runs the Python of a proof and shows what it said.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use integration_tests::installation::{ApiGateway, Installation, aws_tools};
use serde::Serialize;
use tokio::process::Command;

/// Far more than any script takes, some of which wait for the next minute and start a client a hundred times.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a script is told: where the API is and who may use it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setting {
    /// The gateway.
    pub(crate) url: String,
    /// Profiles of its access keys.
    pub(crate) credentials_file: PathBuf,
    /// The region of the resources, that of the copies.
    pub(crate) regions: Vec<String>,
    /// A directory that the workers may read and write.
    pub(crate) dir: PathBuf,
    /// Key profile of the workers.
    pub(crate) key_profile: &'static str,
    /// What is to be done, where a script has several parts.
    pub(crate) part: String,
}

impl Setting {
    /// Of an installation and the gateway before it.
    pub(crate) fn of(installation: &Installation, gateway: &ApiGateway) -> Self {
        Self {
            url: gateway.url.clone(),
            credentials_file: gateway.credentials_file.clone(),
            regions: installation.regions.iter().map(ToString::to_string).collect(),
            dir: installation.dir.clone(),
            key_profile: "main",
            part: String::new(),
        }
    }
}

/// Runs a script of this directory; what it prints is shown, and it has to succeed.
#[expect(clippy::print_stdout, reason = "what a script found is the test's output")]
pub(crate) async fn run(name: &str, setting: &Setting) {
    let tools = aws_tools().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws_api").join(name);
    let mut command = Command::new(tools.join("python3"));
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .arg(script)
        .env("PATH", format!("{}:{path}", tools.display()))
        .env("PROOF_SETTING", serde_json::to_string(setting).unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // Nothing of whoever runs the test may reach its clients.
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(variable);
    }
    let begun = Instant::now();
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{name} took longer than {PATIENCE:?}")).unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{name} took {:.1} s\n{told}{errors}", begun.elapsed().as_secs_f64());
    assert!(output.status.success(), "{name} {} ended with {}", setting.part, output.status);
}
