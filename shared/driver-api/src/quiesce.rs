//! Hooks around a capture: bring the application or the file system to rest, capture, thaw.
//!
//! What is frozen must be thawed, whatever happens to the process that asked for it. A fixed shell script in a process
//! group of its own runs the pre hook, then waits until this process closes a pipe (it thaws, returns early, panics or is
//! killed: the kernel closes the pipe in all cases) or the longest hold has passed, and then runs the post hook. The
//! hooks' commands are arguments of the script and never parsed by a shell.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{DriverError, QuiesceOutcome};

/// Runs the first `$4` of the remaining arguments as pre hook and the others as post hook. Signals that would end the
/// script are caught, not ignored, so that the hooks themselves have the default reaction to them.
const SUPERVISOR: &str = r#"
trap : PIPE HUP INT TERM
pre_limit=$1 hold_limit=$2 post_limit=$3 count=$4
shift 4
if ! command -v timeout >/dev/null; then
    echo 'the command `timeout` is missing; install coreutils' >&2
    echo 'pre 127'
    echo 'post 0'
    exit 127
fi
run_pre() {
    rest=$(($# - count))
    i=0
    while [ "$i" -lt "$count" ]; do
        set -- "$@" "$1"
        shift
        i=$((i + 1))
    done
    shift "$rest"
    timeout -k 5 "$pre_limit" "$@" </dev/null >&2
}
run_pre "$@"
echo "pre $?"
timeout -s KILL "$hold_limit" cat >/dev/null 2>&1
exec </dev/null
shift "$count"
timeout -k 5 "$post_limit" "$@" >&2
echo "post $?"
"#;

/// How much of the hooks' output is kept for the error message.
const OUTPUT_TAIL_BYTES: u64 = 2048;

/// What to do when the pre hook fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookErrorPolicy {
    /// The capture fails.
    #[default]
    Fail,
    /// The capture goes on and is recorded as not quiesced.
    Continue,
}

/// What the pre hook brings to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuiesceLevel {
    /// The application: it has written all it has and holds back further writes.
    Application,
    /// The file system, for example with `fsfreeze`.
    Filesystem,
}

/// One set of hooks in a worker's local configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuiesceHooks {
    /// Program and arguments that bring to rest. No shell is involved.
    pub pre: Vec<String>,
    /// Program and arguments that thaw. Always run once after `pre` was started, also when `pre` failed, so it must bear
    /// being run when nothing is frozen.
    pub post: Vec<String>,
    /// Seconds each of the two may take before it is killed.
    #[serde(default = "default_timeout_seconds")]
    pub timeout_seconds: u64,
    /// Seconds after which `post` runs even though the capture has not ended; the recovery point is then not quiesced.
    #[serde(default = "default_hold_seconds")]
    pub hold_seconds: u64,
    /// What to do when `pre` fails.
    #[serde(default)]
    pub on_error: HookErrorPolicy,
    /// What `pre` brings to rest.
    pub level: QuiesceLevel,
}

const fn default_timeout_seconds() -> u64 {
    30
}

const fn default_hold_seconds() -> u64 {
    600
}

