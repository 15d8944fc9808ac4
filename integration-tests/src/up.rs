//! `holdfast up` as its users run it: one command, the services as its children, the command line beside it.

#![expect(clippy::expect_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::installation::program;

/// How long something may take that normally takes some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until it says something.
///
/// # Panics
/// With what was waited for, when it does not come.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A running `holdfast up`; it ends when it is dropped.
#[derive(Debug)]
pub struct Up {
    child: Child,
    state: PathBuf,
    endpoint: Value,
}

impl Up {
    /// Starts it for the regions `ap-northeast-1` and `ap-northeast-3`, with its state below the directory.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        let state = dir.join("state");
        let log = fs::File::create(dir.join("up.log")).expect("a log can be written");
        let child = Command::new(program().expect("the program is built"))
            .args(["up", "--region", "ap-northeast-1", "--region", "ap-northeast-3", "--state"])
            .arg(&state)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let mut up = Self { child, state, endpoint: Value::Null };
        up.endpoint =
            wait_for("`holdfast up`", || serde_json::from_slice(&fs::read(up.state.join("endpoint.json")).ok()?).ok());
        up
    }

    /// Its state directory.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Where the API is answered.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.endpoint["api_url"].as_str().unwrap_or_default().to_owned()
    }

    /// The access keys of the API.
    #[must_use]
    pub fn credentials_file(&self) -> PathBuf {
        self.state.join("aws-credentials")
    }

    /// The process of a service, by what `/proc` says of the children.
    fn service(&self, name: &str) -> Option<Pid> {
        let parent = self.child.id().to_string();
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let id: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // Behind the name in brackets: state, parent.
            let is_child = stat.rsplit_once(") ")?.1.split(' ').nth(1)? == parent;
            let command = fs::read(entry.path().join("cmdline")).ok()?;
            let arguments: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
            let is_it = arguments.windows(2).any(|pair| pair == [b"service".as_slice(), name.as_bytes()]);
            (is_child && is_it).then(|| Pid::from_raw(id)).flatten()
        })
    }

    /// Kills services without a warning, one after the other, and waits until others are in their place.
    ///
    /// # Panics
    /// When one is not there, or does not come back.
    pub fn kill(&self, names: &[&str]) {
        for name in names {
            let old = wait_for(name, || self.service(name));
            kill_process(old, Signal::KILL).expect("a child may be killed");
            wait_for(name, || self.service(name).filter(|new| *new != old));
        }
    }

    /// The command line with these arguments and no environment of its own.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(program().expect("the program is built"))
            .args(arguments)
            .env("HOLDFAST_STATE", &self.state)
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    }

    /// What the command line says as JSON.
    ///
    /// # Panics
    /// When it fails.
    pub fn cli(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--output", "json"]].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told}");
        serde_json::from_slice(&output.stdout).expect("one JSON document")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Gone already: then there is nothing to end.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
