//! One file for each consumed message: a decoded message in, changes to the state and new messages out.

mod attempt_failed;
mod attempt_progressed;
mod attempt_started;
mod attempt_stopped;
mod change_tags;
mod create_plan;
mod create_selection;
mod create_vault;
mod delete_plan;
mod delete_recovery_point;
mod delete_selection;
mod delete_vault;
mod deregister_resource;
mod disassociate_recovery_point;
mod legal_holds;
mod log_followed;
mod put_restore_validation;
mod recovery_point_copied;
mod recovery_point_restored;
mod register_resource;
mod reports;
mod sandbox_removed;
mod settings;
mod snapshot_captured;
mod snapshot_forgotten;
mod start_backup;
mod start_copy;
mod start_restore;
mod start_vault_check;
mod start_vault_prune;
mod stop_job;
mod token;
mod update_plan;
mod update_recovery_point_lifecycle;
mod vault_access;
mod vault_checked;
mod vault_created;
mod vault_lock;
mod vault_notifications;
mod vault_protected;
mod vault_pruned;
mod verdict_reached;

use std::collections::BTreeMap;

use jiff::Timestamp;
use job_events::{DecodeError, Envelope, Fact, Request, RequestAccepted, RequestRejected, expired};
use job_model::{Arn, Region};

use crate::decide::{Accepted, Caller, Refusal, Step, issue};
use crate::state::{AnswerRow, State};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    /// The region whose stream it was in; its answer goes there.
    pub(crate) region: Region,
    /// Who sent it and how they named it: the same again is the same request.
    pub(crate) key: String,
    /// How its sender named it.
    pub(crate) request_id: String,
    /// On whose behalf.
    pub(crate) caller: Caller,
    /// Until when it may be carried out.
    pub(crate) expiry_time: Option<Timestamp>,
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
                let caller = Caller {
                    account: envelope.account.clone(),
                    principal: envelope.principal.clone(),
                    region: Some(region.clone()),
                    token: envelope.idempotency_token.clone(),
                };
                let incoming = Self {
                    region,
                    caller,
                    key: format!("{}#{}", envelope.source, envelope.id),
                    request_id: envelope.id.clone(),
                    expiry_time: envelope.expiry_time,
                    request: envelope.request().map_err(Unreadable::from),
                };
                (incoming, Some(envelope))
            }
            Err(error) => {
                let request_id = id_in(payload).unwrap_or_default();
                let caller = Caller { region: Some(region.clone()), ..Caller::default() };
                let request = Err(error.into());
                (Self { region, key: token.to_owned(), request_id, caller, expiry_time: None, request }, None)
            }
        }
    }
}

/// The id of something that is JSON but no envelope, so that its sender can find the answer.
fn id_in(payload: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    value.get("id")?.as_str().map(str::to_owned)
}

/// The tags of the thing of that name; none where it does not exist or has no tags.
pub(crate) fn tags_of(state: &State, arn: &Arn, own: &str) -> Option<BTreeMap<String, String>> {
    change_tags::find(state, arn, own).map(|thing| thing.tags)
}

/// Handles a request and answers it. A request that was answered before gets the same answer again.
pub(crate) fn request(step: &mut Step<'_>, incoming: &Incoming) {
    step.caller = incoming.caller.clone();
    let answered = step.state.answers.get(&incoming.key).and_then(|row| row.fact().ok());
    let fact = answered.unwrap_or_else(|| {
        let (answer, is_final) = match (token::recall(step, incoming), expired(incoming.expiry_time, step.now)) {
            (Some(answer), _) => (answer, true),
            // Not the answer to the same request when it is sent again with more time.
            (None, Some(message)) => (Err(Refusal::expired(message)), false),
            (None, None) => (decide(step, incoming), true),
        };
        let fact = match answer {
            Ok(accepted) => {
                token::remember(step, incoming, &accepted);
                Fact::from(RequestAccepted {
                    request_id: incoming.request_id.clone(),
                    job_id: accepted.job_id,
                    result: accepted.result,
                })
            }
            Err(refusal) => {
                let (arn, creator_request_id) = refusal.existing.unwrap_or_default();
                Fact::from(RequestRejected {
                    request_id: incoming.request_id.clone(),
                    code: refusal.code.to_owned(),
                    field: refusal.field,
                    message: refusal.message,
                    arn,
                    creator_request_id,
                })
            }
        };
        if is_final {
            remember(step, incoming.key.clone(), &fact, None);
        }
        fact
    });
    let region = incoming.region.clone();
    step.tell(&region, subject_token(&incoming.request_id), fact, None);
    issue(step);
}

