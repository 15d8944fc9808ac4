//! Decisions: pure functions over the planner's state. No I/O, no clock, no randomness: the instant, the ids and the
//! trace come in with the step, and the same inputs always give the same changes and the same messages. The service and
//! the simulation run this same code.

mod announce;
pub(crate) mod attempt;
pub(crate) mod cold;
pub(crate) mod continuous;
pub(crate) mod ends;
pub(crate) mod keeping;
pub(crate) mod lost;
pub(crate) mod orders;
pub(crate) mod points;
pub(crate) mod pruning;
mod queue;
mod refusal;
pub(crate) mod reports;
pub(crate) mod retire;
pub(crate) mod runs;
pub(crate) mod scope;
pub(crate) mod scrubbing;
mod settings;
mod step;
pub(crate) mod strict;
pub(crate) mod upkeep;

pub(crate) use queue::issue;
pub(crate) use refusal::{Accepted, Refusal};
pub(crate) use scope::Caller;
pub(crate) use settings::{Settings, VaultPlace};
pub(crate) use step::{Out, Step, explain};
