//! One child process: how it is started, asked to end, and looked at.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A log of an earlier run larger than this is put aside at the start.
const LOG_BYTES_MAX: u64 = 32 << 20;
/// The largest answer of a health check that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Variables that are keys of one service; the others would refuse them.
const OWN_PREFIX: &str = "HOLDFAST__";
/// Variables of this prefix are for all services.
const COMMON_PREFIX: &str = "HOLDFAST__COMMON__";

/// Starts a program under the guard, with its output in the log. Must be called on a thread that lives as long as the
/// supervisor: the kernel ties the child to that thread.
pub(super) fn spawn(program: &[OsString], log: &Path) -> io::Result<Child> {
    let (out, err) = open_log(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("guard").arg("--supervisor").arg(std::process::id().to_string()).arg("--").args(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with(OWN_PREFIX) && !text.starts_with(COMMON_PREFIX) {
            command.env_remove(&name);
        }
    }
    // A group of its own: Ctrl-C on the terminal reaches the supervisor alone, which then stops its children in order.
    command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err).spawn()
}

fn open_log(path: &Path) -> io::Result<(Stdio, Stdio)> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    Ok((file.try_clone()?.into(), file.into()))
}

/// Sends a signal to a child that was not waited for yet. One that ended already needs none.
pub(super) fn signal(child: &Child, signal: Signal) {
    let _ = kill_process(Pid::from_child(child), signal);
}

/// A port of the loopback address that nobody listens on now.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Whether nobody listens on the port now.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// What a service says of itself on `/readyz`: nothing when it is ready, else its reasons.
pub(super) async fn readiness(address: SocketAddr) -> Result<(), String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        io::Result::Ok(answer)
    };
    match tokio::time::timeout(Duration::from_secs(2), ask).await {
        Err(_) => Err("does not answer".to_owned()),
        Ok(Err(e)) => Err(format!("does not answer: {e}")),
        Ok(Ok(answer)) => read_readiness(&answer),
    }
}

/// Reads the HTTP answer of `/readyz`.
fn read_readiness(answer: &str) -> Result<(), String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    if head.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let reasons: Vec<String> = body["reasons"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|r| format!("{}: {}", r["part"].as_str().unwrap_or("?"), r["reason"].as_str().unwrap_or("?")))
        .collect();
    Err(if reasons.is_empty() { "is not ready".to_owned() } else { reasons.join("; ") })
}

/// The last lines of a log, for a message.
pub(super) fn last_lines(log: &Path, lines: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let tail = &bytes[bytes.len().saturating_sub(8 << 10)..];
    let text = String::from_utf8_lossy(tail);
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_the_status_and_its_reasons_are_told() {
        assert_eq!(read_readiness("HTTP/1.1 200 OK\r\n\r\n{}"), Ok(()));
        let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\r\n\
                      {\"ok\":false,\"reasons\":[{\"part\":\"bus\",\"reason\":\"connecting\"}]}";
        assert_eq!(read_readiness(answer), Err("bus: connecting".to_owned()));
        assert_eq!(read_readiness(""), Err("is not ready".to_owned()));
    }
}
