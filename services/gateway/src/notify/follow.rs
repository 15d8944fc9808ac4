//! Reads the facts of a region and notes what is to be told.

use std::time::Duration;

use job_bus::StartAt;
use job_events::aws_events::{self, VaultNotice};
use job_events::{Answer, Envelope, Query, subjects};
use job_model::{Arn, Region, Vault};
use service_host::error_chain;
use state_store::{StoreError, TransactError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Around;
use super::rows::{NOTICES, NoticeRow, POSITIONS, PositionRow};

/// Wait after trouble.
const PAUSE: Duration = Duration::from_secs(1);
/// Facts without notices after which the position is stored anyway.
const STORE_EVERY: u64 = 200;

/// Why following stopped.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the configuration has no bus of `{0}`")]
    Region(Region),
    #[error("the stream of facts cannot be looked at")]
    Stream(#[from] job_bus::ApiError),
    #[error("the stream of facts cannot be read")]
    Watch(#[from] job_bus::WatchError),
    #[error("the connection ended")]
    Ended,
    #[error("what is to be told cannot be stored")]
    Store(#[from] TransactError<StoreError>),
    #[error("the planner does not say who is to be told")]
    Planner(#[from] crate::fault::Fault),
}

/// Follows until told to stop.
pub(super) async fn run(around: Around, region: Region, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! {
            followed = follow(&around, &region) => {
                if let Err(trouble) = followed {
                    tracing::warn!(%region, error = %error_chain(&trouble), "what happens is not told for a moment");
                }
            }
            () = stop.cancelled() => return,
        }
        tokio::select! {
            () = around.clock.sleep(PAUSE) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn follow(around: &Around, region: &Region) -> Result<(), Trouble> {
    let bus = around.backend.bus(region).ok_or_else(|| Trouble::Region(region.clone()))?;
    let stream = subjects::fact_stream(region);
    let identity = bus.stream_identity(&stream).await?;
    let key = region.as_str().as_bytes().to_vec();
    let known = around.store.read(move |tx| tx.get(&POSITIONS, &key)).await.map_err(TransactError::Store)?;
    let goes_on =
        |row: &PositionRow| row.stream_made_at == identity.created_at && row.sequence <= identity.last_sequence;
    // A gateway that is new does not tell the past.
    let begin = PositionRow { stream_made_at: identity.created_at, sequence: identity.last_sequence };
    let is_new = !known.as_ref().is_some_and(goes_on);
    let mut position = known.filter(goes_on).unwrap_or(begin);
    if is_new {
        store(around, region, &position, Vec::new()).await?;
    }
    let mut watch = bus.watch(&stream, &subjects::facts(region), StartAt::Sequence(position.sequence + 1)).await?;
    let mut stored = position.sequence;
    loop {
        let watched = watch.next().await.ok_or(Trouble::Ended)??;
        position.sequence = watched.sequence;
        let mut rows = Vec::new();
        if let Ok(envelope) = Envelope::from_bytes(&watched.payload)
            && let Ok(fact) = envelope.fact()
        {
            if let Some(event) = aws_events::event(&envelope.id, envelope.time, &fact)
                && let Ok(payload) = serde_json::to_vec(&event)
                && let Err(error) = bus.tell(&event.subject(), payload).await
            {
                // Best effort, as EventBridge is; the facts have it all.
                tracing::debug!(error = %error_chain(&error), "an event was not told");
            }
            for notice in aws_events::notices(&fact) {
                rows.extend(row_of(around, region, &envelope, notice).await?);
            }
        }
        if !rows.is_empty() || position.sequence >= stored + STORE_EVERY {
            store(around, region, &position, rows).await?;
            stored = position.sequence;
        }
    }
}

/// The notice as the vault wants it told; none where nobody asked for it.
async fn row_of(
    around: &Around,
    region: &Region,
    envelope: &Envelope,
    notice: VaultNotice,
) -> Result<Option<NoticeRow>, Trouble> {
    let Some(vault) = vault(around, region, &notice.vault).await? else { return Ok(None) };
    let Some(wanted) = vault.notifications else { return Ok(None) };
    let Some(event) = notice.events.iter().find(|event| wanted.events.iter().any(|name| name == *event)) else {
        return Ok(None);
    };
    let now = around.clock.now();
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{}|{}", envelope.id, notice.vault).as_bytes());
    Ok(Some(NoticeRow {
        id: id.to_string(),
        topic: wanted.topic.to_string(),
        vault: notice.vault.to_string(),
        region: vault.region.to_string(),
        event: (*event).to_owned(),
        message: notice.message,
        happened_at: envelope.time,
        noted_at: now,
        attempts: 0,
        not_before: now,
    }))
}

async fn vault(around: &Around, region: &Region, vault: &Arn) -> Result<Option<Vault>, Trouble> {
    match around.backend.query(region, &Query::ShowVault { vault: vault.clone() }).await {
        Ok(Answer::Vault(vault)) => Ok(Some(*vault)),
        Ok(_) => Ok(None),
        Err(fault) if fault.status.is_server_error() => Err(fault.into()),
        // It is gone, and with it who wanted to be told.
        Err(_) => Ok(None),
    }
}

async fn store(
    around: &Around,
    region: &Region,
    position: &PositionRow,
    rows: Vec<NoticeRow>,
) -> Result<(), TransactError<StoreError>> {
    let (key, position) = (region.as_str().as_bytes().to_vec(), position.clone());
    let stored = around.store.transact(move |tx| {
        for row in &rows {
            tx.put(&NOTICES, &row.key(), row)?;
        }
        tx.put(&POSITIONS, &key, &position)
    });
    stored.await
}
