//! Lets a running attempt steer drivers and the engine, and turns their errors into failures of the attempt.
//!
//! Drivers and the vault engine know nothing of orders and leases; the order runner knows nothing of vaults. This is the
//! one place where the two sides meet outside of a service.

mod blocking;
mod error;
mod steering;
mod stopwatch;

pub use blocking::off_the_runtime;
pub use error::WorkError;
pub use steering::Steering;
pub use stopwatch::Stopwatch;
