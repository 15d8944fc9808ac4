//! Sockets: TCP with or without TLS, and Unix sockets.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use rustix::fs::{CWD, Mode, OFlags};
use rustls::{ClientConnection, StreamOwned};

use super::tls;
use crate::error::PgError;
use crate::server::{Credentials, Host, ServerAddress, SslMode};

/// Longest path of a Unix socket that the kernel takes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

pub(super) enum Socket {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Unix(UnixStream),
}

pub(super) fn connect(server: &ServerAddress, credentials: &Credentials, timeout: Duration) -> Result<Socket, PgError> {
    let unreachable = |source| PgError::Unreachable { server: server.to_string(), source };
    match &server.host {
        Host::Socket(directory) => {
            let name = format!(".s.PGSQL.{}", server.port);
            Ok(Socket::Unix(connect_unix(directory, &name).map_err(unreachable)?))
        }
        Host::Name(name) => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in (name.as_str(), server.port).to_socket_addrs().map_err(unreachable)? {
                match TcpStream::connect_timeout(&address, timeout) {
                    Ok(stream) => return secure(stream, name, credentials, timeout),
                    Err(error) => last = error,
                }
            }
            Err(unreachable(last))
        }
    }
}

/// Connects to a socket whose path may be longer than the kernel takes.
fn connect_unix(directory: &Path, name: &str) -> io::Result<UnixStream> {
    let path = directory.join(name);
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return UnixStream::connect(path);
    }
    let opened = rustix::fs::openat(CWD, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd()))
}

fn secure(stream: TcpStream, name: &str, credentials: &Credentials, timeout: Duration) -> Result<Socket, PgError> {
    stream.set_nodelay(true).map_err(PgError::Broken)?;
    if credentials.ssl_mode == SslMode::Disable {
        return Ok(Socket::Tcp(stream));
    }
    stream.set_read_timeout(Some(timeout)).map_err(PgError::Broken)?;
    Ok(Socket::Tls(Box::new(tls::negotiate(stream, name, credentials)?)))
}

impl Socket {
    /// Whether nobody between here and the server can read along.
    pub(super) const fn is_private(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Unix(_))
    }

    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
            Self::Tls(stream) => stream.sock.set_read_timeout(timeout),
            Self::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }

    /// Appends what is there, at most so many bytes.
    pub(super) fn read_into(&mut self, input: &mut BytesMut, bytes: usize) -> io::Result<usize> {
        let filled = input.len();
        input.resize(filled + bytes, 0);
        let result = match self {
            Self::Tcp(stream) => stream.read(&mut input[filled..]),
            Self::Tls(stream) => stream.read(&mut input[filled..]),
            Self::Unix(stream) => stream.read(&mut input[filled..]),
        };
        input.truncate(filled + result.as_ref().copied().unwrap_or(0));
        result
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()
            }
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }
}
