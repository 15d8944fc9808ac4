//! Selections of restore testing plans, one by one.

use job_events::{CreateRestoreTestingSelection, DeleteRestoreTestingSelection, UpdateRestoreTestingSelection};
use job_model::ProtectedResourceConditions;
use state_store::{StoreError, Tx};

use super::requests::Wish;
use super::restore_testing_plans::{check, keep, unknown};
use crate::runs::Rules;
use crate::speak::Refusal;

type Answer = Result<Result<Option<String>, Refusal>, StoreError>;

pub(super) fn create(
    tx: &mut Tx<'_>,
    rules: &Rules,
    wish: &Wish<'_>,
    request: CreateRestoreTestingSelection,
) -> Answer {
    let Some(mut row) = wish.plan(tx, rules, &request.plan)? else { return Ok(Err(unknown("plan", &request.plan))) };
    let mut selection = request.selection;
    if row.plan.selections.iter().any(|other| other.name == selection.name) {
        return Ok(Err(Refusal {
            code: "AlreadyExistsException",
            field: "selection.name".to_owned(),
            message: format!("`selection.name` `{}`: the plan has a selection of this name already", selection.name),
        }));
    }
    selection.creator_request_id = wish.token.clone();
    selection.created_at = Some(wish.now);
    selection.updated_at = Some(wish.now);
    let name = selection.name.clone();
    row.plan.selections.push(selection);
    if let Err(refusal) = check(&row.plan) {
        return Ok(Err(refusal));
    }
    keep(tx, rules, &row, wish.now)?;
    Ok(Ok(Some(name)))
}

pub(super) fn update(
    tx: &mut Tx<'_>,
    rules: &Rules,
    wish: &Wish<'_>,
    request: UpdateRestoreTestingSelection,
) -> Answer {
    let Some(mut row) = wish.plan(tx, rules, &request.plan)? else { return Ok(Err(unknown("plan", &request.plan))) };
    let Some(selection) = row.plan.selections.iter_mut().find(|selection| selection.name == request.name) else {
        return Ok(Err(unknown_selection(&request.name)));
    };
    if request.iam_role.is_some() {
        selection.iam_role = request.iam_role;
    }
    // Clients send an empty list of ARNs together with conditions, and an empty map: both mean "not given".
    if let Some(resources) = request.protected_resources.filter(|list| !list.is_empty()) {
        selection.protected_resources = resources;
    }
    if let Some(conditions) = request.conditions.filter(|given| *given != ProtectedResourceConditions::default()) {
        selection.conditions = conditions;
    }
    if let Some(overrides) = request.restore_metadata_overrides.filter(|map| !map.is_empty()) {
        selection.restore_metadata_overrides = overrides;
    }
    if let Some(hours) = request.validation_window_hours {
        selection.validation_window_hours = hours;
    }
    selection.updated_at = Some(wish.now);
    if let Err(refusal) = check(&row.plan) {
        return Ok(Err(refusal));
    }
    keep(tx, rules, &row, wish.now)?;
    Ok(Ok(Some(request.name)))
}

pub(super) fn delete(
    tx: &mut Tx<'_>,
    rules: &Rules,
    wish: &Wish<'_>,
    request: &DeleteRestoreTestingSelection,
) -> Answer {
    let Some(mut row) = wish.plan(tx, rules, &request.plan)? else { return Ok(Err(unknown("plan", &request.plan))) };
    let before = row.plan.selections.len();
    row.plan.selections.retain(|selection| selection.name != request.name);
    if row.plan.selections.len() == before {
        return Ok(Err(unknown_selection(&request.name)));
    }
    keep(tx, rules, &row, wish.now)?;
    Ok(Ok(Some(request.name.clone())))
}

fn unknown_selection(name: &str) -> Refusal {
    Refusal {
        code: "ResourceNotFoundException",
        field: "name".to_owned(),
        message: format!("`name` `{name}`: the plan has no selection of this name"),
    }
}
