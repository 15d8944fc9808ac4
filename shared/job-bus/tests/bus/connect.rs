use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

use job_bus::server_process::{NatsServer, ServerOptions};
use job_bus::{Bus, ConnectError};
use tokio::net::TcpSocket;

use crate::fixture::{WAIT, config};

/// A port where nobody listens: who tries is refused at once. Nobody else is given it, and a server may still listen there, for
/// as long as the socket is held.
fn held_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// Says that it is a server of that version, and then what every server says.
fn server_that_says(version: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let info = format!(
                "INFO {{\"server_id\":\"X\",\"version\":\"{version}\",\"max_payload\":1048576,\"proto\":1,\"headers\":true}}\r\n"
            );
            connection.write_all(info.as_bytes()).unwrap();
            let lines = BufReader::new(connection.try_clone().unwrap()).lines();
            for line in lines.map_while(Result::ok) {
                if line.starts_with("PING") && connection.write_all(b"PONG\r\n").is_err() {
                    break;
                }
            }
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused_with_its_version_and_the_mend() {
    let port = server_that_says("2.9.10");
    let error = Bus::connect(&config(&format!("nats://127.0.0.1:{port}")), WAIT).await.unwrap_err();
    assert!(matches!(error, ConnectError::TooOld { .. }));
    let text = error.to_string();
    for part in [&format!("127.0.0.1:{port}"), "2.9.10", "2.14.0", "upgrade"] {
        assert!(text.contains(part), "{text} names {part}");
    }
}

#[tokio::test]
async fn a_server_that_is_just_new_enough_is_taken() {
    let port = server_that_says("2.14.0");
    Bus::connect(&config(&format!("nats://127.0.0.1:{port}")), WAIT).await.unwrap();
}

#[tokio::test]
async fn an_unreachable_server_is_an_error_after_the_wait() {
    let (_held, port) = held_port();
    let url = format!("nats://127.0.0.1:{port}");
    let error = Bus::connect(&config(&url), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { waited_s: 1, .. }), "{error}");
    assert!(error.to_string().contains(&url));
}

#[tokio::test]
async fn a_server_that_starts_within_the_wait_is_reached() {
    let (_held, port) = held_port();
    let dir = tempfile::tempdir().unwrap();
    let config = config(&format!("nats://127.0.0.1:{port}"));
    let options = ServerOptions { dir: dir.path().join("nats"), port, ..Default::default() };
    let (bus, server) = tokio::join!(
        Bus::connect(&config, WAIT),
        tokio::task::spawn_blocking(move || NatsServer::start(options).unwrap())
    );
    assert!(bus.unwrap().is_connected());
    drop(server);
}

#[tokio::test]
async fn a_wrong_password_is_told_apart_from_an_absent_server() {
    let dir = tempfile::tempdir().unwrap();
    let extra = "authorization { users: [ { user: planner, password: right } ] }".to_owned();
    let options = ServerOptions { dir: dir.path().join("nats"), extra_config: extra, ..Default::default() };
    let server = NatsServer::start(options).unwrap();
    let secret = dir.path().join("password");
    let mut config = config(&server.url());
    config.user = Some("planner".to_owned());
    config.password_file = Some(secret.clone());

    let missing = Bus::connect(&config, WAIT).await.unwrap_err();
    assert!(matches!(missing, ConnectError::File { .. }), "{missing}");
    std::fs::write(&secret, "wrong\n").unwrap();
    let refused = Bus::connect(&config, WAIT).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Refused { .. }), "{refused}");
    assert!(!format!("{refused:?}{refused}").contains("wrong"), "no secret in an error");
    std::fs::write(&secret, "right\n").unwrap();
    Bus::connect(&config, WAIT).await.unwrap();
}
