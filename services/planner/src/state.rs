//! Everything the planner knows, in memory. It is loaded from the store at start, changed by one step at a time, and
//! every step's changed rows are written in the transaction of the step. Ended jobs leave after 30 days, so that its
//! size follows what is protected, not how long the planner has lived.

mod catalogue;
mod rows;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};

use job_model::{
    AccountId, Arn, BackupPlan, GlobalSettings, JobId, LegalHold, LegalHoldId, PlanId, Region, RegionSettings,
    ReportJob, ReportJobId, ReportPlan, Resource, RuleId, Selection, SelectionId, StorageClass, Vault,
};

pub(crate) use catalogue::Catalogue;
pub(crate) use rows::{
    AnswerRow, BaseRow, ContinuousRow, CursorRow, JobRow, KeepRow, MetaRow, PlanRow, PointRow, StopReason, StreamRow,
};
pub(crate) use shelf::Shelf;

/// All tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) resources: Shelf<Arn, Resource>,
    pub(crate) vaults: Shelf<Arn, Vault>,
    pub(crate) plans: Shelf<(PlanId, u32), PlanRow>,
    pub(crate) selections: Shelf<SelectionId, Selection>,
    pub(crate) cursors: Shelf<(PlanId, RuleId), CursorRow>,
    pub(crate) points: Catalogue,
    pub(crate) continuous: Shelf<Arn, ContinuousRow>,
    pub(crate) answers: Shelf<String, AnswerRow>,
    pub(crate) streams: Shelf<String, StreamRow>,
    pub(crate) meta: Shelf<(), MetaRow>,
    pub(crate) holds: Shelf<LegalHoldId, LegalHold>,
    pub(crate) keeps: Shelf<(Arn, StorageClass), KeepRow>,
    pub(crate) region_settings: Shelf<(AccountId, Region), RegionSettings>,
    pub(crate) global_settings: Shelf<AccountId, GlobalSettings>,
    pub(crate) report_plans: Shelf<(AccountId, Region, String), ReportPlan>,
    pub(crate) report_jobs: Shelf<ReportJobId, ReportJob>,
    jobs: Shelf<JobId, JobRow>,
    /// Jobs that have not ended, or whose order has yet to be taken from the bus.
    open: BTreeSet<JobId>,
}

impl State {
    /// The job with that id.
    pub(crate) fn job(&self, id: JobId) -> Option<&JobRow> {
        self.jobs.get(&id)
    }

    /// All jobs.
    pub(crate) fn jobs(&self) -> impl DoubleEndedIterator<Item = &JobRow> {
        self.jobs.values()
    }

    /// Jobs that have not ended, in the order in which they get their turn.
    pub(crate) fn open_jobs(&self) -> Vec<&JobRow> {
        let mut open: Vec<&JobRow> =
            self.open.iter().filter_map(|id| self.jobs.get(id)).filter(|row| !row.job.state.is_terminal()).collect();
        open.sort_by_key(|row| (row.job.scheduled_at, row.job.created_at, row.job.id));
        open
    }

    /// Jobs that ended while their order may still be on the bus.
    pub(crate) fn to_withdraw(&self) -> Vec<&JobRow> {
        self.open.iter().filter_map(|id| self.jobs.get(id)).filter(|row| row.withdraw).collect()
    }

    /// Puts a job.
    pub(crate) fn put_job(&mut self, row: JobRow) {
        let id = row.job.id;
        if row.job.state.is_terminal() && !row.withdraw {
            self.open.remove(&id);
        } else {
            self.open.insert(id);
        }
        self.jobs.put(id, row);
    }

    /// Takes a job out of the ledger.
    pub(crate) fn remove_job(&mut self, id: JobId) {
        self.open.remove(&id);
        self.jobs.remove(&id);
    }

    /// Puts a job that came from the store.
    pub(crate) fn load_job(&mut self, row: JobRow) {
        if !row.job.state.is_terminal() || row.withdraw {
            self.open.insert(row.job.id);
        }
        self.jobs.load(row.job.id, row);
    }

    /// The jobs after this one, or all, by id.
    pub(crate) fn jobs_after(&self, id: Option<JobId>) -> impl Iterator<Item = (&JobId, &JobRow)> {
        self.jobs.after(id)
    }

    /// What changed of jobs since the changes were last taken: row before, row now.
    pub(crate) fn job_changes(&self) -> impl Iterator<Item = (&JobId, Option<&JobRow>, Option<&JobRow>)> {
        self.jobs.changes()
    }

    /// The jobs that changed since the last call.
    pub(crate) fn take_job_changes(&mut self) -> Vec<(JobId, Option<JobRow>)> {
        self.jobs.take_changes()
    }

    /// The newest version of every plan that is not deleted.
    pub(crate) fn current_plans(&self) -> Vec<&BackupPlan> {
        let mut newest: BTreeMap<PlanId, &PlanRow> = BTreeMap::new();
        for row in self.plans.values() {
            // Versions of a plan lie in ascending order.
            newest.insert(row.plan.id, row);
        }
        newest.into_values().filter(|row| row.deleted_at.is_none()).map(|row| &row.plan).collect()
    }

    /// The newest version of a plan that is not deleted.
    pub(crate) fn current_plan(&self, id: PlanId) -> Option<&BackupPlan> {
        self.current_plans().into_iter().find(|plan| plan.id == id)
    }

    /// The newest version of a plan, deleted or not.
    pub(crate) fn newest_version(&self, id: PlanId) -> Option<&PlanRow> {
        self.plan_versions(id).last()
    }

    /// The versions of a plan, deleted or not, oldest first.
    pub(crate) fn plan_versions(&self, id: PlanId) -> impl Iterator<Item = &PlanRow> {
        self.plans.after(Some((id, 0))).map(|(_, row)| row).take_while(move |row| row.plan.id == id)
    }

    /// The selections of a plan.
    pub(crate) fn selections_of(&self, plan: PlanId) -> impl Iterator<Item = &Selection> {
        self.selections.values().filter(move |selection| selection.plan_id == plan)
    }

    /// Recovery points of a resource, newest last.
    pub(crate) fn points_of(&self, resource: &Arn) -> impl DoubleEndedIterator<Item = &PointRow> {
        self.points.of(resource)
    }

    /// Whether an open job needs this recovery point.
    pub(crate) fn in_use(&self, point: &Arn) -> bool {
        self.open
            .iter()
            .filter_map(|id| self.jobs.get(id))
            .any(|row| row.uses.contains(point) && (!row.job.state.is_terminal() || row.withdraw))
    }

    /// An open job other than this one that needs this recovery point.
    pub(crate) fn user_of(&self, point: &Arn, other_than: JobId) -> Option<JobId> {
        self.open
            .iter()
            .filter_map(|id| self.jobs.get(id))
            .find(|row| row.job.id != other_than && row.uses.contains(point))
            .map(|row| row.job.id)
    }

    /// A legal hold that holds the point.
    pub(crate) fn hold_on(&self, point: &job_model::RecoveryPoint) -> Option<&LegalHold> {
        self.holds.values().find(|hold| hold.holds(point))
    }

    /// Something changed that retention depends on: it decides at the next tick.
    pub(crate) fn retain_soon(&mut self) {
        let meta = self.meta();
        if meta.retained_at.is_some() {
            self.meta.put((), MetaRow { retained_at: None, ..meta });
        }
    }

    /// The numbers of the installation.
    pub(crate) fn meta(&self) -> MetaRow {
        self.meta.get(&()).cloned().unwrap_or_default()
    }
}
