//! The planner's trees: which there are, how they are loaded and how a step's changes are written.

use job_model::{GlobalSettings, LegalHold, RegionSettings, ReportJob, ReportPlan, Resource, Selection, Vault};
use serde::{Deserialize, Serialize};
use state_store::{Record, StoreError, Table, Tx};

use crate::state::{
    AnswerRow, ContinuousRow, CursorRow, JobRow, KeepRow, MetaRow, PlanRow, PointRow, State, StreamRow,
};

/// Declares a stored shape around a type of the planner.
macro_rules! stored {
    ($($name:ident($inner:ty)),+ $(,)?) => {
        $(
            #[derive(Serialize, Deserialize)]
            #[serde(transparent)]
            struct $name($inner);

            impl Record for $name {
                const VERSION: u8 = 1;
            }
        )+
    };
}

stored!(
    StoredResource(Resource),
    StoredVault(Vault),
    StoredPlan(PlanRow),
    StoredSelection(Selection),
    StoredCursor(CursorRow),
    StoredPoint(PointRow),
    StoredContinuous(ContinuousRow),
    StoredJob(JobRow),
    StoredAnswer(AnswerRow),
    StoredStream(StreamRow),
    StoredMeta(MetaRow),
    StoredHold(LegalHold),
    StoredKeep(KeepRow),
    StoredRegionSettings(RegionSettings),
    StoredGlobalSettings(GlobalSettings),
    StoredReportPlan(ReportPlan),
    StoredReportJob(ReportJob),
);

const RESOURCES: Table<StoredResource> = Table::new("resources");
const VAULTS: Table<StoredVault> = Table::new("vaults");
const PLANS: Table<StoredPlan> = Table::new("plans");
const SELECTIONS: Table<StoredSelection> = Table::new("selections");
const CURSORS: Table<StoredCursor> = Table::new("schedule-cursors");
const POINTS: Table<StoredPoint> = Table::new("recovery-points");
const CONTINUOUS: Table<StoredContinuous> = Table::new("continuous");
const JOBS: Table<StoredJob> = Table::new("jobs");
const ANSWERS: Table<StoredAnswer> = Table::new("request-answers");
const STREAMS: Table<StoredStream> = Table::new("streams");
const HOLDS: Table<StoredHold> = Table::new("legal-holds");
const KEEPS: Table<StoredKeep> = Table::new("kept-in-vaults");
const REGION_SETTINGS: Table<StoredRegionSettings> = Table::new("region-settings");
const GLOBAL_SETTINGS: Table<StoredGlobalSettings> = Table::new("global-settings");
const REPORT_PLANS: Table<StoredReportPlan> = Table::new("report-plans");
const REPORT_JOBS: Table<StoredReportJob> = Table::new("report-jobs");
const META: Table<StoredMeta> = Table::new("meta");

const META_KEY: &[u8] = b"installation";

/// Everything the planner knows, from its trees.
pub(crate) fn load(tx: &Tx<'_>) -> Result<State, StoreError> {
    let mut state = State::default();
    for (_, StoredResource(row)) in tx.scan(&RESOURCES, b"")? {
        state.resources.load(row.arn.clone(), row);
    }
    for (_, StoredVault(row)) in tx.scan(&VAULTS, b"")? {
        state.vaults.load(row.access.arn.clone(), row);
    }
    for (_, StoredPlan(row)) in tx.scan(&PLANS, b"")? {
        state.plans.load((row.plan.id, row.plan.version), row);
    }
    for (_, StoredSelection(row)) in tx.scan(&SELECTIONS, b"")? {
        state.selections.load(row.id, row);
    }
    for (_, StoredCursor(row)) in tx.scan(&CURSORS, b"")? {
        state.cursors.load((row.plan_id, row.rule_id), row);
    }
    for (_, StoredPoint(row)) in tx.scan(&POINTS, b"")? {
        state.points.load(row.point.arn.clone(), row);
    }
    for (_, StoredContinuous(row)) in tx.scan(&CONTINUOUS, b"")? {
        state.continuous.load(row.assignment.recovery_point.clone(), row);
    }
    for (_, StoredJob(row)) in tx.scan(&JOBS, b"")? {
        state.load_job(row);
    }
    for (_, StoredAnswer(row)) in tx.scan(&ANSWERS, b"")? {
        state.answers.load(row.key.clone(), row);
    }
    for (_, StoredStream(row)) in tx.scan(&STREAMS, b"")? {
        state.streams.load(row.stream.clone(), row);
    }
    for (_, StoredHold(row)) in tx.scan(&HOLDS, b"")? {
        state.holds.load(row.id, row);
    }
    for (_, StoredKeep(row)) in tx.scan(&KEEPS, b"")? {
        state.keeps.load((row.vault.clone(), row.class), row);
    }
    for (_, StoredRegionSettings(row)) in tx.scan(&REGION_SETTINGS, b"")? {
        state.region_settings.load((row.account.clone(), row.region.clone()), row);
    }
    for (_, StoredGlobalSettings(row)) in tx.scan(&GLOBAL_SETTINGS, b"")? {
        state.global_settings.load(row.account.clone(), row);
    }
    for (_, StoredReportPlan(row)) in tx.scan(&REPORT_PLANS, b"")? {
        state.report_plans.load((row.account.clone(), row.region.clone(), row.name.clone()), row);
    }
    for (_, StoredReportJob(row)) in tx.scan(&REPORT_JOBS, b"")? {
        state.report_jobs.load(row.id, row);
    }
    if let Some(StoredMeta(row)) = tx.get(&META, META_KEY)? {
        state.meta.load((), row);
    }
    Ok(state)
}

