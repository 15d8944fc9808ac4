//! A real `qemu-storage-daemon` with one disk, written as a guest writes and looked at past the driver.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A mebibyte.
pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && !out.contains("error"), "{program} {arguments:?}: {out}{err}");
    out
}

/// A daemon with one disk, which writers reach over NBD.
pub(crate) struct Daemon {
    directory: tempfile::TempDir,
    format: &'static str,
    /// Whether an NBD server runs from the start, over which the disk is written.
    has_guest: bool,
    pub(crate) child: Option<Child>,
}

impl Daemon {
    /// 300 MiB with data in the first 20 and from 200 on.
    pub(crate) fn new(format: &'static str, has_guest: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut daemon = Self { directory, format, has_guest, child: None };
        let image = daemon.path("disk");
        let shown = image.to_str().unwrap();
        run("qemu-img", &["create", "-q", "-f", format, shown, "300M"]);
        run("qemu-io", &["-f", format, "-c", "write -P 7 0 20M", "-c", "write -P 9 200M 3M", shown]);
        daemon.start();
        daemon
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn start(&mut self) {
        // Sockets of a daemon that was killed are still there, and nobody listens.
        let sockets: Vec<PathBuf> = if self.has_guest { vec!["qmp", "nbd"] } else { vec!["qmp"] }
            .into_iter()
            .map(|name| self.path(name))
            .collect();
        for socket in &sockets {
            let _none = std::fs::remove_file(socket);
        }
        let qmp = self.path("qmp");
        let child = Command::new("qemu-storage-daemon")
            .arg("--chardev")
            .arg(format!("socket,path={},server=on,wait=off,id=monitor", qmp.display()))
            .args(["--monitor", "chardev=monitor", "--blockdev"])
            .arg(format!("driver=file,node-name=file0,filename={}", self.path("disk").display()))
            .arg("--blockdev")
            .arg(format!("driver={},node-name=disk0,file=file0", self.format))
            .args(self.guest())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let begun = Instant::now();
        while sockets.iter().any(|socket| UnixStream::connect(socket).is_err()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "the daemon does not come up");
            std::thread::yield_now();
        }
    }

    /// What of the command line is for the guest.
    fn guest(&self) -> Vec<String> {
        if !self.has_guest {
            return Vec::new();
        }
        let server = format!("addr.type=unix,addr.path={}", self.path("nbd").display());
        let export = "type=nbd,id=guest,node-name=disk0,name=guest,writable=on";
        ["--nbd-server", &server, "--export", export].map(str::to_owned).to_vec()
    }

    /// Ends in order, so that bitmaps are saved.
    pub(crate) fn stop(&mut self) {
        self.monitor("quit", serde_json::json!({}));
        self.child.take().unwrap().wait().unwrap();
    }

    pub(crate) fn kill9(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A command on the monitor by hand; gives the answer.
    pub(crate) fn monitor(&self, command: &str, arguments: serde_json::Value) -> serde_json::Value {
        use std::io::{BufRead, BufReader, Write};

        let mut stream = BufReader::new(UnixStream::connect(self.path("qmp")).unwrap());
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let commands = [("qmp_capabilities", serde_json::json!({})), (command, arguments)];
        let mut answer = serde_json::Value::Null;
        for (command, arguments) in commands {
            let request = serde_json::json!({ "execute": command, "arguments": arguments });
            stream.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
            loop {
                line.clear();
                stream.read_line(&mut line).unwrap();
                answer = serde_json::from_str(&line).unwrap_or_default();
                if answer.get("event").is_none() {
                    break;
                }
            }
        }
        answer
    }

    /// Writes through the daemon, as a guest does.
    pub(crate) fn write(&self, commands: &[&str]) {
        write(&self.path("nbd"), commands);
    }

    fn disk(&self) -> serde_json::Value {
        let nodes = self.monitor("query-named-block-nodes", serde_json::json!({ "flat": true }));
        let disk = nodes["return"].as_array().unwrap().iter().find(|node| node["node-name"] == "disk0");
        disk.unwrap().clone()
    }

    /// The disk as the daemon has it, as a raw image; not through the driver.
    pub(crate) fn copy(&self, name: &str) -> PathBuf {
        let to = self.path(name);
        if self.has_guest {
            let url = format!("nbd+unix:///guest?socket={}", self.path("nbd").display());
            run("qemu-img", &["convert", "-f", "raw", "-O", "raw", &url, to.to_str().unwrap()]);
        } else {
            let disk = self.path("disk");
            run(
                "qemu-img",
                &["convert", "-U", "-f", self.format, "-O", "raw", disk.to_str().unwrap(), to.to_str().unwrap()],
            );
        }
        to
    }

    pub(crate) fn bitmaps(&self) -> Vec<String> {
        let disk = self.disk();
        let bitmaps = disk["dirty-bitmaps"].as_array().cloned().unwrap_or_default();
        bitmaps.iter().map(|bitmap| bitmap["name"].as_str().unwrap().to_owned()).collect()
    }

    /// What a capture that ended left in the daemon besides its bitmap.
    pub(crate) fn litter(&self) -> Vec<String> {
        let asked = ["query-named-block-nodes", "query-jobs", "query-block-exports"];
        let answers = asked.map(|command| self.monitor(command, serde_json::json!({})).to_string());
        let mut found: Vec<String> = answers.into_iter().filter(|answer| answer.contains("\"hf-")).collect();
        let scratch = std::fs::read_dir(self.path("scratch")).unwrap();
        found.extend(scratch.map(|entry| entry.unwrap().path().display().to_string()));
        found
    }
}

pub(crate) fn write(socket: &Path, commands: &[&str]) {
    let mut arguments = vec!["-f", "raw", "-d", "unmap"];
    arguments.extend(commands.iter().flat_map(|command| ["-c", *command]));
    let url = format!("nbd+unix:///guest?socket={}", socket.display());
    arguments.push(&url);
    run("qemu-io", &arguments);
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill9();
        }
    }
}
