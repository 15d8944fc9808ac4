//! How a process lives: configuration, signals, health, clock, ids, exit codes.
//!
//! A service is a type that implements [`Service`]. Its binary is one line, `service_host::main::<MyService>()`; the
//! operator's binary runs the same service with [`run_service`]. Both read the configuration (defaults, then the file,
//! then the environment), refuse what they do not know, set telemetry up, answer `/livez` and `/readyz`, and turn signals
//! into the two cancellation tokens of [`Host`].
//!
//! Knows nothing of buses, stores and vaults.

mod chain;
mod clock;
mod config;
mod health;
mod ids;
mod process;
mod redact;
mod service;
mod signals;

pub use chain::error_chain;
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{CommonConfig, ConfigError, ConfigProblem, HasCommon, load_config};
pub use health::Health;
pub use ids::{Ids, ManualIds, SystemIds};
pub use process::{ExitStatus, check_config, main, run_service};
pub use service::{Host, Service, ServiceError};
pub use telemetry::{LogFormat, TelemetryConfig};
