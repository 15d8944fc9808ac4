//! Goal: what a server committed is in the vault about a second later, and any second of it comes back, whoever is killed
//! meanwhile; what cannot come back is refused with the window. The same for a server whose log comes from its archive, but for
//! the second.
//! Method: real servers (PostgreSQL from Debian, as user `postgres`), a follower that is a process of its own and is
//! killed with -9, and the server's own commit timestamps as the judge.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot set itself up says so and has failed"
)]

mod archive;
mod archive_crashes;
mod archived;
mod cost;
mod damaged;
mod failover;
mod power_cut;
mod proof;
mod refusals;
mod restored;
mod scene;
mod source;
mod window;
mod worker;
