//! Places where tests kill the process. `return` aborts it, as a power cut would.

use fail::fail_point;

/// The attempt is written down as running; nothing was done. A sleep there holds the work up and nothing else: the threads of
/// the runtime have yet to tell that it runs, and to renew its lease.
pub(crate) async fn before_effect() {
    if cfg!(feature = "failpoints") {
        let point = || fail_point!("runner::before_effect", |_| std::process::abort());
        if let Err(ended) = tokio::task::spawn_blocking(point).await
            && let Ok(panic) = ended.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A piece of the work is being counted: what a worker reads or writes, it does piece by piece.
pub(crate) fn at_a_piece() {
    fail_point!("runner::at_a_piece", |_| std::process::abort());
}

/// The work is done; nobody wrote its result down.
pub(crate) fn after_effect_before_result() {
    fail_point!("runner::after_effect_before_result", |_| std::process::abort());
}

/// The result is durable and published; the order is not acknowledged.
pub(crate) fn after_result_before_ack() {
    fail_point!("runner::after_result_before_ack", |_| std::process::abort());
}
