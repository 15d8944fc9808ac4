//! The loop all workers share: claim an order, carry it out under a lease, keep its result, settle.
//!
//! It knows how an order lives; it does not know what any order does ([`Work`] does). It makes no decision of the
//! planner's: a failed attempt is told, not repeated.
//!
//! # Life of an attempt
//!
//! 1. One order is pulled when a slot is free. One that was carried out before has its result told again, under the same
//!    id, and is acknowledged. One that makes no sense goes to the dead letters.
//! 2. The lease on the order's resource is taken; its epoch goes into everything the attempt says. While another holder
//!    works on the resource, the order waits here, outside of the slots, and is kept alive.
//! 3. The attempt is written down as running, together with the fact that it started.
//! 4. The work runs. Lease and delivery are renewed; when either cannot be, the work is stopped and says nothing more.
//!    [`AttemptControl::guard`] is asked right before each side effect.
//! 5. The result is written down together with its fact; the fact is published; only then the order is acknowledged and
//!    the lease given back.
//!
//! A process that dies at any point leaves either an order that comes again, or a result that is told again.
//!
//! The service runs [`message_ledger::Ledger::relay`] beside the runner, and ends it after the runner.

mod attempt;
mod claim;
mod control;
mod ending;
mod failpoint;
mod heartbeat;
mod intake;
mod life;
mod record;
mod runner;
mod telling;
mod work;

pub use attempt::{Attempt, CheckpointError};
pub use control::{AttemptControl, LostLease, StopReason};
pub use runner::Runner;
pub use work::{Work, WorkFailure};
