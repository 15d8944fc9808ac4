//! `restore-testing-plans`: plan and where its schedule stands. A plan of an account has the key
//! `<account>/<region>/<name>`; one that was put on the bus without an account has its name alone.

use jiff::Timestamp;
use job_model::{AccountId, Region, RestoreTestingPlan};
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

/// Whose plan it is, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlanKey {
    /// Account and region; none for plans without an account.
    pub(crate) owner: Option<(AccountId, Region)>,
    /// The name.
    pub(crate) name: String,
}

impl PlanKey {
    /// The key of a plan.
    pub(crate) fn of(row: &PlanRow) -> Self {
        let owner = row.plan.account.clone().map(|account| {
            let region = row.plan.region.clone().unwrap_or_else(|| row.region.clone());
            (account, region)
        });
        Self { owner, name: row.plan.name.clone() }
    }

    fn bytes(&self) -> Vec<u8> {
        match &self.owner {
            Some((account, region)) => format!("{account}/{region}/{}", self.name).into_bytes(),
            None => self.name.as_bytes().to_vec(),
        }
    }
}

/// The longest key that can name a plan.
const KEY_MAX: usize = 256;

pub(crate) fn plan(tx: &Tx<'_>, key: &PlanKey) -> Result<Option<PlanRow>, StoreError> {
    // An empty name is nobody's, and no key.
    if key.name.is_empty() || key.name.len() > KEY_MAX { Ok(None) } else { tx.get(&PLANS, &key.bytes()) }
}

pub(crate) fn put_plan(tx: &mut Tx<'_>, row: &PlanRow) -> Result<(), StoreError> {
    tx.put(&PLANS, &PlanKey::of(row).bytes(), row)
}

pub(crate) fn delete_plan(tx: &mut Tx<'_>, key: &PlanKey) -> Result<bool, StoreError> {
    tx.delete(&PLANS, &key.bytes())
}

pub(crate) fn all_plans(tx: &Tx<'_>) -> Result<Vec<PlanRow>, StoreError> {
    Ok(tx.scan(&PLANS, &[])?.into_iter().map(|(_, row)| row).collect())
}
