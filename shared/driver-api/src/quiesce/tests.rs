//! Real processes: every way a hold can end must run the post hook once.

use std::path::{Path, PathBuf};

use super::*;

/// A set of hooks that write lines into `dir/log`.
fn logging(dir: &Path) -> QuiesceHooks {
    let write = |word: &str| {
        vec![
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            r#"echo "$1" >>"$2""#.to_owned(),
            "hook".to_owned(),
            word.to_owned(),
            dir.join("log").to_str().unwrap().to_owned(),
        ]
    };
    QuiesceHooks {
        pre: write("freeze"),
        post: write("thaw"),
        timeout_seconds: 20,
        hold_seconds: 60,
        on_error: HookErrorPolicy::Fail,
        level: QuiesceLevel::Application,
    }
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap_or_default()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        std::thread::yield_now();
    }
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

#[test]
fn post_runs_once_after_the_hold_is_thawed() {
    let dir = tempfile::tempdir().unwrap();
    let quiesced = logging(dir.path()).quiesce("db").unwrap();
    assert_eq!(quiesced.outcome(), QuiesceOutcome::Application);
    assert_eq!(log(dir.path()), "freeze\n");
    assert_eq!(quiesced.thaw().unwrap(), Thawed { held: true });
    assert_eq!(log(dir.path()), "freeze\nthaw\n");
}

#[test]
fn post_runs_when_the_capture_panics() {
    let dir = tempfile::tempdir().unwrap();
    let hooks = logging(dir.path());
    let result = std::panic::catch_unwind(|| {
        let _quiesced = hooks.quiesce("db").unwrap();
        panic!("capture fails");
    });
    assert!(result.is_err());
    assert_eq!(log(dir.path()), "freeze\nthaw\n");
}

#[test]
fn failing_pre_fails_with_its_output_and_still_thaws() {
    let dir = tempfile::tempdir().unwrap();
    let hooks = QuiesceHooks { pre: shell("echo cannot lock >&2; exit 3"), ..logging(dir.path()) };
    let error = hooks.quiesce("db").unwrap_err();
    assert_eq!(error.to_string(), "hook `db.pre` failed: ended with exit code 3: cannot lock");
    assert_eq!(log(dir.path()), "thaw\n");
}

#[test]
fn failing_pre_with_policy_continue_is_recorded_as_not_quiesced() {
    let dir = tempfile::tempdir().unwrap();
    let hooks = QuiesceHooks { pre: shell("exit 1"), on_error: HookErrorPolicy::Continue, ..logging(dir.path()) };
    let quiesced = hooks.quiesce("db").unwrap();
    assert_eq!(quiesced.outcome(), QuiesceOutcome::NotQuiesced);
    assert_eq!(log(dir.path()), "thaw\n");
    assert_eq!(quiesced.thaw().unwrap(), Thawed { held: false });
    assert_eq!(log(dir.path()), "thaw\n");
}

#[test]
fn pre_that_hangs_is_killed_after_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let hooks = QuiesceHooks { pre: shell("while :; do :; done"), timeout_seconds: 1, ..logging(dir.path()) };
    let error = hooks.quiesce("db").unwrap_err();
    assert_eq!(error.to_string(), "hook `db.pre` failed: took longer than 1 seconds");
    assert_eq!(log(dir.path()), "thaw\n");
}

#[test]
fn failing_post_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let hooks = QuiesceHooks { post: shell("echo still frozen; exit 9"), ..logging(dir.path()) };
    let error = hooks.quiesce("db").unwrap().thaw().unwrap_err();
    assert_eq!(error.to_string(), "hook `db.post` failed: ended with exit code 9: still frozen");
}

#[test]
fn hold_that_is_too_long_is_thawed_and_no_longer_counts_as_quiesced() {
    let dir = tempfile::tempdir().unwrap();
    let hooks = QuiesceHooks { hold_seconds: 1, ..logging(dir.path()) };
    let quiesced = hooks.quiesce("db").unwrap();
    wait_until("the supervisor thaws", || log(dir.path()) == "freeze\nthaw\n");
    assert_eq!(quiesced.thaw().unwrap(), Thawed { held: false });
    assert_eq!(log(dir.path()), "freeze\nthaw\n");
}

#[test]
fn arguments_reach_the_hooks_unparsed() {
    let dir = tempfile::tempdir().unwrap();
    let nasty = "a b'\"$(touch pwned)`;\n*";
    let mut hooks = logging(dir.path());
    hooks.pre[4] = nasty.to_owned();
    let _ = hooks.quiesce("db").unwrap().thaw().unwrap();
    assert_eq!(log(dir.path()), format!("{nasty}\nthaw\n"));
}

#[test]
fn sets_that_cannot_work_are_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let good = logging(dir.path());
    for bad in [
        QuiesceHooks { pre: vec![], ..good.clone() },
        QuiesceHooks { post: vec!["thaw".to_owned()], ..good.clone() },
        QuiesceHooks { timeout_seconds: 0, ..good.clone() },
    ] {
        assert!(bad.validate().is_err());
        assert!(matches!(bad.quiesce("db"), Err(DriverError::Hook { .. })));
    }
    assert_eq!(log(dir.path()), "");
    assert!(
        serde_json::from_str::<QuiesceHooks>(r#"{"pre":["/a"],"post":["/b"],"level":"application","x":1}"#).is_err()
    );
}

/// The process that holds; run as a child of the test below, killed by it.
#[test]
fn holder_process() {
    let Some(dir) = std::env::var_os("HOLDER_DIRECTORY").map(PathBuf::from) else { return };
    let _quiesced = logging(&dir).quiesce("db").unwrap();
    std::fs::write(dir.join("holding"), "").unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn post_runs_when_the_holder_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "quiesce::tests::holder_process"])
        .env("HOLDER_DIRECTORY", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the holder holds", || dir.path().join("holding").exists());
    assert_eq!(log(dir.path()), "freeze\n");
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_until("the supervisor thaws", || log(dir.path()) == "freeze\nthaw\n");
}
