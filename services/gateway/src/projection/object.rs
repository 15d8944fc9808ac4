//! The things of which there are few: kept whole in memory and on disk, by a key that says what they are.

use job_model::{
    AccountId, Arn, BackupPlan, GlobalSettings, LegalHold, LegalHoldId, PlanId, Region, RegionSettings, ReportJob,
    ReportPlan, Resource, RestoreTestingPlan, Selection, SelectionId, Vault,
};
use serde::{Deserialize, Serialize};

/// One thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "object", rename_all = "kebab-case")]
pub(crate) enum Object {
    Vault(Vault),
    Plan(BackupPlan),
    Selection(Selection),
    Resource(Resource),
    LegalHold(LegalHold),
    RegionSettings(RegionSettings),
    GlobalSettings(GlobalSettings),
    ReportPlan(ReportPlan),
    ReportJob(ReportJob),
    TestingPlan(RestoreTestingPlan),
}

/// Keys: what is listed together begins alike.
pub(crate) mod key {
    use super::*;

    pub(crate) fn vault(arn: &Arn) -> String {
        format!("vault/{arn}")
    }

    pub(crate) fn plan(id: PlanId, version: u32) -> String {
        format!("{}{version:010}", plan_versions(id))
    }

    pub(crate) fn plan_versions(id: PlanId) -> String {
        format!("plan/{id}/")
    }

    pub(crate) fn selection(plan: PlanId, id: SelectionId) -> String {
        format!("{}{id}", selections(plan))
    }

    pub(crate) fn selections(plan: PlanId) -> String {
        format!("selection/{plan}/")
    }

    pub(crate) fn resource(arn: &Arn) -> String {
        format!("resource/{arn}")
    }

    pub(crate) fn legal_hold(id: LegalHoldId) -> String {
        format!("legal-hold/{id}")
    }

    pub(crate) fn report_plan(account: &AccountId, region: &Region, name: &str) -> String {
        format!("report-plan/{account}/{region}/{name}")
    }

    pub(crate) fn testing_plan(account: &AccountId, region: &Region, name: &str) -> String {
        format!("testing-plan/{account}/{region}/{name}")
    }
}

impl Object {
    /// Its key. `own` is the account of things that carry none, `home` the region.
    pub(crate) fn key(&self, own: &AccountId, home: &Region) -> String {
        match self {
            Self::Vault(vault) => key::vault(&vault.access.arn),
            Self::Plan(plan) => key::plan(plan.id, plan.version),
            Self::Selection(selection) => key::selection(selection.plan_id, selection.id),
            Self::Resource(resource) => key::resource(&resource.arn),
            Self::LegalHold(hold) => key::legal_hold(hold.id),
            Self::RegionSettings(settings) => format!("region-settings/{}/{}", settings.account, settings.region),
            Self::GlobalSettings(settings) => format!("global-settings/{}", settings.account),
            Self::ReportPlan(plan) => key::report_plan(&plan.account, &plan.region, &plan.name),
            Self::ReportJob(job) => format!("report-job/{}", job.id),
            Self::TestingPlan(plan) => {
                let (account, region) = (plan.account.as_ref().unwrap_or(own), plan.region.as_ref().unwrap_or(home));
                key::testing_plan(account, region, &plan.name)
            }
        }
    }
}
