//! Requests: decode, recognise repetitions, decide, answer. An answer always follows, by name of the field where something
//! is wrong; a repeated request, or a token that came before with the same content, gets the answer it got.

use jiff::Timestamp;
use job_events::{Envelope, Fact, Request, RequestAccepted, expired};
use job_model::{AccountId, Region};
use message_ledger::Ledger;
use state_store::{StoreError, Tx};
use uuid::Uuid;

use super::{
    change_tags, delete_restore_testing_plan, put_restore_testing_plan, restore_testing_plans,
    restore_testing_selections, run_restore_test,
};
use crate::runs::{Draw, Rules};
use crate::speak::{Refusal, answer_fact};
use crate::store::{self, PlanKey, PlanRow};

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

/// A request that was read: what it is about besides its content.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    /// Whose bus.
    pub(crate) region: &'a Region,
    /// When it is handled.
    pub(crate) now: Timestamp,
    /// What a run is drawn with, should one begin.
    pub(crate) draw: Draw,
    /// On whose behalf; none for whoever may publish on the bus.
    pub(crate) account: Option<AccountId>,
    /// The token of its sender.
    pub(crate) token: Option<String>,
}

impl Wish<'_> {
    /// The key of a plan of this name that is made now.
    pub(crate) fn key(&self, name: &str) -> PlanKey {
        PlanKey { owner: self.account.clone().map(|account| (account, self.region.clone())), name: name.to_owned() }
    }

    /// The plan of this name that exists for the sender. The installation's own account also has those that were put
    /// without one in the same region.
    pub(crate) fn plan(&self, tx: &Tx<'_>, rules: &Rules, name: &str) -> Result<Option<PlanRow>, StoreError> {
        if let Some(row) = store::plan(tx, &self.key(name))? {
            return Ok(Some(row));
        }
        if self.account.as_ref() != Some(&rules.account) {
            return Ok(None);
        }
        let plain = store::plan(tx, &PlanKey { owner: None, name: name.to_owned() })?;
        Ok(plain.filter(|row| row.region == *self.region))
    }
}

/// Whether a request makes the verifier pick recovery points: it has to know all of them by then.
pub(crate) fn picks(payload: &[u8]) -> bool {
    let request = Envelope::from_bytes(payload).and_then(|envelope| envelope.request());
    matches!(request, Ok(Request::RunRestoreTest(_)))
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
        // Whoever asks again did not hear the answer.
        return match store::answer(tx, &inbox_id)?.and_then(|row| row.fact()) {
            Some(fact) => rules.speaker.say_answer(tx, asked.region, &envelope.id, &fact, asked.now),
            None => Ok(()),
        };
    }
    if let Some(message) = expired(envelope.expiry_time, asked.now) {
        // Neither seen nor answered for good: the same request may be sent again with more time.
        let refusal = Refusal { code: job_model::validation::REQUEST_EXPIRED, field: "expirytime".to_owned(), message };
        return rules.speaker.answer(tx, asked.region, &envelope.id, Err(refusal), asked.now);
    }
    Ledger::mark_seen(tx, &inbox_id, asked.now)?;
    let answer = match envelope.request() {
        Err(error) => Err(refusal_of(&error)),
        Ok(request) => with_token(tx, rules, asked, &envelope, request)?,
    };
    let fact = answer_fact(&envelope.id, answer);
    store::put_answer(tx, &inbox_id, &fact, None, asked.now)?;
    rules.speaker.say_answer(tx, asked.region, &envelope.id, &fact, asked.now)
}

/// A token that came before with the same content is the same request; with another content it is refused.
fn with_token(
    tx: &mut Tx<'_>,
    rules: &Rules,
    asked: &Asked<'_>,
    envelope: &Envelope,
    request: Request,
) -> Result<Result<Option<String>, Refusal>, StoreError> {
    let wish = Wish {
        region: asked.region,
        now: asked.now,
        draw: asked.draw,
        account: envelope.account.clone(),
        token: envelope.idempotency_token.clone(),
    };
    let Some(token) = &wish.token else { return decide(tx, rules, &wish, request) };
    let account = wish.account.as_ref().unwrap_or(&rules.account);
    let key = format!("token#{account}#{}#{}#{token}", asked.region, request.name());
    let content = request.to_value().map(|value| value.to_string()).unwrap_or_default();
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, content.as_bytes()).simple().to_string();
    if let Some(row) = store::answer(tx, &key)?
        && let Some(Fact::RequestAccepted(RequestAccepted { result, .. })) = row.fact()
    {
        if row.content.as_deref() == Some(digest.as_str()) {
            return Ok(Ok(result));
        }
        let made = result.unwrap_or_default();
        return Ok(Err(Refusal {
            code: "AlreadyExistsException",
            field: "idempotencytoken".to_owned(),
            message: format!("another request with this token made `{made}`; use a token of its own for each request"),
        }));
    }
    let answer = decide(tx, rules, &wish, request)?;
    if answer.is_ok() {
        store::put_answer(tx, &key, &answer_fact(&envelope.id, answer.clone()), Some(digest), asked.now)?;
    }
    Ok(answer)
}

fn decide(
    tx: &mut Tx<'_>,
    rules: &Rules,
    wish: &Wish<'_>,
    request: Request,
) -> Result<Result<Option<String>, Refusal>, StoreError> {
    match request {
        Request::PutRestoreTestingPlan(request) => put_restore_testing_plan::handle(tx, rules, wish, request),
        Request::DeleteRestoreTestingPlan(request) => delete_restore_testing_plan::handle(tx, rules, wish, &request),
        Request::RunRestoreTest(request) => run_restore_test::handle(tx, rules, wish, &request),
        Request::CreateRestoreTestingPlan(request) => restore_testing_plans::create(tx, rules, wish, request),
        Request::UpdateRestoreTestingPlan(request) => restore_testing_plans::update(tx, rules, wish, request),
        Request::CreateRestoreTestingSelection(request) => restore_testing_selections::create(tx, rules, wish, request),
        Request::UpdateRestoreTestingSelection(request) => restore_testing_selections::update(tx, rules, wish, request),
        Request::DeleteRestoreTestingSelection(request) => {
            restore_testing_selections::delete(tx, rules, wish, &request)
        }
        Request::ChangeTags(request) if job_events::is_restore_testing_plan(&request.arn) => {
            change_tags::handle(tx, rules, wish, &request)
        }
        other => Ok(Err(Refusal {
            code: job_model::validation::INVALID_REQUEST,
            field: "type".to_owned(),
            message: format!("`{}` is the planner's; send it to the subject of the planner", other.event_type())
                + &format!(" (`request.{}.{}`)", other.service(), other.name()),
        })),
    }
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
