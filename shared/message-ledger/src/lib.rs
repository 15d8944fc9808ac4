//! Outbox and inbox: the durable intent to publish, and the memory of what was handled.
//!
//! It knows that a message is written down in the transaction that causes it, published at least once with the same id, and
//! handled once by id. It does not know what messages say.
//!
//! # Outbox
//!
//! [`Ledger::enqueue`] writes a row in the caller's transaction; [`Ledger::relay`] publishes it after that transaction is
//! durable. Rows of one *lane* leave in order: an order's lane is its subject, everything else of a job shares the job's
//! lane. A lane whose subject is busy, or that the bus refuses, waits with a growing, jittered delay; the others go on. An
//! unknown outcome is tried again with the same id. A message that the bus has already counts as published.
//!
//! | kind | at most once per subject | row goes |
//! |---|---|---|
//! | order | no; the stream refuses a second open one: busy | with [`Ledger::confirm`], when its effect is known |
//! | fact | yes | after the acknowledgement of the bus |
//! | request, assignment, stop, dead letter | no | after the acknowledgement of the bus |
//!
//! Published facts are not kept: their owner can make each of them again, with the same id, from the record it keeps for as
//! long as the job matters (the worker's attempt, the planner's job), and a week of progress facts would be the largest
//! table of every service. Orders are kept because nobody but the planner knows that they were wanted.
//!
//! # Inbox
//!
//! [`Ledger::mark_seen`] remembers a message id in the transaction of its effect. [`Ledger::prune`] forgets old ones; keep
//! them for longer than the bus may deliver again.

mod failpoint;
mod inbox;
mod lane;
mod ledger;
mod outbox;
mod publisher;
mod relay;

pub use ledger::Ledger;
pub use outbox::{Depth, OutboxRow, Outgoing, OutgoingKind, ToldUpTo};
pub use publisher::{PublishFailure, Publisher};
