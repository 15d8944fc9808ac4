//! The demo, whole: two runs of a real schedule, so it takes two minutes. It reads like what a newcomer is promised.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn make_directory(root: &Path) {
    for dir in ["src", "docs/pictures", "empty"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    for index in 0..40_u8 {
        let content: Vec<u8> = (0..20_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ index).collect();
        std::fs::write(root.join(format!("src/file-{index}")), &content).unwrap();
        std::fs::write(root.join(format!("docs/pictures/{index}.raw")), &content[..5_000]).unwrap();
    }
    std::os::unix::fs::symlink("../src/file-1", root.join("docs/link")).unwrap();
}

/// Every name and content below a directory, and when it was changed last.
fn fingerprint(root: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
    let mut all = Vec::new();
    let mut queue = vec![root.to_owned()];
    while let Some(dir) = queue.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                queue.push(path.clone());
            }
            let content = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            all.push((path.display().to_string(), content, meta.modified().unwrap()));
        }
    }
    all.sort();
    all
}

/// How long the backups and copies of both runs took, one after the other.
fn worked_ms(report: &Value) -> u64 {
    let cycles = report["runs"].as_array().unwrap().iter().flat_map(|run| run["cycles"].as_array().unwrap());
    cycles.flat_map(|cycle| [&cycle["backup"], &cycle["copy"]]).map(|job| job["duration_ms"].as_u64().unwrap()).sum()
}

#[test]
fn the_demo_proves_what_it_says_with_one_document_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (source, temporary) = (dir.path().join("source"), dir.path().join("tmp"));
    make_directory(&source);
    std::fs::create_dir(&temporary).unwrap();
    let before = fingerprint(&source);
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["demo", "--json", "--path"])
        .arg(&source)
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Exactly one document: anything before or after it is an error here.
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["proven"]), (Some(0), &Value::Bool(true)), "{said}\n{report:#}");
    // Three minutes, and more where the jobs themselves, which are some seconds of it, show how slow the machine is.
    let allowed = 180_000 + 10 * worked_ms(&report);
    assert!(report["duration_ms"].as_u64().unwrap() < allowed, "{allowed} ms are allowed: {report:#}");

    let cycles = |run: usize| report["runs"][run]["cycles"].as_array().unwrap().clone();
    for (first, second) in cycles(0).iter().zip(&cycles(1)) {
        for job in ["backup", "copy"] {
            let stored = |cycle: &Value| cycle[job]["bytes_stored"].as_u64().unwrap();
            assert!(stored(second) < stored(first), "{report:#}");
        }
        assert_eq!(second["trace_id"].as_str().unwrap().len(), 32);
    }
    let verdicts = report["restore_test"]["entries"].as_array().unwrap();
    let has_postgresql = Path::new("/usr/lib/postgresql/15/bin/postgres").exists();
    assert_eq!(verdicts.len(), 2 + usize::from(has_postgresql), "{report:#}");
    for entry in verdicts {
        assert_eq!(entry["verdict"]["status"], "SUCCESSFUL");
        assert!(entry["vault"].as_str().unwrap().ends_with(":backup-vault:osaka"), "{entry:#}");
        assert!(!entry["rto_phases"].as_array().unwrap().is_empty(), "{entry:#}");
    }
    assert_eq!(report.get("dropped_table").is_some(), has_postgresql, "{report:#}");

    assert!(fingerprint(&source) == before, "the directory itself was changed");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "something was left behind");
}
