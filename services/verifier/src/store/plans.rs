//! `restore-testing-plans`: name to plan and where its schedule stands.

use jiff::Timestamp;
use job_model::{Region, RestoreTestingPlan};
use serde::{Deserialize, Serialize};
use state_store::{Record, StoreError, Table, Tx};

const PLANS: Table<PlanRow> = Table::new("restore-testing-plans");

/// A plan and where its schedule stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlanRow {
    /// The plan.
    pub(crate) plan: RestoreTestingPlan,
    /// Where it was put: its facts are published there.
    pub(crate) region: Region,
    /// Instants of the schedule up to here are served.
    pub(crate) served_until: Timestamp,
}

impl Record for PlanRow {
    const VERSION: u8 = 1;
}

pub(crate) fn plan(tx: &Tx<'_>, name: &str) -> Result<Option<PlanRow>, StoreError> {
    // An empty name is nobody's, and no key.
    if name.is_empty() { Ok(None) } else { tx.get(&PLANS, name.as_bytes()) }
}

pub(crate) fn put_plan(tx: &mut Tx<'_>, row: &PlanRow) -> Result<(), StoreError> {
    tx.put(&PLANS, row.plan.name.as_bytes(), row)
}

pub(crate) fn delete_plan(tx: &mut Tx<'_>, name: &str) -> Result<bool, StoreError> {
    tx.delete(&PLANS, name.as_bytes())
}

pub(crate) fn all_plans(tx: &Tx<'_>) -> Result<Vec<PlanRow>, StoreError> {
    Ok(tx.scan(&PLANS, &[])?.into_iter().map(|(_, row)| row).collect())
}
