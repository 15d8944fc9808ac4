//! One file for each consumed message: a decoded message in, changes to the state and new messages out.

mod attempt_failed;
mod attempt_progressed;
mod attempt_started;
mod attempt_stopped;
mod create_plan;
mod create_selection;
mod create_vault;
mod delete_plan;
mod delete_recovery_point;
mod delete_selection;
mod delete_vault;
mod deregister_resource;
mod recovery_point_copied;
mod recovery_point_restored;
mod register_resource;
mod sandbox_removed;
mod snapshot_captured;
mod snapshot_forgotten;
mod start_backup;
mod start_copy;
mod start_restore;
mod start_vault_check;
mod stop_job;
mod update_plan;
mod vault_checked;
mod vault_created;
mod verdict_reached;

use job_events::{DecodeError, Envelope, Fact, Request, RequestAccepted, RequestRejected};
use job_model::Region;

use crate::decide::{Accepted, Refusal, Step, issue};
use crate::state::AnswerRow;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    /// The region whose stream it was in; its answer goes there.
    pub(crate) region: Region,
    /// Who sent it and how they named it: the same again is the same request.
    pub(crate) key: String,
    /// How its sender named it.
    pub(crate) request_id: String,
    /// What it asks for, or why that cannot be read.
    pub(crate) request: Result<Request, Unreadable>,
}

/// A request that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    field: String,
    message: String,
}

impl From<DecodeError> for Unreadable {
    fn from(error: DecodeError) -> Self {
        Self { field: error.field_name(), message: error.to_string() }
    }
}

impl Incoming {
    /// Reads a message of a request stream. `token` names the message where it has no readable id of its own.
    pub(crate) fn read(region: Region, payload: &[u8], token: &str) -> (Self, Option<Envelope>) {
        match Envelope::from_bytes(payload) {
            Ok(envelope) => {
                let incoming = Self {
                    region,
                    key: format!("{}#{}", envelope.source, envelope.id),
                    request_id: envelope.id.clone(),
                    request: envelope.request().map_err(Unreadable::from),
                };
                (incoming, Some(envelope))
            }
            Err(error) => {
                let request_id = id_in(payload).unwrap_or_default();
                (Self { region, key: token.to_owned(), request_id, request: Err(error.into()) }, None)
            }
        }
    }
}

/// The id of something that is JSON but no envelope, so that its sender can find the answer.
fn id_in(payload: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    value.get("id")?.as_str().map(str::to_owned)
}

/// Handles a request and answers it. A request that was answered before gets the same answer again.
pub(crate) fn request(step: &mut Step<'_>, incoming: &Incoming) {
    let answered = step.state.answers.get(&incoming.key).and_then(|row| row.fact().ok());
    let fact = answered.unwrap_or_else(|| {
        let fact = match decide(step, incoming) {
            Ok(accepted) => Fact::from(RequestAccepted {
                request_id: incoming.request_id.clone(),
                job_id: accepted.job_id,
                result: accepted.result,
            }),
            Err(refusal) => Fact::from(RequestRejected {
                request_id: incoming.request_id.clone(),
                code: refusal.code.to_owned(),
                field: refusal.field,
                message: refusal.message,
            }),
        };
        if let Ok(data) = fact.to_value() {
            let row =
                AnswerRow { key: incoming.key.clone(), event_type: fact.event_type().clone(), data, at: step.now };
            step.state.answers.put(incoming.key.clone(), row);
        }
        fact
    });
    let region = incoming.region.clone();
    step.tell(&region, subject_token(&incoming.request_id), fact, None);
    issue(step);
}

/// What stands for a request in the subject of its answer: its id where that may stand there, else a digest of it.
pub(crate) fn subject_token(request_id: &str) -> String {
    let fits = (1..=64).contains(&request_id.len())
        && request_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits {
        request_id.to_owned()
    } else {
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, request_id.as_bytes()).simple().to_string()
    }
}

fn decide(step: &mut Step<'_>, incoming: &Incoming) -> Result<Accepted, Refusal> {
    let request = incoming.request.as_ref().map_err(|e| Refusal::invalid(&e.field, e.message.clone()))?;
    match request {
        Request::RegisterResource(r) => register_resource::handle(step, r),
        Request::DeregisterResource(r) => deregister_resource::handle(step, r),
        Request::CreateVaultRequest(r) => create_vault::handle(step, r),
        Request::DeleteVault(r) => delete_vault::handle(step, r),
        Request::CreatePlan(r) => create_plan::handle(step, r),
        Request::UpdatePlan(r) => update_plan::handle(step, r),
        Request::DeletePlan(r) => delete_plan::handle(step, r),
        Request::CreateSelection(r) => create_selection::handle(step, r),
        Request::DeleteSelection(r) => delete_selection::handle(step, r),
        Request::StartBackup(r) => start_backup::handle(step, r),
        Request::StartCopy(r) => start_copy::handle(step, r),
        Request::StartRestore(r) => start_restore::handle(step, r),
        Request::StopJob(r) => stop_job::handle(step, r),
        Request::DeleteRecoveryPoint(r) => delete_recovery_point::handle(step, r),
        Request::StartVaultCheck(r) => start_vault_check::handle(step, r),
        Request::PutRestoreTestingPlan(_) | Request::DeleteRestoreTestingPlan(_) | Request::RunRestoreTest(_) => {
            Err(Refusal::invalid("type", format!("`{}` is answered by the verifier; send it there", request.name())))
        }
    }
}

/// Handles a fact of a worker or the verifier. Facts of others and of the planner itself change nothing.
pub(crate) fn fact(step: &mut Step<'_>, fact: &Fact) {
    match fact {
        Fact::AttemptStarted(f) => attempt_started::handle(step, f),
        Fact::AttemptProgressed(f) => attempt_progressed::handle(step, f),
        Fact::AttemptFailed(f) => attempt_failed::handle(step, f),
        Fact::AttemptStopped(f) => attempt_stopped::handle(step, f),
        Fact::SnapshotCaptured(f) => snapshot_captured::handle(step, f),
        Fact::VaultCreated(f) => vault_created::handle(step, f),
        Fact::VaultChecked(f) => vault_checked::handle(step, f),
        Fact::SnapshotForgotten(f) => snapshot_forgotten::handle(step, f),
        Fact::RecoveryPointCopied(f) => recovery_point_copied::handle(step, f),
        Fact::RecoveryPointRestored(f) => recovery_point_restored::handle(step, f),
        Fact::SandboxRemoved(f) => sandbox_removed::handle(step, f),
        Fact::VerdictReached(f) => verdict_reached::handle(step, f),
        Fact::RequestAccepted(_)
        | Fact::RequestRejected(_)
        | Fact::JobChanged(_)
        | Fact::RecoveryPointCreated(_)
        | Fact::RecoveryPointDeleted(_)
        | Fact::RunMissed(_)
        | Fact::ResourceUnproven(_)
        | Fact::RestoreTestStarted(_)
        | Fact::RestoreTestEnded(_)
        | Fact::RestoreTestingPlanChanged(_)
        | Fact::StreamResetNoticed(_) => return,
    }
    issue(step);
}
