//! Restore testing plans as the AWS Backup API has them: made without selections, changed member by member.

use job_events::{CreateRestoreTestingPlan, RestoreTestingPlanChanged, UpdateRestoreTestingPlan};
use job_model::{RestoreTestingPlan, validation};
use schedule::{Part, Schedule, ScheduleError};
use state_store::{StoreError, Tx};

use super::requests::Wish;
use crate::runs::Rules;
use crate::speak::{Refusal, Saying};
use crate::store::{self, PlanRow};

/// AWS's quota of plans of an account in a region.
pub(super) const PLANS_MAX: usize = 100;

pub(super) fn create(
    tx: &mut Tx<'_>,
    rules: &Rules,
    wish: &Wish<'_>,
    request: CreateRestoreTestingPlan,
) -> Result<Result<Option<String>, Refusal>, StoreError> {
    let plan = RestoreTestingPlan {
        name: request.name,
        schedule: Some(request.schedule),
        time_zone: request.time_zone.unwrap_or_else(|| "UTC".to_owned()),
        start_window_hours: request.start_window_hours.unwrap_or(24),
        algorithm: request.algorithm,
        include_vaults: request.include_vaults,
        exclude_vaults: request.exclude_vaults,
        selection_window_days: request.selection_window_days.unwrap_or(30),
        selections: Vec::new(),
        updated_at: wish.now,
        account: wish.account.clone(),
        region: wish.account.as_ref().map(|_| wish.region.clone()),
        creator_request_id: wish.token.clone(),
        tags: request.tags,
        created_at: Some(wish.now),
        recovery_point_kinds: request.recovery_point_kinds,
        last_started_at: None,
    };
    if let Err(refusal) = check(&plan) {
        return Ok(Err(refusal));
    }
    for (key, value) in &plan.tags {
        if let Err(invalid) = validation::tag(&format!("tags.{key}"), key, value) {
            return Ok(Err(invalid.into()));
        }
    }
    if wish.plan(tx, rules, &plan.name)?.is_some() {
        return Ok(Err(Refusal {
            code: "AlreadyExistsException",
            field: "name".to_owned(),
            message: format!("`name` `{}`: there is a restore testing plan of this name already", plan.name),
        }));
    }
    if let Some(refusal) = full(tx, &plan)? {
        return Ok(Err(refusal));
    }
    let row = PlanRow { plan, region: wish.region.clone(), served_until: wish.now };
    keep(tx, rules, &row, wish.now)?;
    Ok(Ok(Some(name_of(rules, &row))))
}

pub(super) fn update(
    tx: &mut Tx<'_>,
    rules: &Rules,
    wish: &Wish<'_>,
    request: UpdateRestoreTestingPlan,
) -> Result<Result<Option<String>, Refusal>, StoreError> {
    let Some(mut row) = wish.plan(tx, rules, &request.name)? else {
        return Ok(Err(unknown("name", &request.name)));
    };
    let before = (row.plan.schedule.clone(), row.plan.time_zone.clone());
    let plan = &mut row.plan;
    if request.schedule.is_some() {
        plan.schedule = request.schedule;
    }
    take(&mut plan.time_zone, request.time_zone);
    take(&mut plan.start_window_hours, request.start_window_hours);
    take(&mut plan.algorithm, request.algorithm);
    take(&mut plan.recovery_point_kinds, request.recovery_point_kinds);
    take(&mut plan.include_vaults, request.include_vaults);
    take(&mut plan.exclude_vaults, request.exclude_vaults);
    take(&mut plan.selection_window_days, request.selection_window_days);
    plan.updated_at = wish.now;
    if let Err(refusal) = check(plan) {
        return Ok(Err(refusal));
    }
    if before != (plan.schedule.clone(), plan.time_zone.clone()) {
        // Instants before a schedule was set are not its own, so they are not caught up.
        row.served_until = wish.now;
    }
    keep(tx, rules, &row, wish.now)?;
    Ok(Ok(Some(name_of(rules, &row))))
}

fn take<T>(slot: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *slot = given;
    }
}

/// Whether a plan can be carried out.
pub(super) fn check(plan: &RestoreTestingPlan) -> Result<(), Refusal> {
    validation::restore_testing_plan(plan)?;
    // The zone of a plan that only runs on request is checked with a schedule that is surely right.
    let expression = plan.schedule.as_deref().unwrap_or(schedule::DEFAULT_EXPRESSION);
    Schedule::parse(expression, &plan.time_zone).map(|_schedule| ()).map_err(refuse_schedule)
}

fn refuse_schedule(error: ScheduleError) -> Refusal {
    let field = if error.part == Part::TimeZone { "time_zone" } else { "schedule" };
    Refusal { code: validation::INVALID_PARAMETER_VALUE, field: field.to_owned(), message: error.to_string() }
}

/// Whether the account has as many plans in the region as there may be.
pub(super) fn full(tx: &Tx<'_>, plan: &RestoreTestingPlan) -> Result<Option<Refusal>, StoreError> {
    let others = store::all_plans(tx)?;
    let count = others.iter().filter(|row| row.plan.account == plan.account && row.plan.region == plan.region).count();
    Ok((count >= PLANS_MAX).then(|| Refusal {
        code: validation::LIMIT_EXCEEDED,
        field: "name".to_owned(),
        message: format!("there are `{PLANS_MAX}` restore testing plans already; delete one first"),
    }))
}

/// Stores a plan and tells of it.
pub(super) fn keep(tx: &mut Tx<'_>, rules: &Rules, row: &PlanRow, now: jiff::Timestamp) -> Result<(), StoreError> {
    store::put_plan(tx, row)?;
    rules.speaker.fact(tx, about(row), &RestoreTestingPlanChanged { plan: row.plan.clone() }.into(), now)
}

/// What stands around a fact about a plan.
pub(super) fn about(row: &PlanRow) -> Saying<'_> {
    Saying {
        region: &row.region,
        about: row.plan.name.clone(),
        run: None,
        subject: None,
        causation: None,
        traceparent: None,
    }
}

/// The ARN of a plan; its name where region and account make none.
pub(super) fn name_of(rules: &Rules, row: &PlanRow) -> String {
    row.plan.arn(&row.region, &rules.account).map_or_else(|_| row.plan.name.clone(), |arn| arn.to_string())
}

/// No plan of that name.
pub(super) fn unknown(field: &str, name: &str) -> Refusal {
    Refusal {
        code: "ResourceNotFoundException",
        field: field.to_owned(),
        message: format!("`{field}` `{name}`: no restore testing plan has this name; list them and correct it"),
    }
}