/// Writes what changed since the last time.
pub(crate) fn save(tx: &mut Tx<'_>, state: &mut State) -> Result<(), StoreError> {
    for (key, row) in state.resources.take_changes() {
        write(tx, &RESOURCES, &digest(key.as_str()), row.map(StoredResource))?;
    }
    for (key, row) in state.vaults.take_changes() {
        write(tx, &VAULTS, &digest(key.as_str()), row.map(StoredVault))?;
    }
    for ((plan, version), row) in state.plans.take_changes() {
        let key = [plan.as_uuid().as_bytes().as_slice(), &version.to_be_bytes()].concat();
        write(tx, &PLANS, &key, row.map(StoredPlan))?;
    }
    for (key, row) in state.selections.take_changes() {
        write(tx, &SELECTIONS, key.as_uuid().as_bytes(), row.map(StoredSelection))?;
    }
    for ((plan, rule), row) in state.cursors.take_changes() {
        let key = [plan.as_uuid().as_bytes().as_slice(), rule.as_uuid().as_bytes()].concat();
        write(tx, &CURSORS, &key, row.map(StoredCursor))?;
    }
    for (key, row) in state.points.take_changes() {
        write(tx, &POINTS, &digest(key.as_str()), row.map(StoredPoint))?;
    }
    for (key, row) in state.continuous.take_changes() {
        write(tx, &CONTINUOUS, &digest(key.as_str()), row.map(StoredContinuous))?;
    }
    for (key, row) in state.take_job_changes() {
        write(tx, &JOBS, key.as_uuid().as_bytes(), row.map(StoredJob))?;
    }
    for (key, row) in state.answers.take_changes() {
        write(tx, &ANSWERS, &digest(&key), row.map(StoredAnswer))?;
    }
    for (key, row) in state.streams.take_changes() {
        write(tx, &STREAMS, key.as_bytes(), row.map(StoredStream))?;
    }
    for (key, row) in state.holds.take_changes() {
        write(tx, &HOLDS, key.as_uuid().as_bytes(), row.map(StoredHold))?;
    }
    for ((vault, class), row) in state.keeps.take_changes() {
        write(tx, &KEEPS, &digest(&format!("{vault}#{class:?}")), row.map(StoredKeep))?;
    }
    for ((account, region), row) in state.region_settings.take_changes() {
        let key = format!("{account}/{region}");
        write(tx, &REGION_SETTINGS, key.as_bytes(), row.map(StoredRegionSettings))?;
    }
    for (account, row) in state.global_settings.take_changes() {
        write(tx, &GLOBAL_SETTINGS, account.as_str().as_bytes(), row.map(StoredGlobalSettings))?;
    }
    for ((account, region, name), row) in state.report_plans.take_changes() {
        let key = format!("{account}/{region}/{name}");
        write(tx, &REPORT_PLANS, &digest(&key), row.map(StoredReportPlan))?;
    }
    for (key, row) in state.report_jobs.take_changes() {
        write(tx, &REPORT_JOBS, key.as_uuid().as_bytes(), row.map(StoredReportJob))?;
    }
    for ((), row) in state.meta.take_changes() {
        write(tx, &META, META_KEY, row.map(StoredMeta))?;
    }
    Ok(())
}

/// ARNs and request ids may be longer than a key; rows carry them whole.
fn digest(text: &str) -> [u8; 16] {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, text.as_bytes()).into_bytes()
}

fn write<R: Record>(tx: &mut Tx<'_>, table: &Table<R>, key: &[u8], row: Option<R>) -> Result<(), StoreError> {
    match row {
        Some(row) => tx.put(table, key, &row),
        None => tx.delete(table, key).map(|_| ()),
    }
}
