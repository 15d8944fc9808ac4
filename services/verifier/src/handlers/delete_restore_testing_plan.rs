//! Delete a restore testing plan. Its runs and their verdicts stay; a run that is under way ends as it would have.

use job_events::{DeleteRestoreTestingPlan, RestoreTestingPlanRemoved};
use state_store::{StoreError, Tx};

use super::requests::Wish;
use super::restore_testing_plans::{about, unknown};
use crate::runs::Rules;
use crate::speak::Refusal;
use crate::store::{self, PlanKey};

pub(super) fn handle(
    tx: &mut Tx<'_>,
    rules: &Rules,
    wish: &Wish<'_>,
    request: &DeleteRestoreTestingPlan,
) -> Result<Result<Option<String>, Refusal>, StoreError> {
    let Some(row) = wish.plan(tx, rules, &request.name)? else {
        return Ok(Err(unknown("name", &request.name)));
    };
    if request.only_empty && !row.plan.selections.is_empty() {
        return Ok(Err(Refusal {
            code: job_model::validation::INVALID_REQUEST,
            field: "name".to_owned(),
            message: format!("`name` `{}`: the plan has selections; delete them first", request.name),
        }));
    }
    store::delete_plan(tx, &PlanKey::of(&row))?;
    let region = row.plan.region.clone().unwrap_or_else(|| row.region.clone());
    let fact = RestoreTestingPlanRemoved { account: row.plan.account.clone(), region, name: row.plan.name.clone() };
    rules.speaker.fact(tx, about(&row), &fact.into(), wish.now)?;
    Ok(Ok(Some(request.name.clone())))
}
