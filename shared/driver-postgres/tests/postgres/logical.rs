//! Dumps of databases and tables.

use std::collections::BTreeMap;
use std::fs;

use driver_api::Driver as _;
use driver_api::conformance::MemoryVault;
use driver_postgres::PostgresDriver;
use driver_postgres::server::{CredentialProfile, SslMode};
use job_model::{FailureCode, OverwritePolicy};

use super::captures::{Point, capture, capture_from, under_load};
use super::cluster::{Cluster, Place, settings};
use super::restored::{RestoredCopy, failures, options, restore_with};

fn location(cluster: &Cluster, more: &str) -> String {
    let socket = cluster.place.path("");
    format!("postgresql:///shop?host={}&port={}&profile=main&method=logical{more}", socket.display(), cluster.port())
}

fn into(cluster: &Cluster, database: &str) -> String {
    let socket = cluster.place.path("");
    format!("postgresql:///{database}?host={}&port={}&profile=main", socket.display(), cluster.port())
}

fn proven(point: &Point) -> Vec<String> {
    let wanted = options(&[("Assert.shop.customers", "SELECT count(*) = 500 FROM customers")]);
    let check = RestoredCopy::of(point).check(&wanted);
    if failures(&check).is_empty() {
        let steps: Vec<_> = check.steps.iter().map(|step| step.phase.as_str()).collect();
        assert_eq!(steps, ["manifest", "start", "pg_restore", "first-query", "rows", "assertions"]);
        assert!(check.first_correct_read_ms.is_some());
    }
    failures(&check)
}

#[test]
fn a_dump_of_a_busy_database_is_exact_and_proven() {
    let cluster = Cluster::with_shop();
    cluster.sql("postgres", "CREATE ROLE clerk; GRANT CONNECT ON DATABASE shop TO clerk");
    cluster.sql("shop", "GRANT SELECT ON orders TO clerk");
    assert!(PostgresDriver::new(settings()).probe(&location(&cluster, "")).unwrap().size_bytes.unwrap() > 1 << 20);
    let vault = MemoryVault::new();
    let point = under_load(&cluster, || capture(&vault, &location(&cluster, "")));
    assert_eq!(point.capture.facts["kind"], "logical");
    assert_eq!(point.capture.exceptions, []);
    assert_eq!(proven(&point), Vec::<String>::new());
}

#[test]
fn chosen_tables_are_dumped_and_nothing_else() {
    let cluster = Cluster::with_shop();
    let vault = MemoryVault::new();
    let point = capture(&vault, &location(&cluster, "&table=public.customers"));
    assert_eq!(point.capture.facts["globals"], false);
    assert_eq!(proven(&point), Vec::<String>::new());
    let target = Cluster::start();
    let place = Place::new();
    let wanted = options(&[("RestoreInto", &into(&target, "some"))]);
    restore_with(settings(), &point, &place.path("dump"), OverwritePolicy::Refuse, &wanted).unwrap();
    let tables = "SELECT string_agg(relname, ',') FROM pg_class WHERE relkind = 'r' AND oid >= 16384";
    assert_eq!(target.sql("some", tables).single().unwrap(), "customers");
}

#[test]
fn a_database_is_made_whole_or_not_at_all() {
    let cluster = Cluster::with_shop();
    let vault = MemoryVault::new();
    let point = capture(&vault, &location(&cluster, ""));
    let target = Cluster::start();
    let place = Place::new();
    let wanted = options(&[("RestoreInto", &into(&target, "copy"))]);
    let restored = restore_with(settings(), &point, &place.path("dump"), OverwritePolicy::Refuse, &wanted).unwrap();
    assert!(restored.phases.iter().any(|phase| phase.phase == "pg_restore"));
    assert_eq!(target.sql("copy", "SELECT count(*) FROM orders").single().unwrap(), "20000");
    // The answer was lost and the request comes again.
    restore_with(settings(), &point, &place.path("dump"), OverwritePolicy::Refuse, &wanted).unwrap();

    target.sql("postgres", "CREATE DATABASE taken");
    let taken = options(&[("RestoreInto", &into(&target, "taken"))]);
    let error = restore_with(settings(), &point, &place.path("dump"), OverwritePolicy::Refuse, &taken).unwrap_err();
    assert_eq!(error.failure_code(driver_api::Side::Target), FailureCode::TargetExists);

    // A role that is not there ends it, and nothing is left; without owners it goes.
    cluster.sql("shop", "CREATE ROLE clerk; ALTER TABLE writes OWNER TO clerk");
    let owned = capture(&vault, &location(&cluster, ""));
    let wanted = [("RestoreInto", into(&target, "owned"))].map(|(k, v)| (k.to_owned(), v));
    let mut wanted = BTreeMap::from(wanted);
    let error = restore_with(settings(), &owned, &place.path("owned"), OverwritePolicy::Refuse, &wanted).unwrap_err();
    assert!(error.to_string().contains("clerk"), "{error}");
    let left = target.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'owned%'");
    assert_eq!(left.single().unwrap(), "0");
    wanted.insert("Owners".to_owned(), "drop".to_owned());
    restore_with(settings(), &owned, &place.path("owned"), OverwritePolicy::Refuse, &wanted).unwrap();
    assert_eq!(target.sql("owned", "SELECT count(*) FROM writes").single().unwrap(), "1");
}

#[test]
fn a_dump_that_lost_something_fails_with_its_name() {
    let cluster = Cluster::with_shop();
    let vault = MemoryVault::new();
    let point = capture(&vault, &location(&cluster, ""));
    let copy = RestoredCopy::of(&point);
    let largest =
        fs::read_dir(copy.target.join("dump")).unwrap().map(|e| e.unwrap()).max_by_key(|e| e.metadata().unwrap().len());
    let largest = largest.unwrap();
    fs::File::options().write(true).open(largest.path()).unwrap().set_len(1000).unwrap();
    let found = copy.failures();
    let name = format!("dump/{}", largest.file_name().to_string_lossy());
    assert!(found.iter().any(|finding| finding.starts_with(&name)), "{found:?}");
}

#[test]
fn clients_log_in_with_the_password_of_the_profile() {
    let mut cluster = Cluster::with_shop_on_tcp();
    cluster.sql("shop", "CREATE ROLE backup LOGIN PASSWORD 'a:b\\c d'; GRANT pg_read_all_data TO backup");
    let hba = "local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(cluster.data.join("pg_hba.conf"), hba).unwrap();
    cluster.stop();
    cluster.begin();
    let password = cluster.place.path("password");
    fs::write(&password, "a:b\\c d\n").unwrap();
    let mut all = settings();
    let profile = CredentialProfile {
        user: "backup".to_owned(),
        password_file: Some(password),
        ssl_mode: SslMode::Disable,
        ..Default::default()
    };
    all.profiles.insert("backup".to_owned(), profile);
    let location = format!("postgresql://127.0.0.1:{}/shop?profile=backup&method=logical", cluster.port());
    let point = capture_from(all, &MemoryVault::new(), &location, None).unwrap();
    assert_eq!(point.capture.facts["database"], "shop");
    let left = fs::read_dir("/tmp").unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    let mine = format!("holdfast-dump-{}-", std::process::id());
    assert!(!left.into_iter().any(|name| name.starts_with(&mine)));
}
