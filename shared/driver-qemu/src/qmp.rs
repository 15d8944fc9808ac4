//! The monitor: commands and answers, a line of JSON each.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{QemuError, protocol};
use crate::settings::QemuProfile;

/// Longest line that is read: lists of block nodes are the longest answers.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// How often a job is looked at that has not ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A connection to a monitor.
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
    socket: String,
    timeout: Duration,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default, rename = "return")]
    value: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    class: String,
    desc: String,
}

/// A dirty bitmap, as the monitor lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Bitmap {
    #[serde(default)]
    pub(crate) name: String,
    /// In bytes.
    pub(crate) granularity: u64,
    pub(crate) recording: bool,
    pub(crate) busy: bool,
    #[serde(default)]
    pub(crate) inconsistent: bool,
}

/// A block node, as far as it matters.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Node {
    #[serde(rename = "node-name")]
    pub(crate) name: String,
    /// Which driver.
    pub(crate) drv: String,
    pub(crate) image: Image,
    #[serde(default, rename = "dirty-bitmaps")]
    pub(crate) bitmaps: Vec<Bitmap>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Image {
    /// In bytes.
    #[serde(rename = "virtual-size")]
    pub(crate) size: u64,
}

#[derive(Deserialize)]
struct Job {
    id: String,
    status: String,
    error: Option<String>,
}

impl Monitor {
    /// Connects and greets.
    pub(crate) fn connect(profile: &QemuProfile) -> Result<Self, QemuError> {
        let socket = profile.qmp_socket.display().to_string();
        let failed =
            |source| QemuError::Connection { action: "connect to QEMU's monitor", socket: socket.clone(), source };
        let stream = UnixStream::connect(&profile.qmp_socket).map_err(failed)?;
        stream.set_read_timeout(Some(profile.timeout())).map_err(failed)?;
        stream.set_write_timeout(Some(profile.timeout())).map_err(failed)?;
        let stream = BufReader::new(stream);
        let mut monitor = Self { stream, socket, timeout: profile.timeout() };
        let greeting = monitor.line()?;
        if greeting.get("QMP").is_none() {
            return Err(protocol(format!("`{}` is no QMP monitor", monitor.socket)));
        }
        monitor.run("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    fn line(&mut self) -> Result<Value, QemuError> {
        let failed = |socket: &str, source| QemuError::Connection {
            action: "wait for QEMU's monitor (which answers one client at a time)",
            socket: socket.to_owned(),
            source,
        };
        let mut line = Vec::new();
        (&mut self.stream)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|source| failed(&self.socket, source))?;
        if line.last() != Some(&b'\n') {
            return Err(failed(&self.socket, std::io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&line).map_err(|error| protocol(format!("a line is no JSON: {error}")))
    }

    /// Runs a command and gives what it returns.
    pub(crate) fn run(&mut self, command: &str, arguments: Value) -> Result<Value, QemuError> {
        let request = json!({ "execute": command, "arguments": arguments });
        let mut line = request.to_string();
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes()).map_err(|source| QemuError::Connection {
            action: "write to QEMU's monitor",
            socket: self.socket.clone(),
            source,
        })?;
        loop {
            let line = self.line()?;
            if line.get("event").is_some() {
                continue;
            }
            let answer: Answer =
                serde_json::from_value(line).map_err(|error| protocol(format!("to `{command}`: {error}")))?;
            return match (answer.value, answer.error) {
                (Some(value), None) => Ok(value),
                (_, Some(error)) => {
                    Err(QemuError::Refused { command: command.to_owned(), class: error.class, problem: error.desc })
                }
                (None, None) => Err(protocol(format!("to `{command}`: neither a value nor an error"))),
            };
        }
    }

    fn list<T: for<'de> Deserialize<'de>>(&mut self, command: &str, arguments: Value) -> Result<Vec<T>, QemuError> {
        let value = self.run(command, arguments)?;
        serde_json::from_value(value).map_err(|error| protocol(format!("to `{command}`: {error}")))
    }

    /// The block node of a name.
    pub(crate) fn node(&mut self, name: &str) -> Result<Option<Node>, QemuError> {
        let nodes: Vec<Node> = self.list("query-named-block-nodes", json!({ "flat": true }))?;
        Ok(nodes.into_iter().find(|node| node.name == name))
    }

    /// Runs a job that ends by itself, to its end.
    pub(crate) fn job(&mut self, command: &str, id: &str, mut arguments: Value) -> Result<(), QemuError> {
        arguments["job-id"] = json!(id);
        self.run(command, arguments)?;
        let begun = Instant::now();
        loop {
            match self.state_of(id)? {
                Some(job) if job.status == "concluded" => {
                    self.run("job-dismiss", json!({ "id": id }))?;
                    return match job.error {
                        None => Ok(()),
                        Some(problem) => Err(QemuError::Failed { problem: format!("{command}: {problem}") }),
                    };
                }
                Some(_) if begun.elapsed() < self.timeout => std::thread::sleep(LOOK_EVERY),
                Some(_) => return Err(QemuError::Failed { problem: format!("{command}: it did not end in time") }),
                None => return Err(QemuError::Failed { problem: format!("{command}: the job vanished") }),
            }
        }
    }

    fn state_of(&mut self, id: &str) -> Result<Option<Job>, QemuError> {
        Ok(self.list::<Job>("query-jobs", json!({}))?.into_iter().find(|job| job.id == id))
    }

    /// Whether a job that is to go on does.
    pub(crate) fn must_run(&mut self, id: &str) -> Result<(), QemuError> {
        let state = self.state_of(id)?;
        let problem = match &state {
            Some(job) if job.error.is_none() && matches!(job.status.as_str(), "running" | "ready" | "paused") => {
                return Ok(());
            }
            Some(job) => job.error.clone().unwrap_or_else(|| format!("it is {}", job.status)),
            None => "it ended".to_owned(),
        };
        Err(QemuError::Failed {
            problem: format!(
                "the job that keeps the instant failed ({problem}); is there room in the scratch directory?"
            ),
        })
    }

    /// Cancels a job and waits until it is gone. None of that id is success.
    pub(crate) fn cancel(&mut self, id: &str) -> Result<(), QemuError> {
        if self.state_of(id)?.is_none() {
            return Ok(());
        }
        match self.run("job-cancel", json!({ "id": id })) {
            Ok(_) | Err(QemuError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        let begun = Instant::now();
        while let Some(job) = self.state_of(id)? {
            if job.status == "concluded" {
                self.run("job-dismiss", json!({ "id": id }))?;
            } else if begun.elapsed() > self.timeout {
                return Err(QemuError::Failed { problem: format!("job `{id}` does not end") });
            } else {
                std::thread::sleep(LOOK_EVERY);
            }
        }
        Ok(())
    }
}
