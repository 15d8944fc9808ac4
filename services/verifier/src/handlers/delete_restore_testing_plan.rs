//! Delete a restore testing plan. Its runs and their verdicts stay; a run that is under way ends as it would have.

use job_events::DeleteRestoreTestingPlan;
use state_store::{StoreError, Tx};

use crate::speak::Refusal;
use crate::store;

pub(super) fn handle(
    tx: &mut Tx<'_>,
    request: &DeleteRestoreTestingPlan,
) -> Result<Result<Option<String>, Refusal>, StoreError> {
    if store::plan(tx, &request.name)?.is_none() {
        return Ok(Err(unknown(&request.name)));
    }
    store::delete_plan(tx, &request.name)?;
    Ok(Ok(Some(request.name.clone())))
}

/// No plan of that name.
pub(super) fn unknown(name: &str) -> Refusal {
    Refusal {
        code: "ResourceNotFoundException",
        field: "name".to_owned(),
        message: format!("`name` `{name}`: no restore testing plan has this name; list them and correct it"),
    }
}
