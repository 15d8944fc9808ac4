//! Make a restore testing plan with its selections, or replace the one of that name.

use job_events::PutRestoreTestingPlan;
use job_model::{RecoveryPointKind, RestoreTestingPlan};
use state_store::{StoreError, Tx};

use super::requests::Wish;
use super::restore_testing_plans::{check, full, keep};
use crate::runs::Rules;
use crate::speak::Refusal;
use crate::store::PlanRow;

pub(super) fn handle(
    tx: &mut Tx<'_>,
    rules: &Rules,
    wish: &Wish<'_>,
    request: PutRestoreTestingPlan,
) -> Result<Result<Option<String>, Refusal>, StoreError> {
    let before = wish.plan(tx, rules, &request.name)?;
    let plan = match accept(request, wish, before.as_ref()) {
        Ok(plan) => plan,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if before.is_none()
        && let Some(refusal) = full(tx, &plan)?
    {
        return Ok(Err(refusal));
    }
    let same_schedule = |row: &&PlanRow| row.plan.schedule == plan.schedule && row.plan.time_zone == plan.time_zone;
    let row = PlanRow {
        // Instants before a schedule was set are not its own, so they are not caught up.
        served_until: before.as_ref().filter(same_schedule).map_or(wish.now, |row| row.served_until),
        region: before.map_or_else(|| wish.region.clone(), |row| row.region),
        plan,
    };
    keep(tx, rules, &row, wish.now)?;
    Ok(Ok(Some(row.plan.name)))
}

/// The plan with AWS's defaults, checked.
fn accept(
    request: PutRestoreTestingPlan,
    wish: &Wish<'_>,
    before: Option<&PlanRow>,
) -> Result<RestoreTestingPlan, Refusal> {
    let known = before.map(|row| &row.plan);
    let plan = RestoreTestingPlan {
        name: request.name,
        schedule: request.schedule,
        time_zone: request.time_zone.unwrap_or_else(|| "UTC".to_owned()),
        start_window_hours: request.start_window_hours.unwrap_or(24),
        algorithm: request.algorithm,
        include_vaults: request.include_vaults,
        exclude_vaults: request.exclude_vaults,
        selection_window_days: request.selection_window_days.unwrap_or(30),
        selections: request.selections,
        updated_at: wish.now,
        account: known.map_or_else(|| wish.account.clone(), |plan| plan.account.clone()),
        region: known.map_or_else(|| wish.account.as_ref().map(|_| wish.region.clone()), |plan| plan.region.clone()),
        creator_request_id: known.map_or_else(|| wish.token.clone(), |plan| plan.creator_request_id.clone()),
        tags: known.map(|plan| plan.tags.clone()).unwrap_or_default(),
        created_at: known.map_or(Some(wish.now), |plan| plan.created_at),
        recovery_point_kinds: known.map_or_else(
            || vec![RecoveryPointKind::Snapshot, RecoveryPointKind::Continuous],
            |plan| plan.recovery_point_kinds.clone(),
        ),
        last_started_at: known.and_then(|plan| plan.last_started_at),
    };
    if plan.selections.is_empty() {
        let problem = "a plan that is put whole needs at least one selection";
        return Err(job_model::Invalid::missing("selections", problem).into());
    }
    check(&plan)?;
    Ok(plan)
}
