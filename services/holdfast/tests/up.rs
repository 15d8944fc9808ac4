//! `holdfast up` as an operator meets it: real processes, real signals, a real nats-server.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for a busy machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

fn holdfast(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.arg("--state").arg(state).env_remove("HOLDFAST_NATS_URL").env_remove("HOLDFAST_STATE");
    command
}

fn ask(state: &Path, line: &str) -> Output {
    holdfast(state).args(line.split_whitespace()).output().unwrap()
}

fn json(state: &Path, line: &str) -> Value {
    let output = ask(state, &format!("{line} --output json"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A running `up`.
struct Up {
    child: Child,
    state: PathBuf,
}

impl Up {
    fn start(state: &Path) -> Self {
        let mut child = holdfast(state)
            .args(["up", "--region", "ap-northeast-1", "--stop-timeout", "10", "--output", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["status"], "ready", "{line}");
        Self { child, state: state.to_owned() }
    }

    fn stop(mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }

    /// The processes that work for this directory, by the name of their configuration.
    fn services(&self) -> Vec<(u32, String)> {
        processes_of(&self.state)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All processes whose command line names a file below the directory's `config` or `nats`.
fn processes_of(state: &Path) -> Vec<(u32, String)> {
    let marks = ["config/", "nats/"].map(|dir| format!("{}/{dir}", state.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<String> = line.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        // The guard becomes its program at once; while it has not, its own end is tied to its parent's all the same.
        if let Some(file) = words.iter().find_map(|w| marks.iter().find_map(|mark| w.strip_prefix(mark.as_str()))) {
            found.push((pid, file.to_owned()));
        }
    }
    found
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_service_that_is_killed_comes_back_and_what_was_asked_for_is_still_there() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(dir.path().join("home")).unwrap();
    std::fs::write(dir.path().join("home/file"), "content").unwrap();
    let up = Up::start(&state);
    json(&state, &format!("resource add home --type files --path {}", dir.path().join("home").display()));
    json(&state, "vault create tokyo");

    let (planner, _) = up.services().into_iter().find(|(_, file)| file == "planner.toml").unwrap();
    let pid = rustix::process::Pid::from_raw(planner.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("another planner runs and answers", || {
        up.services().iter().any(|(other, file)| file == "planner.toml" && *other != planner)
            && ask(&state, "resource list").status.success()
    });
    assert_eq!(json(&state, "resource list")[0]["location"], format!("file://{}", dir.path().join("home").display()));

    let job = json(&state, "backup start home --vault tokyo --wait");
    assert_eq!(job["state"], "COMPLETED");
    assert_eq!(up.stop(), 0);
    assert_eq!(processes_of(&state), []);

    // Everything is still there after all of it was started again.
    let up = Up::start(&state);
    let points = json(&state, "recovery-point list");
    let point = points[0]["id"].as_str().unwrap();
    let listed = json(&state, &format!("recovery-point browse {point} /data"));
    assert_eq!(listed[0]["name"], "file");
    let content = ask(&state, &format!("recovery-point browse {point} /data/file --print"));
    assert_eq!(content.stdout, b"content");
    assert_eq!(up.stop(), 0);
}

#[test]
fn nothing_lives_on_when_up_is_killed_and_it_can_be_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut up = Up::start(&state);
    assert_eq!(up.services().len(), 7, "bus, planner, verifier, three workers and the gateway");

    let second = ask(&state, "up --region ap-northeast-1");
    assert_eq!(second.status.code(), Some(66), "{second:?}");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&format!("process {}", up.child.id())), "{said}");

    up.child.kill().unwrap();
    up.child.wait().unwrap();
    eventually("all children end with their supervisor", || processes_of(&state).is_empty());
    let unreachable = ask(&state, "vault list --timeout 1");
    assert_eq!(unreachable.status.code(), Some(69), "{unreachable:?}");

    let up = Up::start(&state);
    assert_eq!(json(&state, "vault list"), serde_json::json!([]));
    assert_eq!(up.stop(), 0);
    let stopped = ask(&state, "vault list");
    assert_eq!(stopped.status.code(), Some(69), "{stopped:?}");
}

#[test]
fn a_refused_request_and_a_missing_name_have_an_exit_code_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let up = Up::start(&state);
    let missing = ask(&state, "vault delete nowhere");
    assert_eq!(missing.status.code(), Some(66));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no vault `nowhere`"));
    // One letter is too short for the planner.
    let refused = ask(&state, "vault create x");
    assert_eq!(refused.status.code(), Some(66), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("because of `"), "{refused:?}");
    assert_eq!(ask(&state, "vault create").status.code(), Some(64));
    assert_eq!(up.stop(), 0);
}
