//! Restores over an old data directory: what differs is written, and nothing is started that is half of one and half of
//! the other.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use driver_api::conformance::MemoryVault;
use driver_api::{Control, Driver as _, DriverError, NoControl, RestoreRequest, Restored};
use driver_postgres::PostgresDriver;
use job_model::{OverwritePolicy, Progress};

use super::captures::{Point, capture, verify_backup};
use super::cluster::{Cluster, run, settings};
use super::restored::{check_with, failures, options};

/// Pages of the table that is changed.
pub(super) const FILLER: &str = "CREATE TABLE filler (id int PRIMARY KEY, text text) WITH (fillfactor = 90); \
    INSERT INTO filler SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 60000) n";

/// A cluster, a recovery point of it, and the cluster again after changes, shut down.
fn changed_since() -> (Cluster, MemoryVault, Point, String) {
    let mut cluster = Cluster::with_shop();
    cluster.sql("shop", FILLER);
    // Or the first who reads a page changes it.
    cluster.sql("shop", "VACUUM FREEZE filler");
    let vault = MemoryVault::new();
    let point = capture(&vault, &cluster.location("files"));
    cluster.sql("shop", "UPDATE filler SET text = 'other' WHERE id % 600 = 1");
    cluster.sql("shop", "INSERT INTO customers SELECT n, 'new' FROM generate_series(1000, 20000) n");
    cluster.sql("shop", "DROP TABLE writes; CREATE TABLE later (id int); DELETE FROM filler WHERE id > 59000");
    cluster.sql("shop", "VACUUM filler");
    let filler = cluster.sql("shop", "SELECT pg_relation_filepath('filler')").single().unwrap().to_owned();
    cluster.stop();
    (cluster, vault, point, filler)
}

pub(super) fn restore_over(point: &Point, target: &Path, control: &dyn Control) -> Result<Restored, DriverError> {
    PostgresDriver::new(settings()).restore(RestoreRequest {
        reader: &point.snapshot,
        description: &point.description,
        target,
        overwrite: OverwritePolicy::Exact,
        include: &[],
        options: &options(&[]),
        parallelism: 2,
        control,
        elapsed_ms: &|| 0,
    })
}

/// Bytes this process has given to the system to write.
pub(super) fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}

/// What all files together are, by name and content.
pub(super) fn digest(directory: &Path) -> String {
    let list = "find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum";
    let output = run(Command::new("sh").args(["-c", list]).current_dir(directory));
    String::from_utf8(output.stdout).unwrap()
}

pub(super) fn is_the_recovery_point(point: &Point, target: &Path) {
    verify_backup(target);
    let check = check_with(point, target, &options(&[]));
    assert_eq!(failures(&check), Vec::<String>::new());
}

#[test]
fn an_old_data_directory_is_given_the_chunks_that_differ() {
    let (cluster, _vault, point, filler) = changed_since();
    let file = cluster.data.join(filler);
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&file).unwrap());
    let before = inode();
    let written = written_bytes();
    restore_over(&point, &cluster.data, &NoControl).unwrap();
    let written = written_bytes() - written;
    let whole = point.capture.size_bytes;
    assert_eq!(inode(), before, "the file was made anew");
    assert!(whole > 60 << 20, "{whole}");
    // A hundred changed pages, vacuumed ones, catalogues, indexes and a segment of the log, each once beside and once in
    // its place.
    assert!(written < whole / 5, "{written} bytes were written of {whole}");
    is_the_recovery_point(&point, &cluster.data);
}

/// Stops the work when it has looked so often whether it should.
struct StopAfter {
    left: AtomicU64,
    looks: AtomicU64,
}

impl StopAfter {
    fn new(looks: u64) -> Self {
        Self { left: AtomicU64::new(looks), looks: AtomicU64::new(0) }
    }
}

impl Control for StopAfter {
    fn is_stopped(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }

    fn advance(&self, _difference: Progress) {}
}

/// Stops the work as soon as the target is no cluster any more.
struct StopHalfWay<'a>(&'a Path);

impl Control for StopHalfWay<'_> {
    fn is_stopped(&self) -> bool {
        !self.0.join("global/pg_control").exists()
    }

    fn advance(&self, _difference: Progress) {}
}

#[test]
fn a_restore_over_old_data_that_is_cut_short_leaves_the_old_or_nothing_to_start_and_goes_on() {
    const CUTS: u64 = 12;
    let (cluster, _vault, point, _) = changed_since();
    let target = cluster.place.path("target");
    let fresh = || {
        let _ = fs::remove_dir_all(&target);
        run(Command::new("cp").arg("-a").arg(&cluster.data).arg(&target));
    };
    fresh();
    let old = digest(&target);
    let whole = StopAfter::new(u64::MAX);
    restore_over(&point, &target, &whole).unwrap();
    let looks = whole.looks.into_inner();
    let mut half_way = 0;
    // Most of the first half only looks at what is there.
    let cuts = (1..CUTS).filter(|cut| *cut == 1 || *cut >= CUTS / 2).map(|cut| StopAfter::new(looks * cut / CUTS));
    let cuts = cuts.map(|cut| Box::new(cut) as Box<dyn Control>);
    // Whatever the others meet.
    for control in cuts.chain([Box::new(StopHalfWay(&target)) as Box<dyn Control>]) {
        fresh();
        let error = restore_over(&point, &target, &*control).unwrap_err();
        assert!(error.is_stop(), "{error}");
        if target.join("global/pg_control").exists() {
            // Nothing but what lies beside was written, or all of it.
            run(Command::new("find").arg(&target).args(["-name", ".holdfast-*", "-delete"]));
            if digest(&target) != old {
                verify_backup(&target);
            }
        } else {
            half_way += 1;
        }
        restore_over(&point, &target, &NoControl).unwrap();
        verify_backup(&target);
    }
    assert!(half_way > 0, "no cut was in the middle of the changes");
    is_the_recovery_point(&point, &target);
}

#[test]
fn damage_in_the_vault_is_found_while_the_old_data_is_whole() {
    let (cluster, vault, point, filler) = changed_since();
    let old = digest(&cluster.data);
    let content = super::incremental::content_of(&point, &filler);
    // The page of the first row, which was changed.
    vault.damage(&content[0]);
    let error = restore_over(&point, &cluster.data, &NoControl).unwrap_err();
    assert_eq!(error.failure_code(driver_api::Side::Source), job_model::FailureCode::VaultDamaged, "{error}");
    run(Command::new("find").arg(&cluster.data).args(["-name", ".holdfast-*", "-delete"]));
    assert_eq!(digest(&cluster.data), old);
    vault.repair(&content[0]);
    restore_over(&point, &cluster.data, &NoControl).unwrap();
    verify_backup(&cluster.data);
}
