//! One file per order.

pub(crate) mod copy_recovery_point;
pub(crate) mod forget_warm_snapshot;
