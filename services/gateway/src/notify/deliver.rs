//! Delivers notices: each topic in order, none waiting for another.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use service_host::error_chain;
use state_store::{StoreError, TransactError};
use tokio_util::sync::CancellationToken;

use super::rows::{NOTICES, NoticeRow};
use super::{Around, Topic};

/// How often it is looked whether something is to be delivered.
const GLANCE: Duration = Duration::from_millis(500);
/// How long a webhook may take.
const WEBHOOK_WAIT: Duration = Duration::from_secs(10);
/// Wait before the second try; doubled before each further one.
const RETRY_BASE: SignedDuration = SignedDuration::from_secs(2);
/// Longest wait between two tries.
const RETRY_MAX: SignedDuration = SignedDuration::from_mins(10);
/// A notice that was not delivered by then is given up.
const PATIENCE: SignedDuration = SignedDuration::from_hours(3 * 24);

/// Why a notice was not delivered. No URL is named: it may hold a secret.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error("the configuration has no topic of this name; add `[topics.\"…\"]`")]
    NoTopic,
    #[error("the webhook answered with status {0}")]
    Status(u16),
    #[error("the webhook was not reached")]
    Webhook(#[source] reqwest::Error),
    #[error("the configuration has no bus of region `{0}`")]
    NoRegion(String),
    #[error("the bus was not reached")]
    Bus(#[from] job_bus::TellError),
}

/// Delivers until told to stop.
pub(super) async fn run(around: Around, stop: CancellationToken) {
    let client =
        match reqwest::Client::builder().timeout(WEBHOOK_WAIT).redirect(reqwest::redirect::Policy::none()).build() {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(error = %error_chain(&error), "no webhook can be reached: TLS cannot be set up");
                return;
            }
        };
    while !stop.is_cancelled() {
        let round = async {
            if let Err(error) = deliver_due(&around, &client).await {
                tracing::error!(error = %error_chain(&error), "notices cannot be delivered; trying again");
            }
            around.clock.sleep(GLANCE).await;
        };
        tokio::select! {
            () = round => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn deliver_due(around: &Around, client: &reqwest::Client) -> Result<(), TransactError<StoreError>> {
    let rows = around.store.read(|tx| tx.scan(&NOTICES, &[])).await.map_err(TransactError::Store)?;
    let mut topics: BTreeMap<String, Vec<NoticeRow>> = BTreeMap::new();
    for (_, row) in rows {
        topics.entry(row.topic.clone()).or_default().push(row);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (topic, rows) in topics {
        tasks.spawn(deliver_topic(around.clone(), client.clone(), topic, rows));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Ok(delivered) = ended {
            delivered?;
        }
    }
    Ok(())
}

/// The notices of one topic, in order. The first one that is not taken holds up those behind it.
async fn deliver_topic(
    around: Around,
    client: reqwest::Client,
    topic: String,
    rows: Vec<NoticeRow>,
) -> Result<(), TransactError<StoreError>> {
    for mut row in rows {
        let now = around.clock.now();
        if row.not_before > now {
            return Ok(());
        }
        let outcome = match around.topics.0.get(&topic) {
            Some(known) => deliver(&around, &client, known, &row).await,
            None => Err(Undelivered::NoTopic),
        };
        let key = row.key();
        match outcome {
            Ok(()) => {
                around.store.transact(move |tx| tx.delete(&NOTICES, &key).map(|_was_there| ())).await?;
            }
            Err(error) if now.duration_since(row.noted_at) >= PATIENCE => {
                tracing::error!(topic, event = row.event, message = row.message, error = %error_chain(&error), "a notice was given up");
                around.store.transact(move |tx| tx.delete(&NOTICES, &key).map(|_was_there| ())).await?;
            }
            Err(error) => {
                tracing::warn!(topic, event = row.event, error = %error_chain(&error), "a notice was not delivered; trying again");
                row.attempts = row.attempts.saturating_add(1);
                row.not_before = now.checked_add(wait_after(row.attempts)).unwrap_or(Timestamp::MAX);
                return around.store.transact(move |tx| tx.put(&NOTICES, &key, &row)).await;
            }
        }
    }
    Ok(())
}

/// How long to wait after so many tries.
fn wait_after(attempts: u32) -> SignedDuration {
    let doubled = (1..attempts).try_fold(RETRY_BASE, |wait, _| wait.checked_mul(2));
    doubled.unwrap_or(RETRY_MAX).min(RETRY_MAX)
}

async fn deliver(around: &Around, client: &reqwest::Client, topic: &Topic, row: &NoticeRow) -> Result<(), Undelivered> {
    let body = body_of(row);
    if let Some(url) = &topic.webhook {
        let request =
            client.post(url.expose_secret()).header("content-type", "application/json").body(body.to_string());
        let response = request.send().await.map_err(|error| Undelivered::Webhook(error.without_url()))?;
        if !response.status().is_success() {
            return Err(Undelivered::Status(response.status().as_u16()));
        }
    }
    if let Some(subject) = &topic.subject {
        let bus = around.backend.regions().find(|region| region.as_str() == row.region);
        let bus = bus.and_then(|region| around.backend.bus(region));
        let bus = bus.ok_or_else(|| Undelivered::NoRegion(row.region.clone()))?;
        bus.tell(subject, body.to_string().into_bytes()).await?;
    }
    Ok(())
}

/// What is sent: `text` for what shows it to people, the rest for programs.
fn body_of(row: &NoticeRow) -> Value {
    json!({
        "text": row.message,
        "id": row.id,
        "topicArn": row.topic,
        "backupVaultArn": row.vault,
        "eventType": row.event,
        "region": row.region,
        "time": row.happened_at,
    })
}

#[cfg(test)]
mod tests;
