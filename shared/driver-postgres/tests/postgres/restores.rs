//! Restores: to directories, to servers, over old data.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use driver_api::DriverError;
use driver_api::conformance::MemoryVault;
use job_model::{FailureCode, OverwritePolicy};

use super::captures::{Point, capture, verify_backup};
use super::cluster::{Cluster, Place, connect, program, run, settings};
use super::restored::{CapturedShop, RestoredCopy, failures, options, restore_with};

/// Restores, lets PostgreSQL's own program judge the files, and climbs the ladder.
pub(crate) fn restored_and_proven(cluster: &Cluster, point: &Point) {
    let copy = RestoredCopy::of(point);
    verify_backup(&copy.target);
    let check = copy.check(&BTreeMap::new());
    assert_eq!(failures(&check), Vec::<String>::new());
    let steps: Vec<_> = check.steps.iter().map(|step| step.phase.as_str()).collect();
    let all = ["manifest", "promoted", "first-query", "amcheck", "rows", "foreign-keys", "stop", "page-checksums"];
    assert_eq!(steps, all);
    let rto: Vec<_> = check.rto_phases.iter().map(|step| step.phase.as_str()).collect();
    assert_eq!(rto, ["start", "replay", "first-query"]);
    assert!(check.first_correct_read_ms.is_some());
    drop((copy, cluster));
}

#[test]
fn a_new_server_is_promoted_and_reachable_when_the_restore_says_so() {
    let CapturedShop { cluster, point } = CapturedShop::by("stream");
    let place = Place::new();
    let (target, socket) = (place.path("restored"), place.path("").display().to_string());
    let wanted =
        options(&[("StartServer", "true"), ("Port", "5999"), ("SocketDirectory", &socket), ("MultiAZ", "false")]);
    let restored = restore_with(settings(), &point, &target, OverwritePolicy::Refuse, &wanted).unwrap();
    let _stop = StopAtEnd(&target);
    assert!(restored.phases.iter().any(|phase| phase.phase == "start"));
    assert!(restored.findings.iter().any(|finding| finding.message.contains("MultiAZ")));
    let mut connection = connect(Path::new(&socket), 5999, "shop");
    let row =
        connection.query("SELECT count(*), pg_is_in_recovery(), current_setting('archive_mode') FROM orders").unwrap();
    assert_eq!((row.value(0, 0), row.value(0, 1), row.value(0, 2)), (Some("20000"), Some("f"), Some("off")));
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&target).unwrap());
    assert_eq!(owner, std::os::unix::fs::MetadataExt::uid(&fs::metadata(&cluster.data).unwrap()));

    // The answer was lost and the request comes again.
    restore_with(settings(), &point, &target, OverwritePolicy::Refuse, &wanted).unwrap();
    assert_eq!(connection.query("SELECT count(*) FROM orders").unwrap().single().unwrap(), "20000");

    // Nobody restores over a server that runs.
    let again = restore_with(settings(), &point, &target, OverwritePolicy::Exact, &BTreeMap::new());
    assert_eq!(again.unwrap_err().failure_code(driver_api::Side::Target), FailureCode::TargetExists);
}

struct StopAtEnd<'a>(&'a Path);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        let mut stop = program("pg_ctl");
        let _ = stop.args(["stop", "-w", "-s", "-m", "immediate", "-D"]).arg(self.0).output();
    }
}

#[test]
fn an_old_data_directory_becomes_the_recovery_point_and_unchanged_files_are_not_written() {
    let shop = CapturedShop::by("files");
    let copy = RestoredCopy::of(&shop.point);
    let target = &copy.target;
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(target.join(name)).unwrap());
    let unchanged = inode("PG_VERSION");
    fs::write(target.join("global/pg_control"), "broken").unwrap();
    fs::write(target.join("base/left-over"), "x").unwrap();
    restore_with(settings(), &shop.point, target, OverwritePolicy::Exact, &BTreeMap::new()).unwrap();
    assert_eq!(inode("PG_VERSION"), unchanged);
    assert!(!target.join("base/left-over").exists());
    verify_backup(target);
}

