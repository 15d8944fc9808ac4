//! NATS JetStream: the only crate that links `async-nats`.
//!
//! It knows how messages travel: streams, consumers, leases, settling, stop marks, queries. It does not know what they
//! say. The bus is transport, not the record: every message can be made again by the service that owns its cause.
//!
//! Two rules of this crate protect work from being lost or done twice:
//!
//! * A delivery is settled by a request that needs the consumer's reply, so that success is never reported for a
//!   consumer that is gone.
//! * A delivery is no lock. What excludes is the lease ([`Lease`]): one holder per key, an epoch that only grows, and a
//!   remaining time by a monotonic clock.

mod api;
mod config;
mod connection;
mod consume;
mod control;
mod dead_letter;
mod events;
mod inspect;
mod lease;
pub mod permissions;
mod provision;
mod publish;
mod query;
#[cfg(feature = "server-process")]
pub mod server_process;
mod tell;
mod topology;
mod version;
mod watch;

pub use api::ApiError;
pub use config::{BusConfig, Timing};
pub use connection::{Bus, ConnectError};
pub use consume::{ConsumeError, Consumer, Delivery, SettleError};
pub use control::StopStream;
pub use dead_letter::{BuriedLetter, DeadLetter};
pub use events::Counters;
pub use inspect::{ConsumerProgress, StoredMessage, StreamIdentity, StuckMessage};
pub use lease::{Lease, LeaseError, uptime};
pub use provision::ProvisionError;
pub use publish::{Publish, PublishError, Published};
pub use query::{Incoming, QueryError, QueryStream};
pub use tell::TellError;
pub use version::{MINIMUM_SERVER, ServerVersion};
pub use watch::{StartAt, Watch, WatchError, Watched};
