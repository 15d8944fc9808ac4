//! Requests: decode, recognise repetitions, decide, answer. An answer always follows, by name of the field where something
//! is wrong.

use jiff::Timestamp;
use job_events::{Envelope, Request};
use job_model::Region;
use message_ledger::Ledger;
use state_store::{StoreError, Tx};

use super::{delete_restore_testing_plan, put_restore_testing_plan, run_restore_test};
use crate::runs::{Draw, Rules};
use crate::speak::Refusal;

/// A request as it came from the bus.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// Whose bus.
    pub(crate) region: &'a Region,
    /// Its bytes.
    pub(crate) payload: &'a [u8],
    /// When it is handled.
    pub(crate) now: Timestamp,
    /// What a run is drawn with, should one begin.
    pub(crate) draw: Draw,
}

/// Handles a request; the answer is in the outbox afterwards.
pub(crate) fn handle(tx: &mut Tx<'_>, rules: &Rules, asked: &Asked<'_>) -> Result<(), StoreError> {
    let envelope = match Envelope::from_bytes(asked.payload) {
        Ok(envelope) => envelope,
        Err(error) => {
            let refusal = refusal_of(&error);
            let id = readable_id(asked.payload);
            return rules.speaker.answer(tx, asked.region, &id, Err(refusal), asked.now);
        }
    };
    let inbox_id = format!("request/{}/{}", asked.region, envelope.id);
    if Ledger::seen(tx, &inbox_id)? {
        let attributes = [telemetry::KeyValue::new("service", "verifier")];
        telemetry::metrics().inbox_duplicates.add(1, &attributes);
        return Ok(());
    }
    Ledger::mark_seen(tx, &inbox_id, asked.now)?;
    let answer = match envelope.request() {
        Err(error) => Err(refusal_of(&error)),
        Ok(Request::PutRestoreTestingPlan(request)) => put_restore_testing_plan::handle(tx, rules, asked, request)?,
        Ok(Request::DeleteRestoreTestingPlan(request)) => delete_restore_testing_plan::handle(tx, &request)?,
        Ok(Request::RunRestoreTest(request)) => run_restore_test::handle(tx, rules, asked, &request)?,
        Ok(other) => Err(Refusal {
            code: job_model::validation::INVALID_REQUEST,
            field: "type".to_owned(),
            message: format!("`{}` is the planner's; send it to the subject of the planner", envelope.event_type)
                + &format!(" (`request.{}.{}`)", other.service(), other.name()),
        }),
    };
    rules.speaker.answer(tx, asked.region, &envelope.id, answer, asked.now)
}

fn refusal_of(error: &job_events::DecodeError) -> Refusal {
    Refusal {
        code: job_model::validation::INVALID_PARAMETER_VALUE,
        field: error.field_name(),
        message: error.to_string(),
    }
}

/// The id of something that is no envelope, so that its sender recognises the answer; empty where there is none.
fn readable_id(payload: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(payload).ok();
    let id = json.as_ref().and_then(|json| json["id"].as_str()).unwrap_or_default();
    id.chars().take(256).collect()
}
