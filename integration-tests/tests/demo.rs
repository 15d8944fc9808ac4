//! `holdfast demo`, twice with the same directory: everything is proven, the second time next to nothing is stored, and
//! other programs read what it left.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use integration_tests::installation::program;
use serde_json::Value;

/// A tree with a bit of everything that a file tree has; what does not compress outweighs what every repository needs.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("documents/deep/er")).unwrap();
    let mut noise = vec![0; 24 << 20];
    File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    for (number, part) in noise.chunks(1 << 20).enumerate() {
        fs::write(root.join(format!("documents/scan-{number:02}.bin")), part).unwrap();
    }
    for number in 0..200 {
        fs::write(root.join(format!("documents/deep/note-{number}.txt")), format!("note {number}\n").repeat(number))
            .unwrap();
    }
    fs::write(root.join("documents/deep/er/empty"), "").unwrap();
    std::os::unix::fs::symlink("../documents", root.join("documents/link")).unwrap();
}

fn demo(tree: &Path, keep: &Path) -> Value {
    let output = Command::new(program().unwrap())
        .args(["demo", "--json", "--path"])
        .arg(tree)
        .arg("--keep")
        .arg(keep)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told}\n{said}");
    // One document and nothing else: `from_slice` refuses what follows it.
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("not one JSON document: {error}\n{said}"))
}

/// Bytes that the backups or the copies of the file tree and the volume stored in one run of the schedule. The database is
/// another one in each demo, and its log is always new.
fn stored(report: &Value, run: usize, job: &str) -> u64 {
    let cycles = report["runs"][run]["cycles"].as_array().unwrap();
    let lasting = cycles.iter().filter(|cycle| !cycle["resource"].as_str().unwrap().ends_with(":db:demo-database"));
    lasting.map(|cycle| cycle[job]["bytes_stored"].as_u64().unwrap()).sum()
}

