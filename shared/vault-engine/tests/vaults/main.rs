//! Goal: what is committed comes back, whatever happened before, and restic agrees with us about every byte.
//! Method: real vaults in memory and in directories; Debian's restic as the referee; damage done to real files.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set itself up has failed")]

mod copying;
mod damage;
mod descriptions;
mod interoperability;
mod locking;
mod opening;
mod round_trip;
mod support;
