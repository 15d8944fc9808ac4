//! The loop all workers share: claim, advance, commit progress, heartbeat, drain.
