//! `create-selection`: which resources a plan protects.

use job_events::CreateSelection;
use job_model::{Selection, SelectionId, validation};

use crate::decide::{Accepted, Refusal, Step};

/// AWS's quota of selections of a plan.
const SELECTIONS_MAX: usize = 100;

pub(crate) fn handle(step: &mut Step<'_>, request: &CreateSelection) -> Result<Accepted, Refusal> {
    if step.plan(request.plan_id).is_none() {
        return Err(Refusal::invalid("plan_id", format!("Cannot find Backup plan with ID `{}`", request.plan_id)));
    }
    let selection = Selection {
        id: SelectionId::new(step.draw),
        plan_id: request.plan_id,
        name: request.name.clone(),
        resources: request.resources.clone(),
        not_resources: request.not_resources.clone(),
        list_of_tags: request.list_of_tags.clone(),
        conditions: request.conditions.clone(),
        created_at: step.now,
        iam_role: request.iam_role.clone(),
        creator_request_id: step.caller.token.clone(),
    };
    validation::selection(&selection)?;
    if let Some(other) = step.state.selections_of(request.plan_id).find(|other| other.name == request.name) {
        let token = other.creator_request_id.clone();
        let refusal = Refusal::exists("name", format!("the plan has a selection `{}` already", request.name));
        return Err(refusal.of(None, token));
    }
    if step.state.selections_of(request.plan_id).count() >= SELECTIONS_MAX {
        return Err(Refusal::limit("", format!("the plan has {SELECTIONS_MAX} selections already; delete one first")));
    }
    let id = selection.id;
    step.state.selections.put(id, selection);
    Ok(Accepted::result(id))
}
