//! The life of a real process: arguments, configuration, signals, exit codes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// The example is built beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/idle_service")
}

fn configuration(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("idle.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

/// The smallest configuration that can be used, with more lines at its end.
fn with(more: &str) -> String {
    format!("[common]\nstate_dir = \"/nonexistent/state\"\nstop_wait = \"30s\"\n{more}")
}

fn run(file: &std::path::Path, more: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(program())
        .arg("--config")
        .arg(file)
        .args(more)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_missing_configuration_file_is_named() {
    let output = run(std::path::Path::new("/nonexistent/idle.toml"), &[], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("`/nonexistent/idle.toml`"), "{}", stderr(&output));
}

#[test]
fn an_unknown_key_is_refused_with_its_file_and_the_known_ones() {
    let (_dir, file) = configuration(&with("instanz = \"2\"\n"));
    let output = run(&file, &["--check-config"], &[]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(64));
    assert!(text.contains("`common.instanz`") && text.contains("idle.toml") && text.contains("`instance`"), "{text}");
}

#[test]
fn an_unknown_variable_is_refused_by_its_own_name() {
    let (_dir, file) = configuration(&with(""));
    let output = run(&file, &["--check-config"], &[("HOLDFAST__COMMON__INSTANZ", "2")]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("`HOLDFAST__COMMON__INSTANZ`"), "{}", stderr(&output));
}

#[test]
fn a_variable_of_the_command_line_means_nothing_to_a_service() {
    let (_dir, file) = configuration(&with(""));
    let output = run(&file, &["--check-config"], &[("HOLDFAST_OUTPUT", "json"), ("HOLDFAST_REGION", "eu-west-1")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_what_to_write() {
    let (_dir, file) = configuration("limit = \"many\"\n[common]\nstate_dir = \"/x\"\n");
    let output = run(&file, &["--check-config"], &[]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(64));
    assert!(text.contains("`limit`") && text.contains("many") && text.contains("u32"), "{text}");
}

#[test]
fn a_value_the_service_cannot_use_is_refused() {
    let (_dir, file) = configuration(&format!("limit = 101\n{}", with("")));
    let output = run(&file, &["--check-config"], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("`limit` is `101`"), "{}", stderr(&output));
}

#[test]
fn the_environment_goes_before_the_file() {
    let (_dir, file) = configuration(&format!("limit = 101\n{}", with("")));
    let output = run(&file, &["--check-config"], &[("HOLDFAST__LIMIT", "7")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_relative_state_directory_is_refused() {
    let (_dir, file) = configuration("[common]\nstate_dir = \"state\"\n");
    let output = run(&file, &["--check-config"], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("`common.state_dir` is `state`"), "{}", stderr(&output));
}

#[test]
fn an_unknown_argument_is_a_usage_error() {
    let output = Command::new(program()).arg("--nope").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn a_missing_dependency_has_its_own_exit_code_and_mend() {
    let (_dir, file) = configuration(&format!("behaviour = \"lonely\"\n{}", with("")));
    let output = run(&file, &[], &[]);
    assert_eq!(output.status.code(), Some(75));
    assert!(stderr(&output).contains("nobody answers at `nats://x`; start it"), "{}", stderr(&output));
}

#[test]
fn a_service_that_ends_by_itself_is_a_crash() {
    let (_dir, file) = configuration(&format!("behaviour = \"deserter\"\n{}", with("")));
    assert_eq!(run(&file, &[], &[]).status.code(), Some(70));
}

#[test]
fn a_panic_is_logged_and_is_a_crash() {
    let (_dir, file) = configuration(&format!("behaviour = \"panicking\"\n{}", with("")));
    let output = run(&file, &[], &[]);
    assert_eq!(output.status.code(), Some(70));
    assert!(stderr(&output).contains("the sky falls"), "{}", stderr(&output));
}

#[test]
fn an_absent_collector_does_not_keep_the_process_from_ending() {
    let (_dir, file) = configuration(&format!(
        "behaviour = \"lonely\"\n{}",
        with("[common.telemetry]\notlp_endpoint = \"http://127.0.0.1:1\"\n")
    ));
    let started = std::time::Instant::now();
    assert_eq!(run(&file, &[], &[]).status.code(), Some(75));
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

/// A running process and the lines it logs.
struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    seen: String,
}

impl Running {
    fn start(file: &std::path::Path) -> Self {
        let mut child =
            Command::new(program()).arg("--config").arg(file).env_clear().stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log, seen: String::new() }
    }

    fn wait_for(&mut self, words: &str) {
        while !self.seen.contains(words) {
            let before = self.seen.len();
            self.log.read_line(&mut self.seen).unwrap();
            assert!(self.seen.len() > before, "the log ended without `{words}`: {}", self.seen);
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(name).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    fn end(mut self) -> (Option<i32>, String) {
        self.log.read_to_string(&mut self.seen).unwrap();
        (self.child.wait().unwrap().code(), self.seen)
    }
}

#[test]
fn the_first_signal_ends_a_good_service_cleanly() {
    let (_dir, file) = configuration(&with(""));
    let mut process = Running::start(&file);
    process.wait_for("ready");
    process.signal("-TERM");
    assert_eq!(process.end().0, Some(0));
}

#[test]
fn the_second_signal_stops_hard() {
    let (_dir, file) = configuration(&format!("behaviour = \"stubborn\"\n{}", with("")));
    let mut process = Running::start(&file);
    process.wait_for("ready");
    process.signal("-TERM");
    process.wait_for("stopping: ");
    process.signal("-INT");
    let (code, log) = process.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopping now"), "{log}");
}

#[test]
fn patience_ends_as_a_second_signal_would() {
    let (_dir, file) = configuration("behaviour = \"stubborn\"\n[common]\nstate_dir = \"/x\"\nstop_wait = \"50ms\"\n");
    let mut process = Running::start(&file);
    process.wait_for("ready");
    process.signal("-TERM");
    assert_eq!(process.end().0, Some(0));
}

#[test]
fn the_start_line_shows_the_configuration_without_secrets() {
    let (_dir, file) = configuration(&format!("behaviour = \"lonely\"\nnats_password = \"geheim\"\n{}", with("")));
    let text = stderr(&run(&file, &[], &[]));
    assert!(text.contains("starting") && text.contains("/nonexistent/state"), "{text}");
    assert!(!text.contains("geheim"), "{text}");
}
