//! What facts and scans change in the projection. Pure.

use job_events::{Fact, ScanRow};
use job_model::{AccountId, Arn, Job, RecoveryPoint, Region};
use uuid::Uuid;

use super::listed::ListedPoint;
use super::object::{Object, key};

/// One change of the projection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// A thing as it is now.
    Put(Box<Object>),
    /// A thing that is gone, by its key.
    Remove(String),
    /// A job as it is now.
    PutJob(Box<Job>),
    /// A recovery point as it is now.
    PutPoint(Box<ListedPoint>),
    /// A recovery point that is gone.
    RemovePoint { id: Uuid, vault: Arn },
}

impl Change {
    /// A recovery point as it is now.
    pub(crate) fn of_point(point: &RecoveryPoint) -> Self {
        Self::PutPoint(Box::new(point.into()))
    }

    /// What it is about: changes of the same subject come in order.
    pub(crate) fn subject(&self, own: &AccountId, home: &Region) -> String {
        match self {
            Self::Put(object) => object.key(own, home),
            Self::Remove(key) => key.clone(),
            Self::PutJob(job) => format!("job/{}", job.id),
            Self::PutPoint(point) => format!("point/{}", point.id),
            Self::RemovePoint { id, .. } => format!("point/{id}"),
        }
    }
}

/// What a fact changes.
pub(crate) fn of_fact(fact: Fact, own: &AccountId) -> Option<Change> {
    let put = |object| Some(Change::Put(Box::new(object)));
    match fact {
        Fact::JobChanged(f) => Some(Change::PutJob(Box::new(f.job))),
        Fact::JobNoted(f) => Some(Change::PutJob(Box::new(f.job))),
        Fact::RecoveryPointCreated(f) => Some(Change::of_point(&f.recovery_point)),
        Fact::RecoveryPointChanged(f) => Some(Change::of_point(&f.recovery_point)),
        Fact::RecoveryPointDeleted(f) => removed_point(&f.recovery_point, f.vault),
        Fact::VaultChanged(f) => put(Object::Vault(f.vault)),
        Fact::VaultRemoved(f) => Some(Change::Remove(key::vault(&f.vault))),
        Fact::ResourceChanged(f) => put(Object::Resource(f.resource)),
        Fact::ResourceRemoved(f) => Some(Change::Remove(key::resource(&f.resource))),
        Fact::PlanChanged(f) => put(Object::Plan(f.plan)),
        Fact::SelectionChanged(f) => put(Object::Selection(f.selection)),
        Fact::SelectionRemoved(f) => Some(Change::Remove(key::selection(f.plan_id, f.selection_id))),
        Fact::LegalHoldChanged(f) => put(Object::LegalHold(f.legal_hold)),
        Fact::RegionSettingsChanged(f) => put(Object::RegionSettings(f.settings)),
        Fact::GlobalSettingsChanged(f) => put(Object::GlobalSettings(f.settings)),
        Fact::ReportPlanChanged(f) => put(Object::ReportPlan(f.report_plan)),
        Fact::ReportPlanRemoved(f) => Some(Change::Remove(key::report_plan(&f.account, &f.region, &f.name))),
        Fact::ReportJobChanged(f) => put(Object::ReportJob(f.report_job)),
        Fact::RestoreTestingPlanChanged(f) => put(Object::TestingPlan(f.plan)),
        Fact::RestoreTestingPlanRemoved(f) => {
            Some(Change::Remove(key::testing_plan(f.account.as_ref().unwrap_or(own), &f.region, &f.name)))
        }
        Fact::LegalHoldRemoved(f) => Some(Change::Remove(key::legal_hold(f.id))),
        _ => None,
    }
}

fn removed_point(arn: &Arn, vault: Arn) -> Option<Change> {
    let id = arn.resource().rsplit([':', '/']).next()?.parse().ok()?;
    Some(Change::RemovePoint { id, vault })
}

/// What a row of a scan says.
pub(crate) fn of_row(row: ScanRow) -> Change {
    let put = |object| Change::Put(Box::new(object));
    match row {
        ScanRow::Resource(resource) => put(Object::Resource(*resource)),
        ScanRow::Vault(vault) => put(Object::Vault(*vault)),
        ScanRow::Plan(plan) => put(Object::Plan(*plan)),
        ScanRow::Selection(selection) => put(Object::Selection(*selection)),
        ScanRow::Job(job) => Change::PutJob(job),
        ScanRow::RecoveryPoint(point) => Change::of_point(&point),
        ScanRow::LegalHold(hold) => put(Object::LegalHold(*hold)),
        ScanRow::RegionSettings(settings) => put(Object::RegionSettings(*settings)),
        ScanRow::GlobalSettings(settings) => put(Object::GlobalSettings(*settings)),
        ScanRow::ReportPlan(plan) => put(Object::ReportPlan(*plan)),
        ScanRow::ReportJob(job) => put(Object::ReportJob(*job)),
    }
}
