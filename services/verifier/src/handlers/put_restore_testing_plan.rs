//! Make a restore testing plan, or replace the one of that name.

use job_events::{PutRestoreTestingPlan, RestoreTestingPlanChanged};
use job_model::{RestoreTestingPlan, validation};
use schedule::{Part, Schedule, ScheduleError};
use state_store::{StoreError, Tx};

use super::Asked;
use crate::runs::Rules;
use crate::speak::{Refusal, Saying};
use crate::store::{self, PlanRow};

/// AWS's quota of plans.
const PLANS_MAX: usize = 100;

pub(super) fn handle(
    tx: &mut Tx<'_>,
    rules: &Rules,
    asked: &Asked<'_>,
    request: PutRestoreTestingPlan,
) -> Result<Result<Option<String>, Refusal>, StoreError> {
    let plan = match accept(request, asked.now) {
        Ok(plan) => plan,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let before = store::plan(tx, &plan.name)?;
    if before.is_none() && store::all_plans(tx)?.len() >= PLANS_MAX {
        return Ok(Err(Refusal {
            code: validation::LIMIT_EXCEEDED,
            field: "name".to_owned(),
            message: format!("there are `{PLANS_MAX}` restore testing plans already; delete one first"),
        }));
    }
    let same_schedule = |row: &&PlanRow| row.plan.schedule == plan.schedule && row.plan.time_zone == plan.time_zone;
    let row = PlanRow {
        // Instants before a schedule was set are not its own, so they are not caught up.
        served_until: before.as_ref().filter(same_schedule).map_or(asked.now, |row| row.served_until),
        region: before.map_or_else(|| asked.region.clone(), |row| row.region),
        plan,
    };
    store::put_plan(tx, &row)?;
    let saying = Saying {
        region: &row.region,
        about: row.plan.name.clone(),
        run: None,
        subject: None,
        causation: None,
        traceparent: None,
    };
    rules.speaker.fact(tx, saying, &RestoreTestingPlanChanged { plan: row.plan.clone() }.into(), asked.now)?;
    Ok(Ok(Some(row.plan.name.clone())))
}

/// The plan with AWS's defaults, checked.
fn accept(request: PutRestoreTestingPlan, now: jiff::Timestamp) -> Result<RestoreTestingPlan, Refusal> {
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
        updated_at: now,
    };
    validation::restore_testing_plan(&plan)?;
    // The zone of a plan that only runs on request is checked with a schedule that is surely right.
    let expression = plan.schedule.as_deref().unwrap_or(schedule::DEFAULT_EXPRESSION);
    Schedule::parse(expression, &plan.time_zone).map_err(refuse_schedule)?;
    Ok(plan)
}

fn refuse_schedule(error: ScheduleError) -> Refusal {
    let field = if error.part == Part::TimeZone { "time_zone" } else { "schedule" };
    Refusal { code: validation::INVALID_PARAMETER_VALUE, field: field.to_owned(), message: error.to_string() }
}
