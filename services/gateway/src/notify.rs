//! Tells the outside world what happened: every event of AWS Backup on the bus at once, for whoever listens, and what vaults
//! were told to notify of, to the webhooks and subjects that the configuration has for their topics.
//!
//! A notice is durable before the fact it was made from counts as read, it is tried until it is delivered or three days are
//! over, and topics do not wait for one another. It may be delivered twice: its `id` is the same then.

mod deliver;
mod follow;
mod rows;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use job_model::{Arn, Region};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service_host::{Clock, ConfigProblem};
use state_store::StateStore;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;

/// What subjects of topics begin with: the gateway may publish nowhere else.
const SUBJECT_PREFIX: &str = "backup.";

/// What a topic's ARN stands for here; at least one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicConfig {
    /// A file that holds the URL of a webhook (it often is a secret): each notice is posted there as JSON, with the `text`
    /// that Slack and its kind show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_file: Option<PathBuf>,
    /// A subject below `backup.` on the bus of the vault's region, on which each notice is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats_subject: Option<String>,
}

/// Topics with their secrets read.
#[derive(Debug, Default)]
pub(crate) struct Topics(BTreeMap<String, Topic>);

#[derive(Debug)]
struct Topic {
    webhook: Option<SecretString>,
    subject: Option<String>,
}

impl Topics {
    /// Reads the topics of the configuration.
    ///
    /// # Errors
    /// Names the key that cannot be used.
    pub(crate) fn load(config: &BTreeMap<String, TopicConfig>) -> Result<Self, ConfigProblem> {
        check(config)?;
        let mut topics = BTreeMap::new();
        for (name, topic) in config {
            let read = |path: &PathBuf| {
                let key = format!("topics.\"{name}\".webhook_file");
                let text = std::fs::read_to_string(path)
                    .map_err(|error| ConfigProblem::new(&key, path.display(), format!("cannot be read: {error}")))?;
                let url = text.trim().to_owned();
                let is_url = url.starts_with("https://") || url.starts_with("http://");
                if !is_url {
                    return Err(ConfigProblem::new(key, path.display(), "holds no URL that begins with `https://`"));
                }
                Ok(SecretString::from(url))
            };
            let webhook = topic.webhook_file.as_ref().map(read).transpose()?;
            topics.insert(name.clone(), Topic { webhook, subject: topic.nats_subject.clone() });
        }
        Ok(Self(topics))
    }
}

/// Checks what types cannot say.
///
/// # Errors
/// Names the key that cannot be used.
pub(crate) fn check(config: &BTreeMap<String, TopicConfig>) -> Result<(), ConfigProblem> {
    for (name, topic) in config {
        let key = format!("topics.\"{name}\"");
        if name.parse::<Arn>().is_err() || !name.starts_with("arn:aws:sns:") {
            return Err(ConfigProblem::new(key, name, "name a topic: `arn:aws:sns:<region>:<account>:<name>`"));
        }
        if topic.webhook_file.is_none() && topic.nats_subject.is_none() {
            return Err(ConfigProblem::new(key, "", "give `webhook_file` or `nats_subject`"));
        }
        let plain = |subject: &String| {
            subject.starts_with(SUBJECT_PREFIX)
                && subject.split('.').all(|token| {
                    !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                })
        };
        if let Some(subject) = topic.nats_subject.as_ref().filter(|subject| !plain(subject)) {
            let mend = "write a subject that begins with `backup.`, without wildcards";
            return Err(ConfigProblem::new(format!("{key}.nats_subject"), subject, mend));
        }
    }
    Ok(())
}

/// What the parts work with.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    pub(crate) store: StateStore,
    pub(crate) backend: Backend,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) topics: Arc<Topics>,
}

/// Runs until told to stop.
pub(crate) async fn run(around: Around, stop: CancellationToken) {
    let regions: Vec<Region> = around.backend.regions().cloned().collect();
    let mut tasks = tokio::task::JoinSet::new();
    for region in regions {
        tasks.spawn(follow::run(around.clone(), region, stop.clone()));
    }
    tasks.spawn(deliver::run(around, stop));
    while tasks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests;
