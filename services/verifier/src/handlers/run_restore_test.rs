//! Run a restore testing plan now, whatever its schedule and window say.

use job_events::RunRestoreTest;
use state_store::{StoreError, Tx};

use super::requests::Wish;
use super::restore_testing_plans::unknown;
use crate::runs::{self, Rules};
use crate::speak::Refusal;

pub(super) fn handle(
    tx: &mut Tx<'_>,
    rules: &Rules,
    wish: &Wish<'_>,
    request: &RunRestoreTest,
) -> Result<Result<Option<String>, Refusal>, StoreError> {
    let Some(plan) = wish.plan(tx, rules, &request.name)? else {
        return Ok(Err(unknown("name", &request.name)));
    };
    runs::begin(tx, rules, &plan, wish.draw, wish.now)?;
    Ok(Ok(Some(wish.draw.id.to_string())))
}
