//! The shape of the source itself: sizes, names, inherited lints, and an ARCHITECTURE.md that matches the tree.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines a source file may have before it must be split.
const FILE_LINES_MAX: usize = 600;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "shared"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn crates() -> Vec<PathBuf> {
    let mut found = vec![root().join("benchmarks"), root().join("integration-tests")];
    for group in ["shared", "services"] {
        found.extend(fs::read_dir(root().join(group)).unwrap().map(|entry| entry.unwrap().path()));
    }
    found.sort();
    found
}

fn sources_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources_below(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in crates() {
        for part in ["src", "tests", "examples", "benches"] {
            if dir.join(part).is_dir() {
                sources_below(&dir.join(part), &mut found);
            }
        }
    }
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn no_source_file_is_too_long_to_read() {
    let long: Vec<String> = sources()
        .iter()
        .filter_map(|path| {
            let lines = fs::read_to_string(path).unwrap().lines().count();
            (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines, at most {FILE_LINES_MAX}", shown(path)))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_name_says_what_is_inside() {
    let mut wrong: Vec<String> = Vec::new();
    for path in sources().iter().chain(&crates()) {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if EMPTY_NAMES.contains(&stem.as_str()) || stem == "mod" {
            wrong.push(format!("{}: name the noun it is about", shown(path)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_crate_inherits_lints_and_dependencies() {
    let mut wrong = Vec::new();
    for dir in crates() {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        if !manifest.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{}: add `[lints] workspace = true`", shown(&dir)));
        }
        let mut in_dependencies = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
                wrong.push(format!("{}: `{line}` does not inherit from the workspace", shown(&dir)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn architecture_names_every_crate_and_no_other() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let names: Vec<String> =
        crates().iter().map(|dir| dir.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let missing: Vec<&String> = names.iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md does not name {missing:?}");
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let named = line.trim_start_matches("| `").split('`').next().unwrap_or_default().to_owned();
        assert!(names.contains(&named), "ARCHITECTURE.md lists `{named}`, which is no crate");
    }
}

#[test]
fn every_failure_code_has_its_entry_in_the_reference() {
    let text = fs::read_to_string(root().join("docs/reference/failures.md")).unwrap();
    for code in job_model::FailureCode::ALL {
        assert!(text.contains(code.as_str()), "docs/reference/failures.md does not explain {code}");
    }
}

#[test]
fn every_decision_record_is_in_the_index() {
    let index = fs::read_to_string(root().join("docs/adr/README.md")).unwrap();
    for entry in fs::read_dir(root().join("docs/adr")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(name == "README.md" || index.contains(&name), "docs/adr/README.md does not list {name}");
    }
}

#[test]
fn unfinished_work_is_not_hidden_in_comments() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let found: Vec<String> = sources()
        .iter()
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            marks.iter().any(|mark| text.contains(mark))
        })
        .map(|path| shown(path))
        .collect();
    assert!(found.is_empty(), "finish it or say it in the docs: {found:?}");
}
