//! What each operation does: its input to one request or query, the answer as the API shows it.
//!
//! An operation that changes something sends exactly one request, so that there is nothing to be half done.

mod backup_jobs;
mod copy_jobs;
mod holds;
pub(crate) mod native;
mod ownership;
mod paging;
mod plan_input;
mod plans;
mod points;
mod reports;
mod resources;
mod restore_jobs;
mod selections;
mod settings;
mod strict;
mod summaries;
mod tags;
mod testing;
mod testing_selections;
mod vault_settings;
mod vaults;

use jiff::Timestamp;
use job_events::{Answer, Query, Request, RequestAccepted};
use job_model::{AccountId, Region};

use crate::access::Caller;
use crate::backend::Behalf;
use crate::calls::Call;
use crate::decode::Input;
use crate::fault::Fault;
use crate::http::Api;
use crate::projection::Change;
use crate::reply::Reply;
use crate::route::Route;

/// Everything an operation knows besides its input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) api: &'a Api,
    pub(crate) caller: &'a Caller,
    pub(crate) behalf: &'a Behalf,
    pub(crate) region: &'a Region,
    pub(crate) now: Timestamp,
    /// The call, for operations that change something.
    pub(crate) call: Option<Call>,
    /// The token by which the client marks a repeated call.
    pub(crate) token: Option<&'a str>,
}

impl<'a> Context<'a> {
    fn account(&self) -> &'a AccountId {
        &self.caller.account
    }

    /// Sends the operation's request.
    async fn request(&self, request: impl Into<Request>) -> Result<(RequestAccepted, Timestamp), Fault> {
        let call = self.call.ok_or_else(|| Fault::internal("an operation that only reads sends no request"))?;
        self.api.backend.request(self.behalf, call, self.token, &request.into()).await
    }

    async fn query(&self, query: &Query) -> Result<Answer, Fault> {
        self.api.backend.query(self.region, query).await
    }

    /// Brings the projection up to date with what was changed, so that the next list shows it.
    async fn refresh(&self, change: Change, at: Timestamp) {
        self.api.projection.refresh(vec![change], at).await;
    }

    /// An answer from the projection: marked when the planner has not been heard.
    fn listed(&self, body: serde_json::Value) -> Reply {
        Reply { stale_since: self.api.projection.silence().planner, ..Reply::json(body) }
    }

    /// The same of an output that is written already.
    fn listed_text(&self, body: String) -> Reply {
        Reply { stale_since: self.api.projection.silence().planner, ..Reply::text(body) }
    }

    /// An answer from the projection of the verifier's things.
    fn listed_of_verifier(&self, body: serde_json::Value) -> Reply {
        Reply { stale_since: self.api.projection.silence().verifier, ..Reply::json(body) }
    }
}

/// An answer to another question than was asked.
fn unexpected() -> Fault {
    Fault::internal("a service answers another question; see the gateway's log")
}

macro_rules! served {
    ($($name:literal => $module:ident :: $function:ident),+ $(,)?) => {
        /// Names of the operations that are served.
        pub(crate) const SERVED: &[&str] = &[$($name),+];

        /// Does it.
        pub(crate) async fn run(context: &Context<'_>, route: &Route, input: &Input) -> Result<Reply, Fault> {
            let context = &Context { token: input.token(route), ..*context };
            match route.name {
                $($name => Box::pin($module::$function(context, input)).await,)+
                other => Err(Fault::unknown_operation(other)),
            }
        }
    };
}

