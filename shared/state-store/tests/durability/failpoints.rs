//! Deaths at the two instants that matter: before and after the barrier.

use crate::child::Writer;
use crate::kill;

/// Kills the writer at its sixth pass of a failpoint, twice, and checks what it left.
async fn die_at(failpoint: &str) {
    let base = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let (signal, acknowledged) = Writer::start_failing(base.path(), &format!("{failpoint}=5*off->return")).end();
        assert_eq!(signal, Some(6), "it must abort at {failpoint}");
        assert!(acknowledged >= 4, "{acknowledged}");
        kill::check(base.path(), acknowledged).await;
    }
}

#[tokio::test]
async fn a_death_between_transaction_and_barrier_loses_nothing_acknowledged() {
    die_at("store::after_transaction_before_barrier").await;
}

#[tokio::test]
async fn a_death_between_barrier_and_answer_loses_nothing_acknowledged() {
    die_at("store::after_barrier").await;
}
