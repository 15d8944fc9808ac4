//! `kill -9`, and a disk that takes nothing more.

use std::process::Command;

use state_store::{Recovery, StateStore};

use crate::child::Writer;
use crate::rows;

/// Opens after a death: everything acknowledged must be there, and nothing may be half there.
pub(crate) async fn check(base: &std::path::Path, acknowledged: u64) {
    let opened = StateStore::open(&rows::config(base)).unwrap();
    assert_eq!(opened.recovery, Recovery::Clean);
    let found = rows::count(&opened.store).await;
    // One transaction at most was under way.
    assert!(found == acknowledged || found == acknowledged + 1, "{acknowledged} acknowledged, {found} found");
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_is_half_done_when_the_process_is_killed() {
    let base = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..10 {
        let mut writer = Writer::start(base.path());
        // Different places of the life of a process, the first commit after opening among them.
        assert!(writer.read(1 + round * 7 % 40), "the writer ended by itself");
        acknowledged = writer.kill();
        check(base.path(), acknowledged).await;
    }
    assert!(acknowledged > 100, "only {acknowledged} rows: too few to mean anything");
}

#[tokio::test]
async fn a_full_disk_aborts_the_process_and_what_was_acknowledged_is_there() {
    let base = tempfile::tempdir().unwrap();
    // The shell's unit is 512 bytes or 1 KiB: 2 or 4 MiB. Ignoring SIGXFSZ turns the limit into an error of `write`.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$@\"", "sh"]);
    let (signal, acknowledged) = Writer::start_under(base.path(), &mut shell).end();
    assert_eq!(signal, Some(6), "it must abort");
    assert!(acknowledged > 10, "it must work until the limit, but acknowledged {acknowledged}");
    check(base.path(), acknowledged).await;
}
