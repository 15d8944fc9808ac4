//! One file per order.

pub(crate) mod copy_recovery_point;
