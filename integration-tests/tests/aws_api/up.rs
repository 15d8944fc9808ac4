//! `holdfast up` as an operator starts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use integration_tests::installation::{program, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::script::Setting;

/// A running `holdfast up`.
pub(crate) struct Up {
    dir: PathBuf,
    endpoint: Value,
    child: Child,
}

impl Up {
    /// Starts it and waits until it says where it is.
    pub(crate) async fn start(dir: &Path) -> Self {
        let state = dir.join("state");
        let said = fs::File::create(dir.join("up.log")).unwrap();
        let mut command = Command::new(program().unwrap());
        command.arg("--state").arg(&state).args(["up", "--stop-timeout", "5"]).env_remove("FAILPOINTS");
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let endpoint = wait_until("`holdfast up` to be ready", || {
            let ended = child.try_wait().ok().flatten();
            let text = fs::read_to_string(state.join("endpoint.json"));
            let log = dir.join("up.log");
            async move {
                assert!(ended.is_none(), "it ended: {}", fs::read_to_string(log).unwrap_or_default());
                Ok(text.ok().and_then(|text| serde_json::from_str::<Value>(&text).ok()))
            }
        });
        let endpoint = endpoint.await.unwrap();
        Self { dir: dir.to_owned(), endpoint, child }
    }

    /// What its endpoint file says.
    pub(crate) fn setting(&self) -> Setting {
        let text = |key: &str| self.endpoint[key].as_str().unwrap().to_owned();
        let regions = self.endpoint["regions"].as_array().unwrap();
        Setting {
            url: text("api_url"),
            credentials_file: text("aws_credentials_file").into(),
            regions: regions.iter().map(|region| region.as_str().unwrap().to_owned()).collect(),
            dir: self.dir.clone(),
            key_profile: "default",
            part: String::new(),
        }
    }

    /// Ends it as Ctrl-C does.
    pub(crate) async fn stop(mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).unwrap();
        kill_process(id, Signal::INT).unwrap();
        let ended = self.child.wait().await.unwrap();
        assert!(ended.success(), "{ended}: {}", fs::read_to_string(self.dir.join("up.log")).unwrap_or_default());
    }
}
