//! `delete-selection`: a plan no longer protects what the selection takes.

use job_events::DeleteSelection;

use crate::decide::{Accepted, Refusal, Step};

pub(crate) fn handle(step: &mut Step<'_>, request: &DeleteSelection) -> Result<Accepted, Refusal> {
    let known = step.plan(request.plan_id).is_some()
        && step.state.selections.get(&request.selection_id).is_some_and(|s| s.plan_id == request.plan_id);
    if !known {
        return Err(Refusal::not_found(
            "selection_id",
            format!("plan `{}` has no selection `{}`", request.plan_id, request.selection_id),
        ));
    }
    step.state.retain_soon();
    step.state.selections.remove(&request.selection_id);
    Ok(Accepted::result(request.selection_id))
}
