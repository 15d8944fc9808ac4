//! One file per order.

pub(crate) mod remove_sandbox;
pub(crate) mod restore_recovery_point;