served! {
    "CreateBackupVault" => vaults::create,
    "CreateLogicallyAirGappedBackupVault" => vaults::create_air_gapped,
    "DescribeBackupVault" => vaults::describe,
    "DeleteBackupVault" => vaults::delete,
    "ListBackupVaults" => vaults::list,
    "PutBackupVaultLockConfiguration" => vault_settings::put_lock,
    "DeleteBackupVaultLockConfiguration" => vault_settings::delete_lock,
    "PutBackupVaultAccessPolicy" => vault_settings::put_policy,
    "GetBackupVaultAccessPolicy" => vault_settings::get_policy,
    "DeleteBackupVaultAccessPolicy" => vault_settings::delete_policy,
    "PutBackupVaultNotifications" => vault_settings::put_notifications,
    "GetBackupVaultNotifications" => vault_settings::get_notifications,
    "DeleteBackupVaultNotifications" => vault_settings::delete_notifications,
    "CreateBackupPlan" => plans::create,
    "GetBackupPlan" => plans::get,
    "UpdateBackupPlan" => plans::update,
    "DeleteBackupPlan" => plans::delete,
    "ListBackupPlans" => plans::list,
    "ListBackupPlanVersions" => plans::versions,
    "ExportBackupPlanTemplate" => plans::export,
    "GetBackupPlanFromJSON" => plans::from_json,
    "CreateBackupSelection" => selections::create,
    "GetBackupSelection" => selections::get,
    "DeleteBackupSelection" => selections::delete,
    "ListBackupSelections" => selections::list,
    "StartBackupJob" => backup_jobs::start,
    "DescribeBackupJob" => backup_jobs::describe,
    "StopBackupJob" => backup_jobs::stop,
    "ListBackupJobs" => backup_jobs::list,
    "ListBackupJobSummaries" => summaries::backup,
    "StartCopyJob" => copy_jobs::start,
    "DescribeCopyJob" => copy_jobs::describe,
    "ListCopyJobs" => copy_jobs::list,
    "ListCopyJobSummaries" => summaries::copy,
    "StartRestoreJob" => restore_jobs::start,
    "DescribeRestoreJob" => restore_jobs::describe,
    "ListRestoreJobs" => restore_jobs::list,
    "GetRestoreJobMetadata" => restore_jobs::metadata,
    "ListRestoreJobsByProtectedResource" => restore_jobs::list_by_resource,
    "PutRestoreValidationResult" => restore_jobs::put_validation,
    "ListRestoreJobSummaries" => summaries::restore,
    "ListRecoveryPointsByBackupVault" => points::list_by_vault,
    "ListRecoveryPointsByResource" => points::list_by_resource,
    "DescribeRecoveryPoint" => points::describe,
    "DeleteRecoveryPoint" => points::delete,
    "UpdateRecoveryPointLifecycle" => points::update_lifecycle,
    "GetRecoveryPointRestoreMetadata" => points::restore_metadata,
    "DisassociateRecoveryPoint" => points::disassociate,
    "ListProtectedResources" => resources::list,
    "DescribeProtectedResource" => resources::describe,
    "ListProtectedResourcesByBackupVault" => resources::list_by_vault,
    "GetSupportedResourceTypes" => resources::types,
    "CreateRestoreTestingPlan" => testing::create,
    "GetRestoreTestingPlan" => testing::get,
    "UpdateRestoreTestingPlan" => testing::update,
    "DeleteRestoreTestingPlan" => testing::delete,
    "ListRestoreTestingPlans" => testing::list,
    "CreateRestoreTestingSelection" => testing_selections::create,
    "GetRestoreTestingSelection" => testing_selections::get,
    "UpdateRestoreTestingSelection" => testing_selections::update,
    "DeleteRestoreTestingSelection" => testing_selections::delete,
    "ListRestoreTestingSelections" => testing_selections::list,
    "GetRestoreTestingInferredMetadata" => points::inferred_metadata,
    "ListTags" => tags::list,
    "TagResource" => tags::set,
    "UntagResource" => tags::remove,
    "DescribeRegionSettings" => settings::describe_region,
    "UpdateRegionSettings" => settings::update_region,
    "DescribeGlobalSettings" => settings::describe_global,
    "UpdateGlobalSettings" => settings::update_global,
    "CreateLegalHold" => holds::create,
    "GetLegalHold" => holds::get,
    "ListLegalHolds" => holds::list,
    "CancelLegalHold" => holds::cancel,
    "ListRecoveryPointsByLegalHold" => holds::points,
    "CreateReportPlan" => reports::create,
    "DescribeReportPlan" => reports::describe,
    "UpdateReportPlan" => reports::update,
    "DeleteReportPlan" => reports::delete,
    "ListReportPlans" => reports::list,
    "StartReportJob" => reports::start,
    "DescribeReportJob" => reports::describe_job,
    "ListReportJobs" => reports::list_jobs,
}

/// Whether an operation is served.
pub(crate) fn is_served(name: &str) -> bool {
    SERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_served_operation_is_one_of_the_api() {
        assert_eq!(SERVED.len(), 83);
        for name in SERVED {
            assert!(crate::model::api().operations.contains_key(*name), "{name}");
        }
    }
}
