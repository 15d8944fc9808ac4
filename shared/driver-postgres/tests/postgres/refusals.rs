//! Servers that do not let anybody in, or are not set up for it: each says what to do.

use std::fs;
use std::path::Path;
use std::process::Command;

use driver_api::conformance::MemoryVault;
use driver_api::{Driver as _, Side};
use driver_postgres::PostgresDriver;
use driver_postgres::PostgresSettings;
use driver_postgres::server::{CredentialProfile, SslMode};
use job_model::FailureCode;

use super::captures::capture_from;
use super::cluster::{Cluster, run, settings};

fn profile(user: &str, password: Option<&Path>, ssl_mode: SslMode) -> CredentialProfile {
    let password_file = password.map(Path::to_owned);
    CredentialProfile { user: user.to_owned(), password_file, ssl_mode, ..Default::default() }
}

fn refused(settings: PostgresSettings, location: &str, code: FailureCode, words: &[&str]) {
    let error = capture_from(settings, &MemoryVault::new(), location, None).err().unwrap();
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        chain = format!("{chain}: {cause}");
        source = cause.source();
    }
    assert_eq!(error.failure_code(Side::Source), code, "{chain}");
    for word in words {
        assert!(chain.contains(word), "`{word}` is not in: {chain}");
    }
    assert!(!chain.contains("correct horse"), "{chain}");
}

#[test]
fn passwords_rights_and_addresses_are_told_apart() {
    let mut cluster = Cluster::make_on_tcp();
    cluster.begin();
    cluster.sql(
        "postgres",
        "CREATE ROLE backup LOGIN REPLICATION PASSWORD 'correct horse'; GRANT pg_read_all_data TO backup",
    );
    cluster.sql("postgres", "CREATE ROLE reader LOGIN PASSWORD 'correct horse'");
    let hba = "local all all trust\nlocal replication all trust\nhost all,replication all 127.0.0.1/32 scram-sha-256\n";
    fs::write(cluster.data.join("pg_hba.conf"), hba).unwrap();
    cluster.stop();
    cluster.begin();
    let (right, wrong) = (cluster.place.path("right"), cluster.place.path("wrong"));
    fs::write(&right, "correct horse\n").unwrap();
    fs::write(&wrong, "wrong\n").unwrap();
    let mut all = settings();
    let mut add = |name: &str, profile| {
        all.profiles.insert(name.to_owned(), profile);
    };
    add("right", profile("backup", Some(&right), SslMode::Disable));
    add("wrong", profile("backup", Some(&wrong), SslMode::Disable));
    add("none", profile("backup", None, SslMode::Disable));
    add("lost", profile("backup", Some(Path::new("/nowhere")), SslMode::Disable));
    add("reader", profile("reader", Some(&right), SslMode::Disable));
    add("tls", profile("backup", Some(&right), SslMode::VerifyFull));
    let point = capture_from(all.clone(), &MemoryVault::new(), &cluster.tcp_location("right"), None).unwrap();
    assert_eq!(point.capture.facts["source"], "stream");
    for (name, code, words) in [
        ("wrong", FailureCode::CredentialsRefused, &["28P01", "correct the password"][..]),
        ("none", FailureCode::CredentialsRefused, &["password_file"]),
        ("lost", FailureCode::CredentialProfileUnknown, &["/nowhere"]),
        ("unknown", FailureCode::CredentialProfileUnknown, &["[postgres.profiles.unknown]"]),
        ("reader", FailureCode::CredentialsRefused, &["ALTER ROLE reader REPLICATION"]),
        ("tls", FailureCode::CredentialsRefused, &["the server has no TLS", "ssl_mode"]),
    ] {
        refused(all.clone(), &cluster.tcp_location(name), code, words);
    }
    cluster.stop();
    refused(all, &cluster.tcp_location("right"), FailureCode::ServerUnreachable, &["cannot be reached"]);
}

