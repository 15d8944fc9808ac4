//! Where the demo takes place: its directory, and a `holdfast up` of its own.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use driver_postgres::PostgresSettings;
use tempfile::TempDir;

use crate::args::DemoArgs;
use crate::endpoint::Endpoint;
use crate::error::CliError;
use crate::up::Guarded;

/// The regions, the first for the resources, the second for the copies.
pub(super) const REGIONS: [&str; 2] = ["ap-northeast-1", "ap-northeast-3"];
/// The vaults, one in each region, each with a key of its own name.
pub(super) const VAULTS: [&str; 2] = ["tokyo", "osaka"];
/// The demo waits for what is told, and nobody waits for five minutes.
const WINDOW_REPORT_SECONDS: &str = "1";
/// `up` waits a minute for its services; a little more than that is a failure.
const READY_WITHIN: Duration = Duration::from_secs(75);
/// How long `up` gets to stop everything.
const STOP_WITHIN: Duration = Duration::from_secs(40);

/// The demo's directory.
#[derive(Debug)]
pub(super) struct Stage {
    root: PathBuf,
    /// Removes the directory at the end, unless it is kept.
    temporary: Option<TempDir>,
}

impl Stage {
    /// The directory to keep, or a temporary one.
    pub(super) fn set(keep: Option<&Path>) -> Result<Self, CliError> {
        let (root, temporary) = match keep {
            Some(dir) => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(dir)
                    .map_err(CliError::io(format!("make `{}`", dir.display())))?;
                (dir.to_owned(), None)
            }
            None => {
                let dir = tempfile::Builder::new()
                    .prefix("holdfast-demo-")
                    .tempdir()
                    .map_err(CliError::io("make a temporary directory"))?;
                (dir.path().to_owned(), Some(dir))
            }
        };
        let root = root.canonicalize().map_err(CliError::io(format!("resolve `{}`", root.display())))?;
        let stage = Self { root, temporary };
        for dir in [stage.work(), stage.vaults(), stage.logs()] {
            fs::create_dir_all(&dir).map_err(CliError::io(format!("make `{}`", dir.display())))?;
        }
        Ok(stage)
    }

    pub(super) fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// The working copy of the directory.
    pub(super) fn files(&self) -> PathBuf {
        self.work().join("files")
    }

    /// The volume.
    pub(super) fn image(&self) -> PathBuf {
        self.work().join("volume.img")
    }

    /// The directory that the volume was made of, as an earlier run with this directory noted it.
    pub(super) fn image_source(&self) -> PathBuf {
        self.work().join("volume.source")
    }

    /// For things that are needed for a moment.
    pub(super) fn scratch(&self) -> PathBuf {
        self.work()
    }

    pub(super) fn vaults(&self) -> PathBuf {
        self.root.join("vaults")
    }

    pub(super) fn vault(&self, name: &str) -> PathBuf {
        self.vaults().join(name)
    }

    /// The state directory of the demo's `up`.
    pub(super) fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(super) fn report(&self) -> PathBuf {
        self.root.join("report.json")
    }

    /// The password of a vault, beside the vault: a link into the state directory.
    pub(super) fn password_file(&self, vault: &str) -> PathBuf {
        self.vaults().join(format!("{vault}.password"))
    }

    /// Tells the demo's services about PostgreSQL.
    pub(super) fn write_postgres(&self, settings: &PostgresSettings) -> Result<(), CliError> {
        let path = self.state().join(crate::up::POSTGRES_FILE);
        let text = toml::to_string(settings).map_err(|e| CliError::Start {
            step: "write the settings of PostgreSQL".to_owned(),
            source: Box::new(e),
        })?;
        let write = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(self.state())?;
            crate::endpoint::write_private(&path, text.as_bytes())
        };
        write().map_err(CliError::io(format!("write `{}`", path.display())))
    }

    /// Puts the links to the password files in place.
    pub(super) fn link_passwords(&self) -> Result<(), CliError> {
        for vault in VAULTS {
            let link = self.password_file(vault);
            let target = Path::new("../state/keys").join(format!("{vault}.password"));
            match symlink(&target, &link) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(CliError::io(format!("make the link `{}`", link.display())))?,
            }
        }
        Ok(())
    }

    /// Starts `holdfast up` and waits until it is ready.
    pub(super) async fn start_up(&self, args: &DemoArgs) -> Result<(Guarded, Endpoint), CliError> {
        let this = std::env::current_exe().map_err(CliError::io("find this program"))?;
        let mut program = vec![this.into_os_string(), "up".into(), "--state".into(), self.state().into()];
        for region in REGIONS {
            program.extend(["--region".into(), region.into()]);
        }
        for vault in VAULTS {
            program.extend(["--key-profile".into(), vault.into()]);
        }
        program.extend(["--window-report-seconds".into(), WINDOW_REPORT_SECONDS.into()]);
        if let Some(endpoint) = &args.otlp_endpoint {
            program.extend(["--otlp-endpoint".into(), endpoint.into()]);
        }
        let log = self.logs().join("up.log");
        // What an earlier run said of itself must not be taken for this one's word.
        Endpoint::remove(&self.state()).map_err(CliError::io("take the description of an earlier run away"))?;
        let mut up = Guarded::start("holdfast up", &program, &log)?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(how) = up.ended() {
                return Err(up.failure(&how));
            }
            // Written whole, once everything is ready.
            if let Ok(Some(endpoint)) = Endpoint::read(&self.state()) {
                return Ok((up, endpoint));
            }
            if Instant::now() > deadline {
                return Err(up.failure("it is not ready"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops `holdfast up`.
    pub(super) async fn stop_up(&self, up: Guarded) {
        up.stop(STOP_WITHIN).await;
    }

    /// Ends the demo: a temporary directory goes.
    pub(super) fn strike(self) -> Result<(), CliError> {
        match self.temporary {
            Some(dir) => {
                let path = dir.path().display().to_string();
                dir.close().map_err(CliError::io(format!("remove `{path}`")))
            }
            None => Ok(()),
        }
    }
}
