//! Calls that change something, remembered: a call that comes again (the answer was lost, or the client was impatient)
//! has its effect once and gets the answer of the first time.
//!
//! The intent is on disk before anything is sent, and the requests of a call are named after it: when this process dies in
//! between, the same call sends the same requests again, and the services recognise them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use job_model::AccountId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use state_store::{Record, StateStore, StoreError, Table};
use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use crate::fault::Fault;
use crate::reply::Reply;

/// How long a call is remembered. Clients try again for minutes; a night is for those that queue.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);
/// Signatures have the second in which they were made.
const SIGNED_ANEW: Duration = Duration::from_secs(1);
/// Rows looked at in one step.
const STEP: usize = 500;
const CALLS: Table<CallRow> = Table::new("calls");
/// The namespace of call ids, drawn once at random.
const NAMESPACE: Uuid = Uuid::from_u128(0x1c5f_5d3e_90ab_4a53_8f07_5a4f_8be1_20c9);

/// What is known of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct CallRow {
    operation: String,
    /// Digest of its input: the same id with another input is another call, which is refused.
    input: String,
    at: Timestamp,
    /// Counts the refusals: a call that was refused and comes again is decided anew.
    #[serde(default)]
    refused: u32,
    /// The answer, once it succeeded.
    #[serde(default)]
    reply: Option<Reply>,
}

impl Record for CallRow {
    const VERSION: u8 = 1;
}

/// How a client names a call.
#[derive(Clone, Debug)]
pub(crate) struct CallName<'a> {
    pub(crate) account: &'a AccountId,
    pub(crate) operation: &'a str,
    /// `amz-sdk-invocation-id`; the same for all tries of one call.
    pub(crate) invocation: Option<&'a str>,
    /// The signature: where there is no invocation id, the same bytes are the same call.
    pub(crate) signature: &'a str,
    /// Path, query and body.
    pub(crate) input: &'a str,
}

impl CallName<'_> {
    fn id(&self) -> Uuid {
        let name = match self.invocation {
            Some(invocation) => format!("{}/invocation/{invocation}", self.account),
            None => format!("{}/signature/{}", self.account, self.signature),
        };
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    }
}

/// A call that is being made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Requests are named after it.
    pub(crate) id: Uuid,
}

impl Call {
    /// The id of the call's request: the same in every try.
    pub(crate) fn request_id(&self, label: &str) -> String {
        Uuid::new_v5(&self.id, label.as_bytes()).hyphenated().to_string()
    }
}

/// A place in the queue of one call; given back however the call ends.
struct Turn<'a> {
    calls: &'a Calls,
    id: Uuid,
    lock: Option<Arc<AsyncMutex<()>>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.lock = None;
        let mut under_way = self.calls.under_way.lock();
        // Nobody else waits for it when the map holds the only handle.
        if under_way.get(&self.id).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            under_way.remove(&self.id);
        }
    }
}

/// The memory of calls.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    store: StateStore,
    /// Those under way: a second try waits for the first.
    under_way: Arc<Mutex<HashMap<Uuid, Arc<AsyncMutex<()>>>>>,
    /// Signatures of the last minutes with the call they signed.
    signatures: Arc<Mutex<HashMap<String, (Uuid, Timestamp)>>>,
}

impl Calls {
    pub(crate) fn new(store: StateStore) -> Self {
        Self { store, under_way: Arc::default(), signatures: Arc::default() }
    }

