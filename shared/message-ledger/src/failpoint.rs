//! Places where tests kill the process. `return` aborts it, as a power cut would; `panic` ends the relay alone.

use fail::fail_point;

/// The row is durable, nothing was sent.
pub(crate) fn after_barrier_before_publish() {
    fail_point!("ledger::after_barrier_before_publish", |_| std::process::abort());
}

/// The bus has the message, the row does not say so.
pub(crate) fn after_puback_before_mark() {
    fail_point!("ledger::after_puback_before_mark", |_| std::process::abort());
}
