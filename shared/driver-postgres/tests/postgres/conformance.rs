//! The suite every driver must pass, with data directories at rest.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use driver_api::Driver;
use driver_api::conformance::{Damage, Subject};
use driver_postgres::PostgresDriver;
use job_model::FindingKind;

use super::cluster::{BIN, Cluster, Place, SHOP, run, settings, shared_place};

/// Two states of the same cluster, without what a server makes anew.
struct States {
    driver: PostgresDriver,
    first: PathBuf,
    second: PathBuf,
}

impl States {
    /// The same for all tests: a process of its own for each would make them again and again.
    fn new() -> Self {
        let states = shared_place("states", &(BIN, SHOP, include_str!("conformance.rs")));
        if !states.exists() {
            let place = Place::new();
            Self::make(&place);
            // Whoever comes second has done it for nothing.
            let _ = fs::rename(place.path(""), &states);
        }
        let (first, second) = (states.join("first"), states.join("second"));
        Self { driver: PostgresDriver::new(settings()), first, second }
    }

    fn make(place: &Place) {
        let mut cluster = Cluster::with_shop();
        cluster.stop();
        let (first, second) = (place.path("first"), place.path("second"));
        copy(&cluster.data, &first);
        cluster.begin();
        cluster.sql("shop", "UPDATE orders SET note = 'changed' WHERE id BETWEEN 10000 AND 10100; CHECKPOINT");
        cluster.stop();
        copy(&cluster.data, &second);
    }
}

fn copy(data: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(data).arg(to));
    let control = run(Command::new("/usr/lib/postgresql/15/bin/pg_controldata").arg(to).env("LC_ALL", "C"));
    let control = String::from_utf8(control.stdout).unwrap();
    let redo =
        control.lines().find_map(|l| l.strip_prefix("Latest checkpoint's REDO WAL file:")).unwrap().trim().to_owned();
    for entry in fs::read_dir(to.join("pg_wal")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != *redo && entry.file_type().unwrap().is_file() {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let remove = ["-name", "pg_internal.init", "-o", "-name", "postmaster.opts", "-o", "-name", "current_logfiles"];
    run(Command::new("find").arg(to).args(["("]).args(remove).args([")", "-delete"]));
    for directory in
        ["pg_subtrans", "pg_notify", "pg_stat_tmp", "pg_replslot", "pg_serial", "pg_dynshmem", "pg_snapshots"]
    {
        for entry in fs::read_dir(to.join(directory)).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

/// Files below a directory, by path.
fn files(root: &Path) -> Vec<PathBuf> {
    let listed = run(Command::new("find").arg(".").args(["-type", "f"]).current_dir(root));
    String::from_utf8(listed.stdout).unwrap().lines().map(PathBuf::from).collect()
}

fn relation(root: &Path) -> PathBuf {
    let largest = files(root)
        .into_iter()
        .filter(|path| path.starts_with("./base"))
        .max_by_key(|path| fs::metadata(root.join(path)).unwrap().len());
    root.join(largest.unwrap())
}

impl Subject for States {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn build(&self, place: &Path) {
        run(Command::new("cp").arg("-a").arg(&self.first).arg(place));
    }

    fn change(&self, place: &Path) -> u64 {
        run(Command::new("rsync")
            .args(["-a", "--delete", "--checksum"])
            .arg(format!("{}/", self.second.display()))
            .arg(place));
        let mut changed = 0;
        for path in files(&self.second) {
            let new = fs::read(self.second.join(&path)).unwrap();
            let old = fs::read(self.first.join(&path)).unwrap_or_default();
            let step = if path.starts_with("./pg_wal") { 1 << 20 } else { 8192 };
            let chunks = new.chunks(step).enumerate();
            let differ =
                chunks.filter(|(number, chunk)| old.get(number * step..number * step + chunk.len()) != Some(*chunk));
            changed += differ.map(|(_, chunk)| chunk.len() as u64).sum::<u64>();
        }
        // The manifest has a line for each file.
        changed + 200 * files(&self.second).len() as u64
    }

    fn skips_unchanged(&self) -> bool {
        false
    }

    fn difference(&self, left: &Path, right: &Path) -> Option<String> {
        let diff = Command::new("diff").args(["-r", "-x", "backup_manifest"]).arg(left).arg(right).output().unwrap();
        if !diff.status.success() {
            return Some(String::from_utf8_lossy(&diff.stdout).into_owned());
        }
        let metadata = |root: &Path| {
            let format = "%p %y %m %U %G %T@\n";
            let find = ["-mindepth", "1", "-not", "-name", "backup_manifest", "-printf", format];
            let mut lines: Vec<_> =
                String::from_utf8(run(Command::new("find").arg(".").args(find).current_dir(root)).stdout)
                    .unwrap()
                    .lines()
                    .map(str::to_owned)
                    .collect();
            lines.sort();
            lines
        };
        let (left, right) = (metadata(left), metadata(right));
        (left != right)
            .then(|| left.iter().zip(&right).find(|(a, b)| a != b).map_or("more".to_owned(), |d| format!("{d:?}")))
    }

    fn damages(&self) -> Vec<Damage> {
        use FindingKind::{ContentDiffers, EntryMissing, EntryUnexpected, MetadataDiffers};
        fn keep_time(path: &Path, change: impl FnOnce(&fs::File)) {
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            let file = fs::File::options().write(true).open(path).unwrap();
            change(&file);
            file.set_modified(modified).unwrap();
        }
        let damage = |name, finding, apply| Damage { name, apply, finding };
        vec![
            damage("flipped bit in a page", ContentDiffers, |root| {
                let path = relation(root);
                let mut byte = [0];
                fs::File::open(&path).unwrap().read_exact_at(&mut byte, 8192 * 7 + 5000).unwrap();
                keep_time(&path, |file| file.write_all_at(&[byte[0] ^ 1], 8192 * 7 + 5000).unwrap());
            }),
            damage("missing segment of the log", EntryMissing, |root| {
                for entry in fs::read_dir(root.join("pg_wal")).unwrap() {
                    let entry = entry.unwrap();
                    if entry.file_type().unwrap().is_file() {
                        fs::remove_file(entry.path()).unwrap();
                    }
                }
            }),
            damage("truncated relation", ContentDiffers, |root| {
                keep_time(&relation(root), |file| file.set_len(8192 * 20).unwrap());
            }),
            damage("missing relation", EntryMissing, |root| fs::remove_file(relation(root)).unwrap()),
            damage("missing empty directory", EntryMissing, |root| fs::remove_dir(root.join("pg_notify")).unwrap()),
            damage("extra file", EntryUnexpected, |root| fs::write(root.join("base/extra"), "x").unwrap()),
            damage("other mode", MetadataDiffers, |root| {
                fs::set_permissions(root.join("global"), fs::Permissions::from_mode(0o755)).unwrap();
            }),
        ]
    }

    fn privileged(&self) -> bool {
        true
    }
}

driver_api::driver_conformance!(States::new());
