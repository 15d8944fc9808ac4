//! Tokens of senders: the same token with the same content is the same request, whatever its id, and gets the same answer;
//! with another content it is refused with what exists. AWS's `CreatorRequestId` and `IdempotencyToken`.

use job_events::{Fact, RequestAccepted};
use job_model::Arn;
use uuid::Uuid;

use crate::decide::{Accepted, Refusal, Step};
use crate::handlers::Incoming;
use crate::state::AnswerRow;

/// The key of the answer: tokens of different accounts and of different kinds of requests have nothing to do with each
/// other.
fn key_of(step: &Step<'_>, incoming: &Incoming) -> Option<(String, String)> {
    let token = step.caller.token.as_ref()?;
    let request = incoming.request.as_ref().ok()?;
    let content = request.to_value().ok()?.to_string();
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, content.as_bytes()).simple().to_string();
    let account = step.account();
    let region = step.caller.region.as_ref().map(ToString::to_string).unwrap_or_default();
    Some((format!("token#{account}#{region}#{}#{token}", request.name()), digest))
}

/// What was answered to this token before; none when it is new.
pub(super) fn recall(step: &Step<'_>, incoming: &Incoming) -> Option<Result<Accepted, Refusal>> {
    let (key, digest) = key_of(step, incoming)?;
    let row: &AnswerRow = step.state.answers.get(&key)?;
    let Ok(Fact::RequestAccepted(RequestAccepted { job_id, result, .. })) = row.fact() else { return None };
    if row.content.as_deref() == Some(digest.as_str()) {
        return Some(Ok(Accepted { job_id, result }));
    }
    let arn: Option<Arn> = result.as_deref().and_then(|result| result.parse().ok());
    let what = result.or_else(|| job_id.map(|id| id.to_string())).unwrap_or_default();
    let text = format!("another request with this token made `{what}`; use a token of its own for each request");
    Some(Err(Refusal::exists("idempotencytoken", text).of(arn, step.caller.token.clone())))
}

/// Keeps what was answered to a token. Only what was done is kept: a refused request may be mended and sent again.
pub(super) fn remember(step: &mut Step<'_>, incoming: &Incoming, accepted: &Accepted) {
    let Some((key, digest)) = key_of(step, incoming) else { return };
    let fact = Fact::from(RequestAccepted {
        request_id: incoming.request_id.clone(),
        job_id: accepted.job_id,
        result: accepted.result.clone(),
    });
    super::remember(step, key, &fact, Some(digest));
}