/// A set of hooks that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {problem}")]
pub struct InvalidHooks {
    /// The key in the set.
    pub key: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl QuiesceHooks {
    /// Whether the set can be used.
    ///
    /// # Errors
    /// Names the key that cannot.
    pub fn validate(&self) -> Result<(), InvalidHooks> {
        for (key, argv) in [("pre", &self.pre), ("post", &self.post)] {
            match argv.first() {
                None => return Err(InvalidHooks { key, problem: "is empty; name a program and its arguments" }),
                Some(program) if !program.starts_with('/') => {
                    return Err(InvalidHooks { key, problem: "must begin with the absolute path of a program" });
                }
                Some(_) if argv.iter().any(|a| a.contains('\0')) => {
                    return Err(InvalidHooks { key, problem: "has an argument with a NUL byte" });
                }
                Some(_) => {}
            }
        }
        for (key, seconds) in [("timeout_seconds", self.timeout_seconds), ("hold_seconds", self.hold_seconds)] {
            // `timeout 0` would mean no limit.
            if seconds == 0 || seconds > 86_400 {
                return Err(InvalidHooks { key, problem: "must be between 1 and 86400" });
            }
        }
        Ok(())
    }

    /// Runs the pre hook. The post hook runs when the result is thawed or dropped, when this process dies, or when the
    /// longest hold has passed.
    ///
    /// # Errors
    /// [`DriverError::Hook`] when the set is invalid, or the pre hook failed and the policy is to fail; the post hook has
    /// run by then.
    pub fn quiesce(&self, name: &str) -> Result<Quiesced, DriverError> {
        let failed = |problem: String| DriverError::Hook { hook: format!("{name}.pre"), problem };
        self.validate().map_err(|e| failed(e.to_string()))?;
        let mut supervisor = Supervisor::start(self).map_err(|e| failed(format!("cannot be started: {e}")))?;
        let status = supervisor.status("pre");
        let mut quiesced = Quiesced {
            name: name.to_owned(),
            outcome: match self.level {
                QuiesceLevel::Application => QuiesceOutcome::Application,
                QuiesceLevel::Filesystem => QuiesceOutcome::Filesystem,
            },
            hold: Duration::from_secs(self.hold_seconds),
            since: Instant::now(),
            supervisor: Some(supervisor),
        };
        if status == Some(0) {
            return Ok(quiesced);
        }
        quiesced.outcome = QuiesceOutcome::NotQuiesced;
        let problem = quiesced.describe(status, self.timeout_seconds);
        let thawed = quiesced.finish();
        match self.on_error {
            HookErrorPolicy::Fail => Err(failed(match thawed {
                Ok(_) => problem,
                Err(post) => format!("{problem}; then {post}"),
            })),
            HookErrorPolicy::Continue => {
                tracing::warn!(hook = name, problem, "going on without quiescing");
                let Thawed { .. } = thawed?;
                Ok(quiesced)
            }
        }
    }
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Thawed {
    /// Whether all was at rest until now. If not, the capture is only crash-consistent.
    pub held: bool,
}

/// Something at rest. Dropping it thaws too, but nobody hears of a failure then.
#[derive(Debug)]
#[must_use]
pub struct Quiesced {
    name: String,
    outcome: QuiesceOutcome,
    hold: Duration,
    since: Instant,
    supervisor: Option<Supervisor>,
}

impl Quiesced {
    /// What was reached.
    #[must_use]
    pub const fn outcome(&self) -> QuiesceOutcome {
        self.outcome
    }

    /// Runs the post hook and waits for it.
    ///
    /// # Errors
    /// [`DriverError::Hook`] when it failed: something may still be frozen.
    pub fn thaw(mut self) -> Result<Thawed, DriverError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<Thawed, DriverError> {
        let Some(mut supervisor) = self.supervisor.take() else {
            return Ok(Thawed { held: self.outcome != QuiesceOutcome::NotQuiesced });
        };
        // The supervisor closes its end of the pipe when it stops waiting, so a write that fails tells of an early thaw.
        let in_time = self.since.elapsed() < self.hold;
        let waiting = supervisor.release();
        let status = supervisor.status("post");
        let output = supervisor.end();
        if status == Some(0) {
            return Ok(Thawed { held: in_time && waiting && self.outcome != QuiesceOutcome::NotQuiesced });
        }
        Err(DriverError::Hook { hook: format!("{}.post", self.name), problem: describe(status, None, &output) })
    }

    fn describe(&mut self, status: Option<i32>, limit_seconds: u64) -> String {
        let output = self.supervisor.as_mut().map(Supervisor::output).unwrap_or_default();
        describe(status, Some(limit_seconds), &output)
    }
}

impl Drop for Quiesced {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "thaw failed; something may still be frozen");
        }
    }
}

fn describe(status: Option<i32>, limit_seconds: Option<u64>, output: &str) -> String {
    let what = match status {
        Some(124 | 137) => {
            limit_seconds.map_or_else(|| "took too long".to_owned(), |s| format!("took longer than {s} seconds"))
        }
        Some(126) => "is not executable".to_owned(),
        Some(127) => "was not found".to_owned(),
        Some(code) => format!("ended with exit code {code}"),
        None => "lost its supervisor; look whether something is still frozen".to_owned(),
    };
    if output.is_empty() { what } else { format!("{what}: {output}") }
}

/// The script that outlives this process.
#[derive(Debug)]
struct Supervisor {
    child: Child,
    hold: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
    output: File,
}

impl Supervisor {
    fn start(hooks: &QuiesceHooks) -> std::io::Result<Self> {
        // A file, not a pipe: a post hook that outlives this process must still be able to write.
        let output = tempfile::tempfile()?;
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(SUPERVISOR)
            .arg("holdfast-quiesce")
            .args([hooks.timeout_seconds, hooks.hold_seconds, hooks.timeout_seconds].map(|s| s.to_string()))
            .arg(hooks.pre.len().to_string())
            .args(&hooks.pre)
            .args(&hooks.post)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output.try_clone()?)
            .process_group(0)
            .spawn()?;
        let (Some(hold), Some(reports)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("the supervisor has no pipes"));
        };
        Ok(Self { child, hold: Some(hold), reports: BufReader::new(reports), output })
    }

    /// The exit code the supervisor reports for a hook; none when it died. Bounded by the hook's own time limit.
    fn status(&mut self, hook: &str) -> Option<i32> {
        let mut line = String::new();
        self.reports.read_line(&mut line).ok()?;
        line.strip_prefix(hook)?.trim().parse().ok()
    }

    /// Ends the hold; false when it had ended already.
    fn release(&mut self) -> bool {
        self.hold.take().is_some_and(|mut hold| hold.write_all(b"thaw\n").is_ok())
    }

    fn output(&mut self) -> String {
        tail(&mut self.output).unwrap_or_default()
    }

    fn end(mut self) -> String {
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, "wait for the supervisor of a hook");
        }
        self.output()
    }
}

fn tail(file: &mut File) -> std::io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_TAIL_BYTES).read_to_end(&mut bytes)?;
    // The file offset is shared with the hooks that write there; leave it at the end for them.
    file.seek(SeekFrom::End(0))?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests;
