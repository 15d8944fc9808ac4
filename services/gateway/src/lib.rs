//! Answers the AWS Backup API, so that the `aws` command line, boto3 and Terraform work unchanged, and the native API for
//! what AWS lacks.
//!
//! A request is authenticated ([`signature`](crate::Signer)), routed on its raw path, held against the API's own model, and
//! then becomes one request or query to the planner or the verifier. The gateway decides nothing and holds no truth: what it
//! keeps are a projection for lists, rebuilt at will, and the memory of calls that clients repeat.

mod access;
mod backend;
mod calls;
mod config;
mod decode;
mod fault;
mod http;
mod listen;
mod member_names;
mod model;
mod notify;
mod operations;
mod page_token;
mod present;
mod projection;
mod reply;
mod reports;
mod route;
#[cfg(test)]
mod scene;
mod service;
mod signature;
mod throttle;

pub use access::{AccessKey, Role};
pub use config::{Config, RegionConfig, TlsConfig};
pub use notify::TopicConfig;
pub use reports::ReportBucket;
pub use service::Gateway;
pub use signature::Signer;
