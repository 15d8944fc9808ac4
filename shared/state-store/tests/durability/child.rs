//! A process of its own that commits rows and says so, for the tests that kill it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use state_store::StateStore;

use crate::rows;

const DIR: &str = "STATE_STORE_CHILD_DIR";
const ACKNOWLEDGED: &str = "acknowledged ";
const PROCESS: &str = "process ";

/// Not `println!`: it may be captured, and it buffers.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Commits rows for ever. Started by the other tests, never by itself.
#[test]
#[ignore = "the process that other tests start and kill"]
fn commits_rows_until_it_is_killed() {
    let dir = std::env::var_os(DIR).expect("started by another test");
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    say(&format!("\n{PROCESS}{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = StateStore::open(&rows::config(Path::new(&dir))).unwrap().store;
        let from = rows::count(&store).await + 1;
        for number in from.. {
            store.transact(move |tx| rows::put(tx, number)).await.unwrap();
            say(&format!("{ACKNOWLEDGED}{number}"));
        }
    });
}

pub(crate) struct Writer {
    child: Child,
    /// The process that commits; below a wrapper it is not the child.
    process: Option<Pid>,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    pub(crate) newest: u64,
}

/// The child's command line.
fn arguments() -> [&'static str; 4] {
    ["child::commits_rows_until_it_is_killed", "--exact", "--ignored", "--nocapture"]
}

impl Writer {
    /// Starts it on `<base>/state`.
    pub(crate) fn start(base: &Path) -> Self {
        Self::start_with(base, Command::new(std::env::current_exe().unwrap()).args(arguments()))
    }

    /// Starts it below a program that runs its arguments.
    pub(crate) fn start_under(base: &Path, wrapper: &mut Command) -> Self {
        Self::start_with(base, wrapper.arg(std::env::current_exe().unwrap()).args(arguments()))
    }

    /// Starts it with failpoints.
    #[cfg(feature = "failpoints")]
    pub(crate) fn start_failing(base: &Path, failpoints: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        Self::start_with(base, command.args(arguments()).env("FAILPOINTS", failpoints))
    }

    fn start_with(base: &Path, command: &mut Command) -> Self {
        let mut child = command.env(DIR, base).stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, process: None, lines, newest: 0 }
    }

    /// Reads until it acknowledged that many more, or ended; tells whether it still runs.
    pub(crate) fn read(&mut self, more: usize) -> bool {
        let mut read = 0;
        while read < more {
            let Some(line) = self.lines.next() else { return false };
            let line = line.unwrap();
            if let Some(process) = line.strip_prefix(PROCESS) {
                self.process = Pid::from_raw(process.parse().unwrap());
            }
            if let Some(number) = line.strip_prefix(ACKNOWLEDGED) {
                self.newest = number.parse().unwrap();
                read += 1;
            }
        }
        true
    }

    /// Kills it and returns the newest number it acknowledged, ever.
    pub(crate) fn kill(mut self) -> u64 {
        kill_process(self.process.expect("it said its id"), Signal::KILL).unwrap();
        while self.read(1) {}
        // A tracer ends with the signal of what it traced.
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
        self.newest
    }

    /// Waits until it ends by itself; returns its signal and the newest number it acknowledged.
    pub(crate) fn end(mut self) -> (Option<i32>, u64) {
        while self.read(1) {}
        (self.child.wait().unwrap().signal(), self.newest)
    }
}
