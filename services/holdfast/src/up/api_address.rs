//! Where the API is answered: a port of its own for each `holdfast up` of a machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};

use super::child;
use super::layout::Layout;
use crate::endpoint::write_private;
use crate::error::CliError;

/// Where the API is answered when nothing says otherwise.
const USUAL_PORT: u16 = 9480;
/// How often a port is drawn that somebody else has just chosen.
const TRIES: u32 = 16;

/// The address, and the word given to others that it is taken.
#[derive(Debug)]
pub(super) struct ApiAddress {
    pub(super) listen: SocketAddr,
    /// Held for as long as the installation runs: between the choice and the moment in which the gateway listens there are
    /// seconds. None where the operator chose the address.
    _claim: Option<Claim>,
}

/// A name of the kernel's, one for each port, that goes with the process that holds it.
#[derive(Debug)]
struct Claim {
    _socket: UnixListener,
}

impl ApiAddress {
    /// As asked for, else at the port of the last run, the usual one, or any that is free and that nobody has claimed.
    pub(super) fn choose(layout: &Layout, wanted: Option<SocketAddr>) -> Result<Self, CliError> {
        if let Some(listen) = wanted {
            return Ok(Self { listen, _claim: None });
        }
        let file = layout.api_port_file();
        let failed = || format!("choose a port for the API, in `{}`", file.display());
        let earlier = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        let known = [earlier, Some(USUAL_PORT)].into_iter().flatten();
        let known = known.filter_map(|port| Claim::of(port).map(|claim| (port, claim)));
        let chosen = known.into_iter().next().map_or_else(draw, Ok).map_err(CliError::io(failed()))?;
        let (port, claim) = chosen;
        write_private(&file, format!("{port}\n").as_bytes()).map_err(CliError::io(failed()))?;
        Ok(Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), _claim: Some(claim) })
    }
}

fn draw() -> io::Result<(u16, Claim)> {
    for _ in 0..TRIES {
        let port = child::free_address()?.port();
        if let Some(claim) = Claim::of(port) {
            return Ok((port, claim));
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "others take every port that is free; start it again"))
}

impl Claim {
    /// None when somebody has claimed the port or listens on it.
    fn of(port: u16) -> Option<Self> {
        let name = UnixAddr::from_abstract_name(format!("holdfast-api-{port}")).ok()?;
        let socket = UnixListener::bind_addr(&name).ok()?;
        child::is_free(port).then_some(Self { _socket: socket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_the_last_run_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let (port, claim) = draw().unwrap();
        std::fs::write(layout.api_port_file(), format!("{port}\n")).unwrap();
        assert_ne!(ApiAddress::choose(&layout, None).unwrap().listen.port(), port, "somebody has it");
        std::fs::write(layout.api_port_file(), format!("{port}\n")).unwrap();
        drop(claim);
        assert_eq!(ApiAddress::choose(&layout, None).unwrap().listen.port(), port);
        let wanted = "127.0.0.1:1".parse().unwrap();
        assert_eq!(ApiAddress::choose(&layout, Some(wanted)).unwrap().listen, wanted);
    }

    #[test]
    fn two_that_start_at_the_same_time_have_two_ports() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let layouts = dirs.each_ref().map(|dir| Layout::create(dir.path()).unwrap());
        let addresses = layouts.each_ref().map(|layout| ApiAddress::choose(layout, None).unwrap());
        assert_ne!(addresses[0].listen, addresses[1].listen);
    }
}
