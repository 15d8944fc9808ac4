//! The private bus: a nats-server on the loopback address with one user per service.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use job_bus::permissions::{self, Credential, Role, User};
use job_bus::server_process::find_binary;
use job_bus::{Bus, BusConfig};
use job_model::Region;
use tokio::net::TcpStream;

use super::child;
use super::layout::Layout;
use super::secrets::{ensure_password, read_password};
use crate::endpoint::write_private;
use crate::error::CliError;

/// The process's name in logs and messages.
pub(super) const NAME: &str = "nats-server";
/// A server that does not answer within this time has failed to start.
const START_WITHIN: Duration = Duration::from_secs(30);
/// The bus's address and command line.
#[derive(Clone, Debug)]
pub(super) struct BusProcess {
    /// `nats://127.0.0.1:<port>`.
    pub(super) url: String,
    /// Its port.
    pub(super) port: u16,
    /// Program and arguments.
    pub(super) program: Vec<OsString>,
}

/// Finds the program, draws missing passwords and writes the configuration. The port of an earlier run is kept where it
/// is free, so that clients that outlived it find the bus again.
pub(super) fn prepare(layout: &Layout, regions: &[Region]) -> Result<BusProcess, CliError> {
    let binary = find_binary()
        .map_err(|e| CliError::Start { step: "the private bus needs nats-server".to_owned(), source: Box::new(e) })?;
    for role in Role::ALL {
        ensure_password(&layout.bus_password_file(role.as_str()))?;
    }
    let dir = layout.nats_dir();
    let port = choose_port(&dir.join("port")).map_err(CliError::io("choose a port for the bus"))?;
    let path = dir.join("nats-server.conf");
    let text = config(layout, port, regions)?;
    write_private(&path, text.as_bytes()).map_err(CliError::io(format!("write `{}`", path.display())))?;
    Ok(BusProcess {
        url: format!("nats://127.0.0.1:{port}"),
        port,
        program: vec![binary.into(), "--config".into(), path.into()],
    })
}

fn choose_port(file: &Path) -> io::Result<u16> {
    let earlier = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    let port = match earlier {
        Some(port) if child::is_free(port) => port,
        _ => child::free_address()?.port(),
    };
    write_private(file, format!("{port}\n").as_bytes())?;
    Ok(port)
}

/// The server's configuration. It holds the users' passwords: its file is private.
fn config(layout: &Layout, port: u16, regions: &[Region]) -> Result<String, CliError> {
    let user = |role: Role| -> Result<User, CliError> {
        let password = read_password(&layout.bus_password_file(role.as_str()))?;
        Ok(User {
            name: role.as_str().to_owned(),
            role,
            regions: regions.to_vec(),
            credential: Credential::Password(password.into()),
        })
    };
    let users = Role::ALL.into_iter().map(user).collect::<Result<Vec<_>, _>>()?;
    let store = serde_json::Value::from(layout.nats_dir().join("jetstream").to_string_lossy());
    Ok(format!(
        "# Written at every start of `holdfast up`; changes are lost.\n\
         server_name: \"holdfast-{port}\"\n\
         listen: \"127.0.0.1:{port}\"\n\
         jetstream {{ store_dir: {store}, sync_interval: always }}\n\
         {}",
        permissions::render(&users)
    ))
}

/// How a role logs in.
pub(super) fn login(layout: &Layout, url: &str, role: Role, name: &str) -> BusConfig {
    BusConfig {
        url: url.to_owned(),
        name: name.to_owned(),
        user: Some(role.as_str().to_owned()),
        password_file: Some(layout.bus_password_file(role.as_str())),
        nkey_seed_file: None,
        inbox_prefix: Some(role.inbox_prefix()),
        ca_file: None,
    }
}

/// Makes streams, consumers and buckets, or checks that they are as they have to be.
pub(super) async fn provision(layout: &Layout, url: &str, regions: &[Region]) -> Result<(), CliError> {
    let config = login(layout, url, Role::Provisioner, "up/provisioner");
    let failed = |step: &str, source: Box<dyn std::error::Error + Send + Sync>| CliError::Start {
        step: step.to_owned(),
        source,
    };
    let bus =
        Bus::connect(&config, START_WITHIN).await.map_err(|e| failed("connect to the private bus", Box::new(e)))?;
    for region in regions {
        bus.provision(region).await.map_err(|e| failed(&format!("set the streams of {region} up"), Box::new(e)))?;
    }
    bus.drain().await;
    Ok(())
}

/// Waits until the server takes connections.
pub(super) async fn answers(port: u16) -> bool {
    let deadline = Instant::now() + START_WITHIN;
    while Instant::now() < deadline {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}
