//! A nats-server child process: the private one of `holdfast up`, and the real one of the tests.
//!
//! It listens on the loopback address only, stores with `sync_interval: always`, and is killed when its handle is
//! dropped. A start that failed is told with the end of the server's own log.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

use crate::{MINIMUM_SERVER, ServerVersion};

/// A server that does not answer within this time has failed to start.
const START_WITHIN: Duration = Duration::from_secs(20);
/// A server that did not end within this time after it was asked to is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at a starting or ending server.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a server needs.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Configuration, store and log lie here; made if missing.
    pub dir: PathBuf,
    /// Zero: any free one, which is kept over restarts.
    pub port: u16,
    /// More of nats-server's configuration: users, permissions, limits.
    pub extra_config: String,
    /// The program; searched by [`find_binary`] unless given.
    pub binary: Option<PathBuf>,
}

/// A port of the loopback address for somebody who listens on it, ends, and listens on it again: until this is dropped, the
/// kernel gives it to nobody who asks for any port.
#[derive(Debug)]
pub struct KeptPort {
    /// Bound and never listening: a listener that reuses addresses, as all do by default, may have the port beside it.
    _bound: TcpSocket,
    address: SocketAddr,
}

impl KeptPort {
    /// Any one that is free.
    ///
    /// # Errors
    /// When there is none.
    pub fn draw() -> std::io::Result<Self> {
        let bound = TcpSocket::new_v4()?;
        bound.set_reuseaddr(true)?;
        bound.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = bound.local_addr()?;
        Ok(Self { _bound: bound, address })
    }

    /// Where to listen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A running server. Dropping it kills the process; what it acknowledged is on disk.
#[derive(Debug)]
pub struct NatsServer {
    binary: PathBuf,
    dir: PathBuf,
    port: u16,
    /// The port, unless its number was given.
    _kept: Option<KeptPort>,
    child: Child,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No program.
    #[error("no nats-server in NATS_SERVER_BIN, in `.holdfast/bin` or on PATH; run `./run setup`")]
    NotFound,
    /// A program that is too old, or none.
    #[error("`{}` is nats-server `{found}`, but {MINIMUM_SERVER} or newer is needed; run `./run setup`", path.display())]
    TooOld {
        /// The program.
        path: PathBuf,
        /// What it says of itself.
        found: String,
    },
    /// A file or the process could not be made.
    #[error("cannot {step} `{}`", path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended by itself, or did not answer in time.
    #[error("nats-server did not start: {end}; its log says: {log}")]
    NotStarted {
        /// How it ended.
        end: String,
        /// The end of its log.
        log: String,
    },
}

fn io(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ServerError {
    let path = path.to_owned();
    move |source| ServerError::Io { step, path, source }
}

/// The nats-server to use: the one of the environment variable `NATS_SERVER_BIN`, else `.holdfast/bin/nats-server` in
/// this directory or one above, or beside or above this program, else the one on `PATH`.
///
/// # Errors
/// When there is none, or it is too old.
pub fn find_binary() -> Result<PathBuf, ServerError> {
    let path = match std::env::var_os("NATS_SERVER_BIN") {
        Some(path) => PathBuf::from(path),
        None => in_checkout().or_else(on_path).ok_or(ServerError::NotFound)?,
    };
    check_binary(&path)?;
    Ok(path)
}

fn in_checkout() -> Option<PathBuf> {
    // A program that was built in a checkout finds the checkout's server from wherever it is called.
    let places = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    let mut dirs = places.iter().flatten().flat_map(|place| place.ancestors());
    dirs.find_map(|dir| Some(dir.join(".holdfast/bin/nats-server")).filter(|path| path.is_file()))
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|path| path.is_file())
}

fn check_binary(path: &Path) -> Result<(), ServerError> {
    let output = Command::new(path).arg("--version").output().map_err(io("run", path))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // `nats-server: v2.15.1`
    let version = said.rsplit(' ').next().and_then(|word| word.parse::<ServerVersion>().ok());
    if version.is_some_and(|version| version >= MINIMUM_SERVER) {
        Ok(())
    } else {
        Err(ServerError::TooOld { path: path.to_owned(), found: said })
    }
}

impl NatsServer {
    /// Starts a server and waits until it answers. Blocks for up to some seconds.
    ///
    /// # Errors
    /// When there is no program, a file cannot be written or the server ends by itself.
    pub fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let binary = match options.binary {
            Some(path) => {
                check_binary(&path)?;
                path
            }
            None => find_binary()?,
        };
        let dir = options.dir;
        let store = dir.join("jetstream");
        std::fs::create_dir_all(&store).map_err(io("make directory", &store))?;
        let dir = dir.canonicalize().map_err(io("resolve", &dir))?;
        let kept = match options.port {
            0 => Some(KeptPort::draw().map_err(io("find a free port for", &dir))?),
            _ => None,
        };
        let port = kept.as_ref().map_or(options.port, |kept| kept.address().port());
        write_config(&dir, port, &options.extra_config)?;
        let child = launch(&binary, &dir, port)?;
        Ok(Self { binary, dir, port, _kept: kept, child })
    }

