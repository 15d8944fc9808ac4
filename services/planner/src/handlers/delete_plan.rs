//! `delete-plan`: a plan without selections ends; its versions stay readable for the jobs they made.

use job_events::DeletePlan;

use crate::decide::{Accepted, Refusal, Step};
use crate::state::PlanRow;

pub(crate) fn handle(step: &mut Step<'_>, request: &DeletePlan) -> Result<Accepted, Refusal> {
    let Some(plan) = step.plan(request.plan_id).cloned() else {
        return Err(Refusal::not_found("plan_id", format!("Cannot find Backup plan with ID `{}`", request.plan_id)));
    };
    if step.state.selections_of(plan.id).next().is_some() {
        return Err(Refusal::request(
            "plan_id",
            format!(
                "Related backup plan selections must be deleted prior to backup plan deletion (plan `{}`)",
                plan.name
            ),
        ));
    }
    for rule in &plan.rules {
        step.state.cursors.remove(&(plan.id, rule.id));
    }
    step.state.retain_soon();
    step.state.plans.put((plan.id, plan.version), PlanRow { plan, deleted_at: Some(step.now) });
    Ok(Accepted::result(request.plan_id))
}