#[test]
fn another_version_and_existing_data_are_refused() {
    let mut cluster = Cluster::start();
    let vault = MemoryVault::new();
    let mut point = capture(&vault, &cluster.location("files"));
    cluster.stop();
    let refused = |point: &Point, target: &Path, policy, wanted: &[(&str, &str)]| {
        restore_with(settings(), point, target, policy, &options(wanted)).unwrap_err()
    };
    let error = refused(&point, &cluster.data, OverwritePolicy::Refuse, &[]);
    assert!(matches!(error, DriverError::TargetExists { .. }), "{error}");
    fs::write(cluster.data.join("PG_VERSION"), "14\n").unwrap();
    let error = refused(&point, &cluster.data, OverwritePolicy::Exact, &[]);
    assert_eq!(error.failure_code(driver_api::Side::Target), FailureCode::VersionMismatch);
    assert!(error.to_string().contains("version 14"), "{error}");

    point.description["driver"]["major_version"] = 99.into();
    let place = Place::new();
    let error = refused(&point, &place.path("new"), OverwritePolicy::Refuse, &[("StartServer", "true")]);
    assert_eq!(error.failure_code(driver_api::Side::Target), FailureCode::VersionMismatch);
    assert!(error.to_string().contains("PostgreSQL 99") && !place.path("new").exists(), "{error}");
    let error = refused(&point, &place.path("new"), OverwritePolicy::Refuse, &[("Prot", "1")]);
    assert!(error.to_string().contains("`Prot`"), "{error}");
}

#[test]
fn no_space_in_the_middle_is_said_and_the_restore_goes_on_later() {
    let cluster = Cluster::start();
    let vault = MemoryVault::new();
    let point = capture(&vault, &cluster.location("files"));
    let place = Place::new();
    let small = place.path("small");
    fs::create_dir(&small).unwrap();
    run(std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs"]).arg(&small));
    let target = small.join("restored");
    let error = restore_with(settings(), &point, &target, OverwritePolicy::Refuse, &BTreeMap::new());
    let code = error.map_err(|e| e.failure_code(driver_api::Side::Target));
    run(std::process::Command::new("mount").args(["-o", "remount,size=200m"]).arg(&small));
    let restored = restore_with(settings(), &point, &target, OverwritePolicy::Refuse, &BTreeMap::new());
    let verified = std::panic::catch_unwind(|| verify_backup(&target));
    run(std::process::Command::new("umount").arg(&small));
    assert_eq!(code.err(), Some(FailureCode::NoSpace));
    restored.unwrap();
    verified.unwrap();
}

#[test]
fn single_tables_come_out_of_a_servers_files() {
    let shop = CapturedShop::by("stream");
    let point = &shop.point;
    let target = Cluster::start();
    let place = Place::new();
    let into =
        format!("postgresql:///found?host={}&port={}&profile=main", target.place.path("").display(), target.port());
    let wanted = options(&[("Tables", "public.customers,writes"), ("Database", "shop"), ("RestoreInto", &into)]);
    let restored = restore_with(settings(), point, &place.path("tables"), OverwritePolicy::Refuse, &wanted).unwrap();
    let phases: Vec<_> = restored.phases.iter().map(|phase| phase.phase.as_str()).collect();
    assert!(phases.ends_with(&["start", "pg_dump", "pg_restore"]), "{phases:?}");
    assert_eq!(target.sql("found", "SELECT count(*) FROM customers").single().unwrap(), "500");
    let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND oid >= 16384";
    assert_eq!(target.sql("found", tables).single().unwrap(), "2");
    // The answer was lost and the request comes again.
    restore_with(settings(), point, &place.path("tables"), OverwritePolicy::Refuse, &wanted).unwrap();
    let left: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["tables"]);

    let missing = options(&[("Tables", "nowhere"), ("Database", "shop")]);
    let error = restore_with(settings(), point, &place.path("none"), OverwritePolicy::Refuse, &missing).unwrap_err();
    assert!(error.to_string().contains("no matching tables"), "{error}");
    assert!(!place.path("none").exists());
}
