//! One file per order.

pub(crate) mod capture_snapshot;
pub(crate) mod check_vault;
pub(crate) mod create_vault;
pub(crate) mod delete_recovery_point;
pub(crate) mod protect_vault;
pub(crate) mod prune_vault;
