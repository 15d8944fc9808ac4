//! `update-plan`: a new version; older ones stay, because jobs and recovery points refer to them.

use job_events::UpdatePlan;
use job_model::{BackupPlan, RuleId};

use crate::decide::{Accepted, Refusal, Step};
use crate::handlers::create_plan::{check, rules, start_cursor};
use crate::state::PlanRow;

/// AWS's quota of versions of a plan.
const VERSIONS_MAX: u32 = 2000;

pub(crate) fn handle(step: &mut Step<'_>, request: &UpdatePlan) -> Result<Accepted, Refusal> {
    let Some(before) = step.plan(request.plan_id).cloned() else {
        return Err(Refusal::not_found("plan_id", format!("Cannot find Backup plan with ID `{}`", request.plan_id)));
    };
    let plan = BackupPlan {
        id: before.id,
        name: request.name.clone(),
        version: before.version + 1,
        rules: rules(before.id, &request.rules, &before.rules),
        created_at: before.created_at,
        updated_at: step.now,
        account: before.account.clone(),
        region: before.region.clone(),
        creator_request_id: before.creator_request_id.clone(),
        tags: before.tags.clone(),
        advanced_settings: request.advanced_settings.clone(),
        deleted_at: None,
        last_run_at: before.last_run_at,
    };
    check(step, &plan)?;
    if plan.version > VERSIONS_MAX {
        return Err(Refusal::limit("", format!("the plan has {VERSIONS_MAX} versions; create a new plan")));
    }
    let kept: Vec<RuleId> = plan.rules.iter().map(|rule| rule.id).collect();
    for rule in before.rules.iter().filter(|rule| !kept.contains(&rule.id)) {
        step.state.cursors.remove(&(plan.id, rule.id));
    }
    for rule in &plan.rules {
        // A schedule that did not change goes on where it is: an update must not swallow a run that is due.
        let goes_on = before
            .rules
            .iter()
            .any(|old| old.id == rule.id && old.schedule == rule.schedule && old.time_zone == rule.time_zone);
        if !goes_on {
            start_cursor(step, plan.id, rule.id);
        }
    }
    step.state.retain_soon();
    step.state.plans.put((plan.id, plan.version), PlanRow { plan, deleted_at: None });
    Ok(Accepted::result(before.id))
}
