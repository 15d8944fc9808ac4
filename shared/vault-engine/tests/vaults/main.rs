//! Goal: what is committed comes back, whatever happened before, and restic agrees with us about every byte.
//! Method: real vaults in memory and in directories; Debian's restic as the referee; damage done to real files.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set itself up has failed")]
#![expect(clippy::print_stdout, reason = "a referee that is not there is said aloud")]

mod copying;
mod damage;
mod damage_matrix;
mod descriptions;
mod front_page;
mod interoperability;
mod keeping;
mod keys;
mod kills;
mod locking;
mod moving;
mod opening;
mod pruning;
mod round_trip;
mod scrubbing;
mod streams;
mod support;
mod turns;
mod unnamed;
