//! Run a restore testing plan now, whatever its schedule and window say.

use job_events::RunRestoreTest;
use state_store::{StoreError, Tx};

use super::{Asked, delete_restore_testing_plan};
use crate::runs::{self, Rules};
use crate::speak::Refusal;
use crate::store;

pub(super) fn handle(
    tx: &mut Tx<'_>,
    rules: &Rules,
    asked: &Asked<'_>,
    request: &RunRestoreTest,
) -> Result<Result<Option<String>, Refusal>, StoreError> {
    let Some(plan) = store::plan(tx, &request.name)? else {
        return Ok(Err(delete_restore_testing_plan::unknown(&request.name)));
    };
    runs::begin(tx, rules, &plan, asked.draw, asked.now)?;
    Ok(Ok(Some(asked.draw.id.to_string())))
}
