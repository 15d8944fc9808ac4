//! Subjects and message contracts: the only wire shapes of Holdfast.
//!
//! Everything on the bus is a CloudEvent 1.0 in structured JSON ([`Envelope`]). There are four families: requests
//! (somebody wants something; may be refused), orders (the planner tells a worker; complete, immutable), assignments (the
//! same for what has no end) and facts (something happened; past tense). Queries are plain request-reply and never change anything.
//!
//! This crate knows no transport: it makes subjects and bytes, and reads them back.

mod assignment;
pub mod aws_events;
mod envelope;
mod fact;
mod message;
mod order;
mod query;
pub mod reference;
mod request;
pub mod subjects;

pub use assignment::*;
pub use envelope::{DecodeError, Envelope, expired};
pub use fact::*;
pub use message::{Family, Message};
pub use order::*;
pub use query::*;
pub use request::*;