    /// Makes a call, or answers as it was answered before.
    pub(crate) async fn once<F, R>(&self, name: &CallName<'_>, now: Timestamp, make: F) -> Result<Reply, Fault>
    where
        F: FnOnce(Call) -> R,
        R: Future<Output = Result<Reply, Fault>>,
    {
        let id = name.id();
        if let Err(fault) = self.check_signature(name.signature, id, now) {
            // Clients try again after fractions of a second: who signs after this answer signs in another second.
            tokio::time::sleep(SIGNED_ANEW).await;
            return Err(fault);
        }
        let turn = Turn { calls: self, id, lock: Some(self.under_way.lock().entry(id).or_default().clone()) };
        let lock = turn.lock.clone().unwrap_or_default();
        let _first = lock.lock().await;
        self.in_turn(id, name, now, make).await
    }

    /// A signature stands for one call. The same one under another invocation id is a copy of somebody else's request, or
    /// two calls of one client within a second; the latter signs again and gets through.
    fn check_signature(&self, signature: &str, id: Uuid, now: Timestamp) -> Result<(), Fault> {
        let mut signatures = self.signatures.lock();
        let window = crate::signature::SKEW * 2;
        if signatures.len() > 10_000 {
            signatures.retain(|_, (_, at)| now.duration_since(*at) <= window);
        }
        match signatures.get(signature) {
            Some((known, _)) if *known != id => Err(Fault {
                retry_after: Some(1),
                ..Fault::new("ThrottlingException", "this signature was used for another call; sign again and repeat")
                    .with_status(axum::http::StatusCode::TOO_MANY_REQUESTS)
            }),
            _ => {
                signatures.insert(signature.to_owned(), (id, now));
                Ok(())
            }
        }
    }

    async fn in_turn<F, R>(&self, id: Uuid, name: &CallName<'_>, now: Timestamp, make: F) -> Result<Reply, Fault>
    where
        F: FnOnce(Call) -> R,
        R: Future<Output = Result<Reply, Fault>>,
    {
        let digest = Uuid::new_v5(&NAMESPACE, name.input.as_bytes()).simple().to_string();
        let key = [name.account.as_str().as_bytes(), id.as_bytes()].concat();
        let row = CallRow { operation: name.operation.to_owned(), input: digest, at: now, refused: 0, reply: None };
        let known = self.intend(key.clone(), row.clone()).await?;
        if known.operation != row.operation || known.input != row.input {
            let text = "this invocation id was used for another call; draw a new one for each call";
            return Err(Fault::invalid("amz-sdk-invocation-id", text));
        }
        if let Some(reply) = known.reply {
            return Ok(reply);
        }
        let call = Call { id: Uuid::new_v5(&id, &known.refused.to_be_bytes()) };
        let made = make(call).await;
        match &made {
            Ok(reply) => {
                self.keep(key, CallRow { reply: Some(reply.clone()), ..known }).await?;
            }
            // Refused: nothing changed, and the next try is decided anew. Anything else leaves open what happened.
            Err(fault) if fault.status.is_client_error() => {
                // Nothing happened under this signature: the client may make the same request again within its second.
                self.signatures.lock().remove(name.signature);
                self.keep(key, CallRow { refused: known.refused + 1, ..known }).await?;
            }
            Err(_) => {}
        }
        made
    }

    async fn intend(&self, key: Vec<u8>, row: CallRow) -> Result<CallRow, Fault> {
        let stored = self.store.transact(move |tx| {
            if let Some(known) = tx.get(&CALLS, &key)? {
                return Ok::<_, StoreError>(known);
            }
            tx.put(&CALLS, &key, &row)?;
            Ok(row)
        });
        stored.await.map_err(|error| lost(&error))
    }

    async fn keep(&self, key: Vec<u8>, row: CallRow) -> Result<(), Fault> {
        let stored = self.store.transact(move |tx| tx.put(&CALLS, &key, &row));
        stored.await.map_err(|error| lost(&error))
    }

    /// Forgets calls of long ago. Works in steps, so that nobody waits long for the store.
    pub(crate) async fn forget_old(&self, now: Timestamp) -> Result<usize, StoreError> {
        let (mut count, mut after) = (0, vec![0]);
        loop {
            let from = after.clone();
            let rows = self.store.read(move |tx| tx.scan_range(&CALLS, from..vec![0xff; 64], STEP)).await?;
            let Some((last, _)) = rows.last() else { return Ok(count) };
            after.clone_from(last);
            after.push(0);
            let is_old = |row: &CallRow| now.duration_since(row.at) > REMEMBERED;
            let old: Vec<Vec<u8>> = rows.into_iter().filter(|(_, row)| is_old(row)).map(|(key, _)| key).collect();
            count += old.len();
            let done = self.store.transact(move |tx| {
                for key in &old {
                    tx.delete(&CALLS, key)?;
                }
                Ok::<_, StoreError>(())
            });
            done.await.map_err(|error| match error {
                state_store::TransactError::Refused(e) | state_store::TransactError::Store(e) => e,
            })?;
        }
    }
}

fn lost(error: &state_store::TransactError<StoreError>) -> Fault {
    tracing::error!(error = %service_host::error_chain(error), "the memory of calls cannot be used");
    Fault::unavailable("the gateway cannot remember calls at the moment; try again")
}

#[cfg(test)]
mod tests;
