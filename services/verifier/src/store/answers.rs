//! `request-answers`: what was answered to a request or a token, so that its repetition gets the same answer.

use jiff::Timestamp;
use job_events::Fact;
use serde::{Deserialize, Serialize};
use state_store::{Record, StoreError, Table, Tx};

const ANSWERS: Table<AnswerRow> = Table::new("request-answers");

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AnswerRow {
    /// CloudEvents type of the answer.
    pub(crate) event_type: String,
    /// The answer.
    pub(crate) data: serde_json::Value,
    /// What was asked for, as a digest, where the key is a token.
    #[serde(default)]
    pub(crate) content: Option<String>,
    /// When it was given.
    pub(crate) at: Timestamp,
}

impl Record for AnswerRow {
    const VERSION: u8 = 1;
}

impl AnswerRow {
    /// The answer as a fact; none where it cannot be read any more.
    pub(crate) fn fact(&self) -> Option<Fact> {
        Fact::decode(&self.event_type, self.data.clone()).ok()
    }
}

/// Keys may be longer than the store takes.
fn digest(key: &str) -> [u8; 16] {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, key.as_bytes()).into_bytes()
}

pub(crate) fn answer(tx: &Tx<'_>, key: &str) -> Result<Option<AnswerRow>, StoreError> {
    tx.get(&ANSWERS, &digest(key))
}

pub(crate) fn put_answer(
    tx: &mut Tx<'_>,
    key: &str,
    fact: &Fact,
    content: Option<String>,
    at: Timestamp,
) -> Result<(), StoreError> {
    // Our own types always encode; an answer that is not kept is given anew.
    let Ok(data) = fact.to_value() else { return Ok(()) };
    tx.put(&ANSWERS, &digest(key), &AnswerRow { event_type: fact.event_type(), data, content, at })
}

/// Forgets answers from before an instant; how many there were.
pub(crate) fn forget_answers(tx: &mut Tx<'_>, before: Timestamp) -> Result<usize, StoreError> {
    let old: Vec<Vec<u8>> =
        tx.scan(&ANSWERS, &[])?.into_iter().filter(|(_, row)| row.at < before).map(|(key, _)| key).collect();
    for key in &old {
        tx.delete(&ANSWERS, key)?;
    }
    Ok(old.len())
}
