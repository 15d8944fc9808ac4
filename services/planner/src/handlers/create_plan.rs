//! `create-plan`: a backup plan's first version.

use job_events::{CreatePlan, RuleInput};
use job_model::{BackupPlan, BackupRule, Lifecycle, PlanId, RuleId, Vault, validation};
use schedule::Schedule;

use crate::decide::{Accepted, Refusal, Step, cold, scope, strict};
use crate::state::{CursorRow, PlanRow};

/// AWS's quota of plans.
const PLANS_MAX: usize = 300;
/// Minutes of a start window that is not given: AWS's eight hours.
pub(crate) const START_WINDOW_MINUTES: u32 = 480;
/// Minutes of a completion window that is not given: AWS's seven days.
pub(crate) const COMPLETION_WINDOW_MINUTES: u32 = 10_080;

pub(crate) fn handle(step: &mut Step<'_>, request: &CreatePlan) -> Result<Accepted, Refusal> {
    let id = PlanId::new(step.draw);
    let plan = BackupPlan {
        id,
        name: request.name.clone(),
        version: 1,
        rules: rules(id, &request.rules, &[]),
        created_at: step.now,
        updated_at: step.now,
        account: step.caller.account.clone(),
        region: step.caller.account.as_ref().and(step.caller.region.clone()),
        creator_request_id: step.caller.token.clone(),
        tags: request.tags.clone(),
        advanced_settings: request.advanced_settings.clone(),
        deleted_at: None,
        last_run_at: None,
    };
    scope::check_tags("tags", &plan.tags)?;
    check(step, &plan)?;
    let plans: Vec<&BackupPlan> = step
        .state
        .current_plans()
        .into_iter()
        .filter(|other| other.account == plan.account && other.region == plan.region)
        .collect();
    if let Some(same) = plans.iter().find(|other| is_same(other, &plan)) {
        let text = format!("a backup plan `{}` with the same plan document already exists", plan.name);
        let arn = step.settings.regions.first().and_then(|region| same.arn(region, &step.settings.account).ok());
        return Err(Refusal::exists("", text).of(arn, same.creator_request_id.clone()));
    }
    if plans.len() >= PLANS_MAX {
        return Err(Refusal::limit("", format!("there are {PLANS_MAX} plans already; delete one first")));
    }
    for rule in &plan.rules {
        start_cursor(step, id, rule.id);
    }
    step.state.plans.put((id, 1), PlanRow { plan, deleted_at: None });
    Ok(Accepted::result(id))
}

/// The rules of a plan: what is absent gets AWS's defaults; a rule keeps its id over updates as long as its name stays.
pub(crate) fn rules(plan: PlanId, inputs: &[RuleInput], before: &[BackupRule]) -> Vec<BackupRule> {
    let rule = |input: &RuleInput| BackupRule {
        id: before
            .iter()
            .find(|rule| rule.name == input.name)
            .map_or_else(|| RuleId::new(plan.derive(&format!("rule-{}", input.name))), |rule| rule.id),
        name: input.name.clone(),
        target_vault: input.target_vault.clone(),
        schedule: input.schedule.clone().unwrap_or_else(|| schedule::DEFAULT_EXPRESSION.to_owned()),
        time_zone: input.time_zone.clone().unwrap_or_else(|| "UTC".to_owned()),
        start_window_minutes: input.start_window_minutes.unwrap_or(START_WINDOW_MINUTES),
        completion_window_minutes: input.completion_window_minutes.unwrap_or(COMPLETION_WINDOW_MINUTES),
        lifecycle: input.lifecycle,
        generations: input.generations,
        copy_actions: input.copy_actions.clone(),
        recovery_point_tags: input.recovery_point_tags.clone(),
        enable_continuous: input.enable_continuous,
    };
    inputs.iter().map(rule).collect()
}

/// Whether a plan can be carried out.
pub(crate) fn check(step: &Step<'_>, plan: &BackupPlan) -> Result<(), Refusal> {
    validation::backup_plan(plan)?;
    validation::advanced_settings(&plan.advanced_settings)?;
    for (number, rule) in plan.rules.iter().enumerate() {
        Schedule::parse(&rule.schedule, &rule.time_zone).map_err(|error| {
            let part = if error.part == schedule::Part::TimeZone { "time_zone" } else { "schedule" };
            Refusal::invalid(&format!("rules[{number}].{part}"), error.to_string())
        })?;
        strict::rule(step.settings, &format!("rules[{number}]"), rule)?;
        let target = step.vault(&format!("rules[{number}].target_vault"), &rule.target_vault)?;
        if let Some(region) = plan.region.as_ref().filter(|region| **region != target.region) {
            let text = format!("vault `{}` is in `{}`, and the plan in `{region}`", target.name, target.region);
            return Err(Refusal::invalid(&format!("rules[{number}].target_vault"), text));
        }
        takes_cold(step, target, &format!("rules[{number}]"), &rule.lifecycle)?;
        for (place, action) in rule.copy_actions.iter().enumerate() {
            let copy = format!("rules[{number}].copy_actions[{place}]");
            let field = format!("{copy}.destination_vault");
            let destination = step.may_copy_into(&field, rule.target_vault.account(), &action.destination_vault)?;
            takes_cold(step, destination, &copy, &action.lifecycle)?;
            if action.destination_vault == rule.target_vault {
                return Err(Refusal::invalid(&field, "the rule's own vault; name another one"));
            }
        }
    }
    Ok(())
}

/// Whether a vault has the cold storage that a lifecycle wants.
fn takes_cold(step: &Step<'_>, vault: &Vault, path: &str, lifecycle: &Lifecycle) -> Result<(), Refusal> {
    match cold::refused(step.settings, vault, lifecycle) {
        Some(why) => Err(Refusal::invalid(&format!("{path}.lifecycle.move_to_cold_after_days"), why)),
        None => Ok(()),
    }
}

/// Whether two plans are the same document.
fn is_same(a: &BackupPlan, b: &BackupPlan) -> bool {
    let plain = |plan: &BackupPlan| -> Vec<BackupRule> {
        plan.rules.iter().cloned().map(|rule| BackupRule { id: RuleId::new(uuid::Uuid::nil()), ..rule }).collect()
    };
    a.name == b.name && a.advanced_settings == b.advanced_settings && plain(a) == plain(b)
}

/// A rule's schedule counts from now.
pub(crate) fn start_cursor(step: &mut Step<'_>, plan_id: PlanId, rule_id: RuleId) {
    let row = CursorRow { plan_id, rule_id, served_until: step.now };
    step.state.cursors.put((plan_id, rule_id), row);
}