    /// Where it listens: `nats://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("nats-server.log")
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills it as a power cut would: no last word, no last write.
    pub fn kill9(&mut self) {
        // Fails only if it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits for it; kills it when it does not.
    pub fn stop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        // The server's own way of sending signals, so that no process id can be mistaken for another's.
        let asked = Command::new(&self.binary)
            .args(["--signal", &format!("stop={}", self.pid())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let deadline = Instant::now() + STOP_WITHIN;
        while asked.as_ref().is_ok_and(std::process::ExitStatus::success) && Instant::now() < deadline {
            if self.ended().is_some() {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.kill9();
    }

    /// Ends it if it runs, and starts it again on the same port with the same store.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.stop();
        self.child = launch(&self.binary, &self.dir, self.port)?;
        Ok(())
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn write_config(dir: &Path, port: u16, extra: &str) -> Result<(), ServerError> {
    let path = dir.join("nats-server.conf");
    let store = serde_json::Value::from(dir.join("jetstream").to_string_lossy());
    let config = format!(
        "# Written at every start of its owner; changes are lost.\n\
         server_name: \"holdfast-{port}\"\n\
         listen: \"127.0.0.1:{port}\"\n\
         jetstream {{ store_dir: {store}, sync_interval: always }}\n\
         {extra}\n"
    );
    let mut file = File::create(&path).map_err(io("write", &path))?;
    file.write_all(config.as_bytes()).map_err(io("write", &path))
}

fn launch(binary: &Path, dir: &Path, port: u16) -> Result<Child, ServerError> {
    let log = dir.join("nats-server.log");
    let config = dir.join("nats-server.conf");
    let begin = std::fs::metadata(&log).map_or(0, |meta| meta.len());
    let open = || File::options().create(true).append(true).open(&log);
    let (out, err) = (open().map_err(io("write", &log))?, open().map_err(io("write", &log))?);
    let mut child = Command::new(binary)
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(io("run", binary))?;
    let deadline = Instant::now() + START_WITHIN;
    let end = loop {
        let said = log_since(&log, begin);
        // JetStream has recovered its streams by then.
        if said.contains("Server is ready") && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(child);
        }
        match child.try_wait() {
            Ok(Some(status)) => break status.to_string(),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            _ => break format!("no answer within {} s", START_WITHIN.as_secs()),
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    let said = log_since(&log, begin);
    let lines: Vec<&str> = said.lines().rev().take(5).collect();
    Err(ServerError::NotStarted { end, log: lines.into_iter().rev().collect::<Vec<_>>().join(" | ") })
}

fn log_since(path: &Path, begin: u64) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let begin = usize::try_from(begin).unwrap_or(usize::MAX).min(bytes.len());
    String::from_utf8_lossy(&bytes[begin..]).into_owned()
}
