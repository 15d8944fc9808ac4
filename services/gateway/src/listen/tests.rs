//! The API over TLS, with a certificate of our own and a client that trusts it, or does not.

use std::process::{Command, Stdio};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use state_store::StateStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::http;
use crate::scene;

/// A certificate for `gateway.test` and its key.
fn certificate(dir: &std::path::Path) -> TlsConfig {
    let config = TlsConfig { certificate_file: dir.join("certificate.pem"), key_file: dir.join("key.pem") };
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=gateway.test", "-addext", "subjectAltName=DNS:gateway.test"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&config.key_file)
        .arg("-out")
        .arg(&config.certificate_file)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success(), "openssl makes a certificate");
    config
}

fn client(trusted: Option<&TlsConfig>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    if let Some(config) = trusted {
        roots.add(CertificateDer::from_pem_file(&config.certificate_file).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

async fn connect(
    connector: &TlsConnector,
    address: SocketAddr,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from("gateway.test").unwrap();
    connector.connect(name, TcpStream::connect(address).await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_is_answered_over_tls_to_who_trusts_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let config = certificate(dir.path());
    let (api, _) = scene::api(StateStore::in_memory()).await;
    let stop = CancellationToken::new();
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let idle = Duration::from_secs(30);
    let listener = Listener::bind(any_port, Some(tls(&config).unwrap()), 8, idle, stop.clone()).await.unwrap();
    let address = axum::serve::Listener::local_addr(&listener).unwrap();
    let serving = axum::serve(listener, http::router(api.clone()));
    let served = tokio::spawn(serving.into_future());

    let mut stream = connect(&client(Some(&config)), address).await.unwrap();
    let request = scene::signed(&api, "GET", "/backup-vaults/", b"");
    let mut text = String::from("GET /backup-vaults/ HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    stream.write_all((text + "\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"BackupVaultList\":[]"), "{answer}");

    let refused = connect(&client(None), address).await.unwrap_err();
    assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");

    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /backup-vaults/ HTTP/1.1\r\nhost: gateway.test\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    // A reset is as good an answer as an alert.
    let _ = plain.read_to_end(&mut bytes).await;
    assert!(!bytes.starts_with(b"HTTP/"), "nothing is answered without TLS");
    stop.cancel();
    served.abort();
}

#[test]
fn a_certificate_that_is_none_is_named_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = certificate(dir.path());
    let swapped = TlsConfig { certificate_file: config.key_file.clone(), key_file: config.key_file.clone() };
    assert!(tls(&swapped).is_err_and(|problem| problem.key == "tls.certificate_file"));
    let missing = TlsConfig { key_file: dir.path().join("missing.pem"), ..config };
    assert!(tls(&missing).is_err_and(|problem| problem.key == "tls.key_file"));
}
