//! The table of operations on the crate's front page says which test shows each cell; those tests must be there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What a cell may say instead of naming a test: another cell of its row or column says it.
const REFERENCES: [&str; 2] = ["the same", "as a capture"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names of the functions that are tests in `tests/vaults`.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root().join("tests/vaults")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let lines: Vec<&str> = text.lines().collect();
        let after = lines.windows(2).filter(|pair| pair[0].trim() == "#[test]");
        found.extend(after.filter_map(|pair| Some(pair[1].strip_prefix("fn ")?.split('(').next()?.to_owned())));
    }
    found
}

/// Rows of the table without the names of the operations.
fn cells() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | **"));
    rows.map(|row| {
        let mut cells = row.trim_end().trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned());
        (cells.next().unwrap().replace("**", ""), cells.collect())
    })
    .collect()
}

#[test]
fn every_cell_of_the_front_page_names_a_test_that_is_there() {
    let (tests, rows) = (tests(), cells());
    assert!(tests.len() > 50 && rows.len() == 8, "{} tests, {} rows", tests.len(), rows.len());
    for (number, (operation, cells)) in rows.iter().enumerate() {
        assert_eq!(cells.len(), 5, "{operation}: {cells:?}");
        for (column, cell) in cells.iter().enumerate() {
            // Below the diagonal is what stands above it; the last rows are others' operations.
            if column < number && number < 5 {
                assert!(cell.is_empty(), "{operation}, column {column}: {cell}");
                continue;
            }
            let named: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
            let refers = REFERENCES.iter().any(|reference| cell.starts_with(reference));
            assert!(!named.is_empty() || refers, "{operation}, column {column} names no test: `{cell}`");
            for name in named {
                assert!(tests.contains(name), "{operation}, column {column}: there is no test `{name}`");
            }
        }
    }
}
