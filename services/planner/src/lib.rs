//! The only decider: schedules, windows, selection, retention, retries; emits complete orders.

mod decide;
mod handlers;
mod retention;
mod state;
mod store;
mod windows;

#[cfg(test)]
mod simulation;