/// Keeps an answer for whoever asks the same again.
fn remember(step: &mut Step<'_>, key: String, fact: &Fact, content: Option<String>) {
    if let Ok(data) = fact.to_value() {
        let row = AnswerRow { key: key.clone(), event_type: fact.event_type().clone(), data, at: step.now, content };
        step.state.answers.put(key, row);
    }
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
        Request::StartVaultPrune(r) => start_vault_prune::handle(step, r),
        Request::PutVaultLock(r) => vault_lock::put(step, r),
        Request::DeleteVaultLock(r) => vault_lock::delete(step, r),
        Request::PutVaultAccessPolicy(r) => vault_access::put(step, r),
        Request::DeleteVaultAccessPolicy(r) => vault_access::delete(step, r),
        Request::PutVaultNotifications(r) => vault_notifications::put(step, r),
        Request::DeleteVaultNotifications(r) => vault_notifications::delete(step, r),
        Request::UpdateRecoveryPointLifecycle(r) => update_recovery_point_lifecycle::handle(step, r),
        Request::DisassociateRecoveryPoint(r) => disassociate_recovery_point::handle(step, r),
        Request::ChangeTags(r) => change_tags::handle(step, r),
        Request::PutRestoreValidation(r) => put_restore_validation::handle(step, r),
        Request::CreateLegalHold(r) => legal_holds::create(step, r),
        Request::CancelLegalHold(r) => legal_holds::cancel(step, r),
        Request::PutRegionSettings(r) => settings::put_region(step, r),
        Request::PutGlobalSettings(r) => settings::put_global(step, r),
        Request::CreateReportPlan(r) => reports::create(step, r),
        Request::UpdateReportPlan(r) => reports::update(step, r),
        Request::DeleteReportPlan(r) => reports::delete(step, r),
        Request::StartReportJob(r) => reports::start(step, r),
        Request::FinishReportJob(r) => reports::finish(step, r),
        Request::PutRestoreTestingPlan(_)
        | Request::DeleteRestoreTestingPlan(_)
        | Request::RunRestoreTest(_)
        | Request::CreateRestoreTestingPlan(_)
        | Request::UpdateRestoreTestingPlan(_)
        | Request::CreateRestoreTestingSelection(_)
        | Request::UpdateRestoreTestingSelection(_)
        | Request::DeleteRestoreTestingSelection(_) => {
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
        Fact::VaultProtected(f) => vault_protected::handle(step, f),
        Fact::VaultPruned(f) => vault_pruned::handle(step, f),
        Fact::LogFollowed(f) => log_followed::handle(step, f),
        Fact::FollowEnded(f) => log_followed::handle_end(step, f),
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
        | Fact::StreamResetNoticed(_)
        | Fact::VaultChanged(_)
        | Fact::VaultRemoved(_)
        | Fact::ResourceChanged(_)
        | Fact::ResourceRemoved(_)
        | Fact::PlanChanged(_)
        | Fact::SelectionChanged(_)
        | Fact::SelectionRemoved(_)
        | Fact::RecoveryPointChanged(_)
        | Fact::JobNoted(_)
        | Fact::LegalHoldChanged(_)
        | Fact::LegalHoldRemoved(_)
        | Fact::RegionSettingsChanged(_)
        | Fact::GlobalSettingsChanged(_)
        | Fact::ReportPlanChanged(_)
        | Fact::ReportPlanRemoved(_)
        | Fact::ReportJobChanged(_)
        | Fact::RestoreTestingPlanRemoved(_) => return,
    }
    issue(step);
}
