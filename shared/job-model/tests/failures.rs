//! `docs/reference/failures.md` is written from the failure codes. `just gen` writes it anew.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use job_model::FailureCode;

fn page() -> String {
    let mut page = String::from(
        "# Failure codes\n\n\
         <!-- Generated from shared/job-model/src/failure.rs by its test `failures`. `just gen` writes it anew. -->\n\n\
         A failed attempt carries one of these codes in its fact `attempt-failed`, and a failed job in its status message.\n\
         Where trying again can help, the planner does so by itself within the completion window.\n",
    );
    for code in FailureCode::ALL {
        let again = if code.is_retryable() { "yes, by itself" } else { "no, until somebody acts" };
        write!(page, "\n## {code}\n\n{}\n\n- tried again: {again}\n- mend: {}\n", code.meaning(), code.mend()).unwrap();
    }
    page
}

#[test]
fn the_page_of_failure_codes_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/failures.md");
    if std::env::var_os("HOLDFAST_GENERATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/reference/failures.md is stale; type: just gen");
}

#[test]
fn codes_are_unique_and_scripts_can_read_them() {
    let codes: BTreeSet<&str> = FailureCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(codes.len(), FailureCode::ALL.len());
    for code in FailureCode::ALL {
        assert!(code.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{code}");
        assert!(code.meaning().ends_with('.') && !code.mend().is_empty(), "{code}");
    }
}