#[test]
fn a_server_must_prove_who_it_is() {
    let mut cluster = Cluster::make_on_tcp();
    let (key, certificate) = (cluster.data.join("server.key"), cluster.data.join("server.crt"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-new", "-x509", "-days", "30", "-nodes", "-subj", "/CN=localhost"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost", "-keyout"]).arg(&key).arg("-out").arg(&certificate);
    run(&mut openssl);
    run(Command::new("chown").arg("postgres:postgres").arg(&key).arg(&certificate));
    run(Command::new("chmod").arg("600").arg(&key));
    cluster.configure("ssl = on");
    let hba = "local all all trust\nhostssl all,replication all 127.0.0.1/32 trust\n";
    fs::write(cluster.data.join("pg_hba.conf"), hba).unwrap();
    cluster.begin();
    let mut all = settings();
    let tls = |mode, root: Option<&Path>| CredentialProfile {
        root_certificate: root.map(Path::to_owned),
        ..profile("postgres", None, mode)
    };
    all.profiles.insert("full".to_owned(), tls(SslMode::VerifyFull, Some(&certificate)));
    all.profiles.insert("ca".to_owned(), tls(SslMode::VerifyCa, Some(&certificate)));
    all.profiles.insert("stranger".to_owned(), tls(SslMode::VerifyFull, None));
    all.profiles.insert("require".to_owned(), tls(SslMode::Require, None));
    all.profiles.insert("clear".to_owned(), profile("postgres", None, SslMode::Disable));
    let named = |name: &str| cluster.tcp_location(name).replace("127.0.0.1", "localhost");
    let driver = PostgresDriver::new(all.clone());
    for location in [named("full"), named("ca"), cluster.tcp_location("ca"), cluster.tcp_location("require")] {
        driver.probe(&location).unwrap_or_else(|e| panic!("{location}: {e:?}"));
    }
    // The whole way once, with everything encrypted.
    capture_from(all.clone(), &MemoryVault::new(), &named("full"), None).unwrap();
    refused(all.clone(), &cluster.tcp_location("full"), FailureCode::CredentialsRefused, &["certificate"]);
    refused(all.clone(), &named("stranger"), FailureCode::CredentialsRefused, &["root_certificate"]);
    refused(all, &cluster.tcp_location("clear"), FailureCode::CredentialsRefused, &["pg_hba.conf"]);
}

#[test]
fn settings_that_do_not_allow_it_are_named() {
    let mut cluster = Cluster::start();
    cluster.stop();
    cluster.configure("wal_level = minimal\nmax_wal_senders = 0");
    cluster.begin();
    refused(settings(), &cluster.location("stream"), FailureCode::ServerNotReady, &["wal_level", "replica"]);
    cluster.stop();
    cluster.configure("wal_level = replica\nmax_wal_senders = 0");
    cluster.begin();
    refused(settings(), &cluster.location("stream"), FailureCode::ServerNotReady, &["max_wal_senders"]);
    cluster.stop();
    // A backup needs a connection for itself.
    cluster.configure("max_wal_senders = 1");
    cluster.begin();
    let server = driver_postgres::server::Location::parse(&cluster.location("stream")).unwrap();
    let credentials = settings().credentials("main").unwrap();
    use driver_postgres::connection::{Connection, Mode};
    let mut taken = Connection::open(&server.server, &credentials, Mode::Replication).unwrap();
    refused(
        settings(),
        &cluster.location("stream"),
        FailureCode::ServerNotReady,
        &["53300", "raise `max_wal_senders`"],
    );
    taken.query("IDENTIFY_SYSTEM").unwrap();
}

#[test]
fn without_a_free_slot_the_backup_is_still_made() {
    let mut cluster = Cluster::start();
    cluster.stop();
    cluster.configure("max_replication_slots = 1");
    cluster.begin();
    cluster.sql("postgres", "SELECT pg_create_physical_replication_slot('taken')");
    let point = capture_from(settings(), &MemoryVault::new(), &cluster.location("files"), None).unwrap();
    assert_eq!(point.capture.exceptions, []);
}

#[test]
fn a_missing_tablespace_is_named() {
    let cluster = Cluster::start();
    let space = cluster.place.path("space");
    fs::create_dir(&space).unwrap();
    run(Command::new("chown").arg("postgres").arg(&space));
    cluster.sql("postgres", &format!("CREATE TABLESPACE gone LOCATION '{}'", space.display()));
    fs::rename(&space, cluster.place.path("elsewhere")).unwrap();
    refused(settings(), &cluster.location("files"), FailureCode::ServerNotReady, &["tablespace", "/space"]);
}
