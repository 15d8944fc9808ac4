//! `create-plan`: a backup plan's first version.

use job_events::{CreatePlan, RuleInput};
use job_model::{BackupPlan, BackupRule, PlanId, RuleId, validation};
use schedule::Schedule;

use crate::decide::{Accepted, Refusal, Step};
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
    };
    check(step, &plan)?;
    let plans = step.state.current_plans();
    if plans.iter().any(|other| is_same(other, &plan)) {
        return Err(Refusal::exists(
            "",
            format!("a backup plan `{}` with the same plan document already exists", plan.name),
        ));
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
    };
    inputs.iter().map(rule).collect()
}

/// Whether a plan can be carried out.
pub(crate) fn check(step: &Step<'_>, plan: &BackupPlan) -> Result<(), Refusal> {
    validation::backup_plan(plan)?;
    for (number, rule) in plan.rules.iter().enumerate() {
        Schedule::parse(&rule.schedule, &rule.time_zone).map_err(|error| {
            let part = if error.part == schedule::Part::TimeZone { "time_zone" } else { "schedule" };
            Refusal::invalid(&format!("rules[{number}].{part}"), error.to_string())
        })?;
        if !step.state.vaults.contains(&rule.target_vault) {
            return Err(Refusal::not_found(
                &format!("rules[{number}].target_vault"),
                format!("vault `{}` does not exist; create it first", rule.target_vault),
            ));
        }
        for (place, action) in rule.copy_actions.iter().enumerate() {
            let field = format!("rules[{number}].copy_actions[{place}].destination_vault");
            if !step.state.vaults.contains(&action.destination_vault) {
                let text = format!("vault `{}` does not exist; create it first", action.destination_vault);
                return Err(Refusal::not_found(&field, text));
            }
            if action.destination_vault == rule.target_vault {
                return Err(Refusal::invalid(&field, "the rule's own vault; name another one"));
            }
        }
    }
    Ok(())
}

/// Whether two plans are the same document.
fn is_same(a: &BackupPlan, b: &BackupPlan) -> bool {
    let plain = |plan: &BackupPlan| -> Vec<BackupRule> {
        plan.rules.iter().cloned().map(|rule| BackupRule { id: RuleId::new(uuid::Uuid::nil()), ..rule }).collect()
    };
    a.name == b.name && plain(a) == plain(b)
}

/// A rule's schedule counts from now.
pub(crate) fn start_cursor(step: &mut Step<'_>, plan_id: PlanId, rule_id: RuleId) {
    let row = CursorRow { plan_id, rule_id, served_until: step.now };
    step.state.cursors.put((plan_id, rule_id), row);
}
