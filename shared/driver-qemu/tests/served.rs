//! Disks of a real `qemu-storage-daemon`, written by `qemu-io` while they are captured, through whatever may happen to the
//! capture and to the daemon. `qemu-img compare` is the judge.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use driver_api::conformance::{CountingControl, MemoryVault, Point};
use driver_api::{
    CaptureRequest, CaptureWriter, Driver, DriverError, NoControl, ParentPoint, QuiesceOutcome, RestoreRequest,
    Tracking, TrackingSettings,
};
use driver_qemu::{QemuProfile, QemuSettings, ServedVolumeDriver};
use job_model::{ChangeMethod, OverwritePolicy, SourceView};
use parking_lot::Mutex;
use vault_format::{Node, NodeKind, Tree};

const MIB: u64 = 1 << 20;

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && !out.contains("error"), "{program} {arguments:?}: {out}{err}");
    out
}

/// A daemon with one disk, which writers reach over NBD.
struct Daemon {
    directory: tempfile::TempDir,
    format: &'static str,
    /// Whether an NBD server runs from the start, over which the disk is written.
    has_guest: bool,
    child: Option<Child>,
}

impl Daemon {
    /// 300 MiB with data in the first 20 and from 200 on.
    fn new(format: &'static str, has_guest: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut daemon = Self { directory, format, has_guest, child: None };
        let image = daemon.path("disk");
        let shown = image.to_str().unwrap();
        run("qemu-img", &["create", "-q", "-f", format, shown, "300M"]);
        run("qemu-io", &["-f", format, "-c", "write -P 7 0 20M", "-c", "write -P 9 200M 3M", shown]);
        daemon.start();
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&mut self) {
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
    fn stop(&mut self) {
        self.monitor("quit", serde_json::json!({}));
        self.child.take().unwrap().wait().unwrap();
    }

    fn kill9(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A command on the monitor by hand; gives the answer.
    fn monitor(&self, command: &str, arguments: serde_json::Value) -> serde_json::Value {
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
    fn write(&self, commands: &[&str]) {
        write(&self.path("nbd"), commands);
    }

    fn disk(&self) -> serde_json::Value {
        let nodes = self.monitor("query-named-block-nodes", serde_json::json!({ "flat": true }));
        let disk = nodes["return"].as_array().unwrap().iter().find(|node| node["node-name"] == "disk0");
        disk.unwrap().clone()
    }

    /// The disk as the daemon has it, as a raw image; not through the driver.
    fn copy(&self, name: &str) -> PathBuf {
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

    fn bitmaps(&self) -> Vec<String> {
        let disk = self.disk();
        let bitmaps = disk["dirty-bitmaps"].as_array().cloned().unwrap_or_default();
        bitmaps.iter().map(|bitmap| bitmap["name"].as_str().unwrap().to_owned()).collect()
    }

    /// What a capture that ended left in the daemon besides its bitmap.
    fn litter(&self) -> Vec<String> {
        let asked = ["query-named-block-nodes", "query-jobs", "query-block-exports"];
        let answers = asked.map(|command| self.monitor(command, serde_json::json!({})).to_string());
        let mut found: Vec<String> = answers.into_iter().filter(|answer| answer.contains("\"hf-")).collect();
        let scratch = std::fs::read_dir(self.path("scratch")).unwrap();
        found.extend(scratch.map(|entry| entry.unwrap().path().display().to_string()));
        found
    }

    fn driver(&self) -> ServedVolumeDriver {
        let scratch_directory = self.path("scratch");
        std::fs::create_dir_all(&scratch_directory).unwrap();
        let profile = QemuProfile {
            qmp_socket: self.path("qmp"),
            nbd_socket: self.path("nbd"),
            scratch_directory,
            scratch_min_free_percent: 25,
            timeout_seconds: 10,
        };
        ServedVolumeDriver::new(QemuSettings { profiles: [("vm".to_owned(), profile)].into() })
    }
}

fn write(socket: &Path, commands: &[&str]) {
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

/// What the service does for a driver.
struct Keeper<'a> {
    base: Option<serde_json::Value>,
    name: String,
    settings: TrackingSettings,
    intended: Mutex<Option<serde_json::Value>>,
    on_taken: &'a (dyn Fn() -> Result<(), DriverError> + Sync),
}

impl Tracking for Keeper<'_> {
    fn base(&self) -> Option<&serde_json::Value> {
        self.base.as_ref()
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn settings(&self) -> &TrackingSettings {
        &self.settings
    }
    fn intend(&self, remains: &serde_json::Value) -> Result<(), DriverError> {
        *self.intended.lock() = Some(remains.clone());
        Ok(())
    }
    fn view_taken(&self) -> Result<(), DriverError> {
        (self.on_taken)()
    }
}

/// A disk that is captured again and again.
struct Chain {
    daemon: Daemon,
    vault: MemoryVault,
    newest: Option<Point>,
    number: u32,
}

struct Seen {
    method: ChangeMethod,
    read: u64,
    fallback: Option<String>,
}

impl Chain {
    fn new(format: &'static str) -> Self {
        Self { daemon: Daemon::new(format, true), vault: MemoryVault::new(), newest: None, number: 0 }
    }

    fn try_capture(
        &mut self,
        on_taken: &(dyn Fn() -> Result<(), DriverError> + Sync),
    ) -> Result<Seen, (DriverError, Option<serde_json::Value>)> {
        self.number += 1;
        let keeper = Keeper {
            base: self.newest.as_ref().and_then(|point| point.capture.remains.clone()),
            name: format!("point-{}", self.number),
            settings: TrackingSettings { directories: Vec::new(), min_free_percent: 1 },
            intended: Mutex::default(),
            on_taken,
        };
        let control = CountingControl::default();
        let driver = self.daemon.driver();
        let captured = driver.capture(CaptureRequest {
            location: "qemu:///disk0?profile=vm",
            writer: &self.vault,
            parent: self.newest.as_ref().map(|p| ParentPoint { reader: &p.snapshot, description: &p.description }),
            quiesced: QuiesceOutcome::NotQuiesced,
            tracking: Some(&keeper),
            parallelism: 2,
            control: &control,
            now: &|| jiff::Timestamp::UNIX_EPOCH,
        });
        let intended = keeper.intended.lock().take();
        let capture = captured.map_err(|error| (error, intended))?;
        let subtree = self.vault.write_tree(Tree { nodes: Vec::new() }).unwrap();
        let holdfast = Node { name: b"holdfast".to_vec(), kind: NodeKind::Dir { subtree }, ..capture.data.clone() };
        let root = self.vault.write_tree(Tree { nodes: vec![capture.data.clone(), holdfast] }).unwrap();
        let description = serde_json::json!({ "driver": capture.facts });
        let point = Point { snapshot: self.vault.snapshot(root), description, capture };
        let reading = point.capture.reading.clone();
        assert_eq!(reading.view, SourceView::ServedSnapshot);
        // Committed: the parent's goes.
        let parent = self.newest.replace(point).and_then(|point| point.capture.remains);
        if let Some(parent) = parent {
            driver.discard(&parent).unwrap();
        }
        assert_eq!(self.daemon.litter(), Vec::<String>::new());
        Ok(Seen { method: reading.method, read: control.sum().bytes_read, fallback: reading.fallback })
    }

    /// Captures, restores to a raw image, and compares with the disk as it is.
    fn capture(&mut self) -> Seen {
        let seen = self.try_capture(&|| Ok(())).map_err(|(error, _)| error).unwrap();
        assert_eq!(self.daemon.bitmaps().len(), 1);
        assert_eq!(self.difference(), None, "capture {}", self.number);
        seen
    }

    /// The newest recovery point as a raw image.
    fn restored(&self) -> PathBuf {
        let point = self.newest.as_ref().unwrap();
        let target = self.daemon.path(&format!("restored-{}", self.number));
        self.daemon
            .driver()
            .restore(RestoreRequest {
                reader: &point.snapshot,
                description: &point.description,
                target: &target,
                overwrite: OverwritePolicy::Refuse,
                include: &[],
                options: &std::collections::BTreeMap::new(),
                parallelism: 2,
                control: &NoControl,
                elapsed_ms: &|| 0,
            })
            .unwrap();
        target
    }

    /// How the newest recovery point differs from the disk, which nobody writes meanwhile.
    fn difference(&self) -> Option<String> {
        let target = self.restored();
        let before = self.daemon.copy("compared");
        let output = Command::new("qemu-img")
            .args(["compare", "-f", "raw", "-F", "raw"])
            .args([&target, &before])
            .output()
            .unwrap();
        std::fs::remove_file(&target).unwrap();
        std::fs::remove_file(&before).unwrap();
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn tracked(&mut self, most: u64) {
        let seen = self.capture();
        assert_eq!((seen.method, seen.fallback), (ChangeMethod::DirtyBitmap, None), "capture {}", self.number);
        assert!(seen.read <= most, "capture {}: {} bytes were read instead of {most}", self.number, seen.read);
    }

    fn fell_back(&mut self, why: &str) {
        let seen = self.capture();
        assert_eq!(seen.method, ChangeMethod::FullRead);
        let fallback = seen.fallback.unwrap_or_default();
        assert!(fallback.contains(why), "`{fallback}` does not say `{why}`");
    }
}

#[test]
fn a_disk_is_read_by_what_was_written_and_its_holes_never() {
    let mut chain = Chain::new("qcow2");
    let first = chain.capture();
    assert_eq!((first.method, first.fallback), (ChangeMethod::FullRead, None));
    assert_eq!(first.read, 23 * MIB, "what reads as zeros is not read");
    chain.tracked(0);
    chain.daemon.write(&["write -P 1 5M 4k", "write -P 2 150M 64k", "write -P 3 299M 1M"]);
    chain.tracked(3 * MIB);
    chain.daemon.write(&["discard 200M 1M", "write -z 6M 1M", "write -P 0 7M 64k"]);
    chain.tracked(2 * MIB);
    chain.tracked(0);
}

#[test]
fn what_is_written_during_a_capture_is_in_the_next_one_and_not_in_this_one() {
    let mut chain = Chain::new("qcow2");
    chain.capture();
    chain.daemon.write(&["write -P 1 1M 1M"]);
    let before = chain.daemon.copy("before");
    let socket = chain.daemon.path("nbd");
    // The guest goes on as soon as the instant is taken, over what is about to be read.
    let goes_on = || {
        write(&socket, &["write -P 0xee 1M 20M", "write -P 0xee 100M 1M"]);
        Ok(())
    };
    let seen = chain.try_capture(&goes_on).map_err(|(error, _)| error).unwrap();
    assert_eq!((seen.method, seen.fallback), (ChangeMethod::DirtyBitmap, None));
    assert!(seen.read <= MIB, "{} bytes", seen.read);
    let restored = chain.restored();
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", restored.to_str().unwrap(), before.to_str().unwrap()]);
    chain.tracked(21 * MIB);
}

#[test]
fn a_capture_that_fails_takes_nothing_from_the_next_one() {
    let mut chain = Chain::new("qcow2");
    chain.capture();
    chain.daemon.write(&["write -P 1 2M 64k"]);
    let socket = chain.daemon.path("nbd");
    let fails = || {
        write(&socket, &["write -P 2 30M 64k"]);
        Err(DriverError::Stopped)
    };
    let (_, intended) = chain.try_capture(&fails).map(|_| ()).unwrap_err();
    // As after `kill -9`: everything is still there, until what was intended is discarded.
    assert_eq!(chain.daemon.bitmaps().len(), 3);
    assert!(!chain.daemon.litter().is_empty());
    let intended = intended.unwrap();
    chain.daemon.driver().discard(&intended).unwrap();
    chain.daemon.driver().discard(&intended).unwrap();
    assert_eq!((chain.daemon.bitmaps().len(), chain.daemon.litter()), (1, Vec::new()));
    chain.daemon.write(&["write -P 3 50M 64k"]);
    // All three writes, of before, during and after the capture that failed.
    chain.tracked(3 * MIB);
}

#[test]
fn bitmaps_of_qcow2_survive_a_restart_and_a_kill_is_noticed() {
    let mut chain = Chain::new("qcow2");
    chain.capture();
    chain.daemon.write(&["write -P 1 2M 64k"]);
    chain.daemon.stop();
    chain.daemon.start();
    chain.daemon.write(&["write -P 2 4M 64k"]);
    chain.tracked(2 * MIB);
    // One that was never saved is lost, and one that was loaded and not saved again says so itself.
    chain.daemon.write(&["write -P 3 8M 64k"]);
    chain.daemon.kill9();
    chain.daemon.start();
    chain.fell_back("is gone");
    chain.daemon.stop();
    chain.daemon.start();
    chain.daemon.write(&["write -P 4 9M 64k"]);
    chain.daemon.kill9();
    chain.daemon.start();
    chain.fell_back("was not saved");
    chain.daemon.write(&["write -P 5 9M 64k"]);
    chain.tracked(MIB);
}

#[test]
fn bitmaps_of_raw_images_end_with_the_process_and_that_is_said() {
    let mut chain = Chain::new("raw");
    let probe = chain.daemon.driver().probe("qemu:///disk0?profile=vm").unwrap();
    assert_eq!((probe.size_bytes, probe.warnings.len()), (Some(300 * MIB), 1));
    chain.capture();
    chain.daemon.write(&["write -P 1 2M 64k"]);
    chain.tracked(MIB);
    chain.daemon.stop();
    chain.daemon.start();
    chain.fell_back("is gone");
}

#[test]
fn a_bitmap_that_cannot_be_trusted_is_not() {
    let mut chain = Chain::new("qcow2");
    chain.capture();
    let bitmap = |daemon: &Daemon| serde_json::json!({ "node": "disk0", "name": daemon.bitmaps()[0] });
    chain.daemon.monitor("block-dirty-bitmap-disable", bitmap(&chain.daemon));
    chain.daemon.write(&["write -P 1 2M 64k"]);
    chain.fell_back("does not record");
    let made = bitmap(&chain.daemon);
    chain.daemon.monitor("block-dirty-bitmap-remove", made.clone());
    let mut other = made;
    other["granularity"] = 4096.into();
    chain.daemon.monitor("block-dirty-bitmap-add", other);
    chain.fell_back("another granularity");
    // The base is lost with the worker's state.
    let forgotten = chain.newest.as_mut().unwrap().capture.remains.take().unwrap();
    chain.daemon.driver().discard(&forgotten).unwrap();
    chain.fell_back("keeps no bitmap");
}

#[test]
fn a_daemon_killed_during_the_capture_is_an_error_and_the_next_capture_is_whole() {
    let mut chain = Chain::new("qcow2");
    chain.capture();
    let id = chain.daemon.child.as_ref().unwrap().id().to_string();
    let killed = || {
        run("kill", &["-9", &id]);
        Ok(())
    };
    let (error, intended) = chain.try_capture(&killed).map(|_| ()).unwrap_err();
    assert!(matches!(error, DriverError::Io { .. }), "{error:?}");
    chain.daemon.child.take().unwrap().wait().unwrap();
    // Its bitmap may be in the image: it stays listed until the process is there again.
    let intended = intended.unwrap();
    chain.daemon.driver().discard(&intended).unwrap_err();
    chain.daemon.start();
    chain.daemon.driver().discard(&intended).unwrap();
    chain.fell_back("is gone");
}

#[test]
fn no_capture_begins_without_room_for_what_the_guest_overwrites() {
    let mut chain = Chain::new("qcow2");
    let scratch = chain.daemon.path("scratch");
    std::fs::create_dir_all(&scratch).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=70m", "none", scratch.to_str().unwrap()]);
    let refused = chain.try_capture(&|| Ok(())).map(|_| ()).unwrap_err();
    run("umount", &[scratch.to_str().unwrap()]);
    assert!(refused.0.to_string().contains("scratch_min_free_percent"), "{:?}", refused.0);
    assert_eq!((refused.1, chain.daemon.bitmaps()), (None, Vec::new()), "nothing was made");
    chain.capture();
}

#[test]
fn the_nbd_server_is_started_where_none_runs() {
    let daemon = Daemon::new("qcow2", false);
    let mut chain = Chain { daemon, vault: MemoryVault::new(), newest: None, number: 0 };
    assert_eq!(chain.capture().read, 23 * MIB);
    chain.tracked(0);
}

#[test]
fn what_is_not_configured_or_not_there_is_named() {
    let daemon = Daemon::new("qcow2", false);
    let said = |location: &str| match daemon.driver().probe(location).unwrap_err() {
        DriverError::BadLocation { problem, .. } => problem,
        other => other.to_string(),
    };
    assert!(said("qemu:///disk0?profile=other").contains("[qemu.profiles.other]"));
    assert!(said("qemu:///disk7?profile=vm").contains("disk7"));
    assert!(said("qemu:///disk0?profile=vm&socket=/run/x").contains("nothing else"));
}
