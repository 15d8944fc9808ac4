//! The only decider: schedules, windows, selection, retention, retries; emits complete orders.