fn assert_proven(report: &Value) {
    assert_eq!(report["proven"], true, "{report:#}");
    assert_eq!(report["problems"].as_array().unwrap().len(), 0, "{report:#}");
    assert_eq!(report["runs"].as_array().unwrap().len(), 2, "{report:#}");
    let entries = report["restore_test"]["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2 + usize::from(has_postgresql()), "a file tree, a volume, a database: {report:#}");
    for entry in entries {
        assert_eq!(entry["verdict"]["status"], "SUCCESSFUL", "{entry:#}");
        let vault = entry["vault"].as_str().unwrap();
        assert!(vault.contains("ap-northeast-3") && vault.ends_with("osaka"), "tested from the copy: {vault}");
    }
    assert_eq!(report.get("dropped_table").is_some(), has_postgresql(), "{report:#}");
    if let Some(dropped) = report.get("dropped_table") {
        assert_brought_back(dropped);
    }
}

/// The dropped table is back as it was in the second before, within the window, in a time whose parts are told.
fn assert_brought_back(dropped: &Value) {
    let at = |value: &Value| -> jiff::Timestamp { value.as_str().unwrap().parse().unwrap() };
    let number = |name: &str| dropped[name].as_u64().unwrap_or_else(|| panic!("`{name}`: {dropped:#}"));
    let (restored_to, dropped_at) = (at(&dropped["restored_to"]), at(&dropped["dropped_at"]));
    assert_eq!(restored_to.as_second(), dropped_at.as_second(), "{dropped:#}");
    assert_eq!(restored_to.subsec_nanosecond(), 0, "a whole second: {dropped:#}");
    let [interval] = dropped["window"].as_array().unwrap().as_slice() else { panic!("one interval: {dropped:#}") };
    assert!(at(&interval["from"]) < restored_to && dropped_at < at(&interval["to"]), "{dropped:#}");
    assert!(number("rows_before") > 5000, "{dropped:#}");
    assert_eq!(number("rows_restored"), number("rows_before"), "{dropped:#}");
    assert_eq!(dropped["rows_are_equal"], true, "{dropped:#}");
    assert!(number("later_rows") > 0, "{dropped:#}");
    assert_eq!(number("later_rows_restored"), 0, "{dropped:#}");
    let phases = dropped["rto_phases"].as_array().unwrap();
    let named: Vec<&str> = phases.iter().map(|phase| phase["phase"].as_str().unwrap()).collect();
    for name in ["wait", "replay", "start", "first-query"] {
        assert!(named.contains(&name), "{name}: {dropped:#}");
    }
    let sum: u64 = phases.iter().map(|phase| phase["duration_ms"].as_u64().unwrap()).sum();
    assert_eq!(sum, number("rto_ms"), "{dropped:#}");
    assert!(number("rpo_ms") <= 1000, "{dropped:#}");
}

/// Whether the demo has a server to protect: the tests' own setup installs this version.
fn has_postgresql() -> bool {
    Path::new("/usr/lib/postgresql/15/bin/postgres").exists()
}

/// A program that must succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{said}\n{told}", output.status);
    said
}

/// The newest snapshot of the working copy of the directory.
fn newest_of_files(restic: &[&str], files: &Path) -> String {
    let snapshots: Value = serde_json::from_str(&run("restic", &[restic, &["snapshots", "--json"]].concat())).unwrap();
    let location = format!("file://{}", files.display());
    let of_files = snapshots.as_array().unwrap().iter().filter(|s| s["paths"][0] == location.as_str());
    let newest = of_files.max_by_key(|s| s["time"].as_str().unwrap().to_owned());
    newest.unwrap_or_else(|| panic!("no snapshot of {location} in {snapshots:#}"))["id"].as_str().unwrap().to_owned()
}

/// What another program restored is what was protected, in everything that rsync can tell.
fn assert_equal(source: &Path, restored: &Path, who: &str) {
    let (from, to) = (format!("{}/", source.display()), format!("{}/", restored.display()));
    let differences = run("rsync", &["-naHAXSi", "--checksum", "--delete", &from, &to]);
    assert_eq!(differences, "", "{who} restored something else");
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Both vaults are clean for restic and rustic, and both restore the file tree as it was at the last run.
#[expect(clippy::print_stdout, reason = "what a test left out must be seen")]
fn assert_readable_without_holdfast(keep: &Path, scratch: &Path) {
    let files = keep.join("work/files");
    for vault in ["tokyo", "osaka"] {
        let repository = keep.join("vaults").join(vault).display().to_string();
        let password = keep.join("vaults").join(format!("{vault}.password")).display().to_string();
        let access = ["--no-cache", "-r", &repository, "--password-file", &password];
        let checked = run("restic", &[&access[..], &["check", "--read-data"]].concat());
        assert!(checked.contains("no errors were found"), "{checked}");
        let snapshot = newest_of_files(&access, &files);
        let target = scratch.join(format!("restic-{vault}"));
        run("restic", &[&access[..], &["restore", &snapshot, "--target", &target.display().to_string()]].concat());
        assert_equal(&files, &target.join("data"), &format!("restic from {vault}"));
        fs::remove_dir_all(target).unwrap();

        if !is_installed("rustic") {
            println!("rustic is not installed; only restic was asked");
            continue;
        }
        run("rustic", &[&access[..], &["check", "--read-data"]].concat());
        let target = scratch.join(format!("rustic-{vault}"));
        run("rustic", &[&access[..], &["restore", &snapshot, &target.display().to_string()]].concat());
        assert_equal(&files, &target.join("data"), &format!("rustic from {vault}"));
        fs::remove_dir_all(target).unwrap();
    }
}

#[test]
fn two_demos_prove_everything_and_the_second_stores_next_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let (tree, keep) = (dir.join("tree"), dir.join("kept"));
    make_tree(&tree);

    let first = demo(&tree, &keep);
    assert_proven(&first);
    for job in ["backup", "copy"] {
        let (of_first, of_second) = (stored(&first, 0, job), stored(&first, 1, job));
        let story = format!("{job}: the second run stored {of_second} bytes, the first {of_first}: {first:#}");
        assert!(of_second * 20 < of_first, "{story}");
    }
    assert_readable_without_holdfast(&keep, &dir);

    let second = demo(&tree, &keep);
    assert_proven(&second);
    let of_first = stored(&first, 0, "backup") + stored(&first, 1, "backup");
    let of_second = stored(&second, 0, "backup") + stored(&second, 1, "backup");
    println!("the first demo stored {of_first} bytes, the second {of_second}");
    assert!(of_second * 20 < of_first, "the second demo stored {of_second} bytes, the first {of_first}: {second:#}");
    assert_readable_without_holdfast(&keep, &dir);
}
