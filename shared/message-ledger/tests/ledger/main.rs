//! The ledger on a store in memory and a bus whose faults the test chooses. Time is simulated: waiting costs nothing, and a
//! test can tell a message that was kicked from one that was found later.
#![expect(clippy::unwrap_used, reason = "tests")]

mod crash;
mod fake;
mod inbox;
mod order;
mod retry;
mod rows;
mod server;
