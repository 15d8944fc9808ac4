//! `change-tags`: tags of whatever has some. Tags of resources are what selections look at.

use std::collections::BTreeMap;

use job_events::ChangeTags;
use job_model::{Arn, LegalHoldId, PlanId};

use crate::decide::scope::check_tags;
use crate::decide::{Accepted, Refusal, Step};
use crate::state::{PlanRow, State};

pub(crate) fn handle(step: &mut Step<'_>, request: &ChangeTags) -> Result<Accepted, Refusal> {
    let arn = &request.arn;
    let unknown = || Refusal::not_found("arn", format!("nothing that has tags is called `{arn}`"));
    let thing = find(step.state, arn, step.settings.account.as_str())
        .filter(|thing| step.sees(&thing.account))
        .ok_or_else(unknown)?;
    let mut tags = thing.tags;
    for key in &request.remove {
        tags.remove(key);
    }
    tags.extend(request.set.clone());
    for (key, value) in &request.set {
        job_model::validation::tag(&format!("set.{key}"), key, value)?;
    }
    check_tags("set", &tags)?;
    put(step.state, thing.key, tags);
    Ok(Accepted::result(arn))
}

/// Tags of a thing, and whose they are.
#[derive(Clone, Debug)]
pub(crate) struct Tagged {
    key: Key,
    /// The account it belongs to.
    pub(crate) account: String,
    /// Its tags.
    pub(crate) tags: BTreeMap<String, String>,
}

/// Where the tags are kept.
#[derive(Clone, Debug)]
enum Key {
    Vault(Arn),
    Point(Arn),
    Resource(Arn),
    Plan(PlanId, u32),
    Hold(LegalHoldId),
    ReportPlan((job_model::AccountId, job_model::Region, String)),
}

/// The thing an ARN names, if it is one that has tags.
pub(crate) fn find(state: &State, arn: &Arn, own: &str) -> Option<Tagged> {
    let account = arn.account().to_owned();
    if arn.service() != "backup" {
        let resource = state.resources.get(arn)?;
        let named = resource.arn.account();
        let whose = resource.account.as_ref().map_or(own, |account| account.as_str());
        let account = if named.is_empty() { whose } else { named };
        return Some(Tagged {
            key: Key::Resource(arn.clone()),
            account: account.to_owned(),
            tags: resource.tags.clone(),
        });
    }
    let (kind, rest) = arn.resource().split_once(':')?;
    match kind {
        "backup-vault" => {
            let tags = state.vaults.get(arn)?.tags.clone();
            Some(Tagged { key: Key::Vault(arn.clone()), account, tags })
        }
        "recovery-point" => {
            let tags = state.points.get(arn)?.point.tags.clone();
            Some(Tagged { key: Key::Point(arn.clone()), account, tags })
        }
        "backup-plan" => {
            let plan = state.current_plan(rest.parse().ok()?)?;
            let whose = plan.account.as_ref().map_or(own, |account| account.as_str());
            (whose == account).then(|| Tagged {
                key: Key::Plan(plan.id, plan.version),
                account: account.clone(),
                tags: plan.tags.clone(),
            })
        }
        "legal-hold" => {
            let hold = state.holds.get(&rest.parse().ok()?)?;
            (hold.account.as_str() == account).then(|| Tagged {
                key: Key::Hold(hold.id),
                account: account.clone(),
                tags: hold.tags.clone(),
            })
        }
        "report-plan" => {
            let key = (account.parse().ok()?, arn.region().parse().ok()?, rest.to_owned());
            let tags = state.report_plans.get(&key)?.tags.clone();
            Some(Tagged { key: Key::ReportPlan(key), account, tags })
        }
        _ => None,
    }
}

fn put(state: &mut State, key: Key, tags: BTreeMap<String, String>) {
    match key {
        Key::Vault(arn) => {
            if let Some(mut row) = state.vaults.get(&arn).cloned() {
                row.tags = tags;
                state.vaults.put(arn, row);
            }
        }
        Key::Point(arn) => {
            if let Some(mut row) = state.points.get(&arn).cloned() {
                row.point.tags = tags;
                state.points.put(arn, row);
            }
        }
        Key::Resource(arn) => {
            if let Some(mut row) = state.resources.get(&arn).cloned() {
                row.tags = tags;
                // What a plan protects may be another set now.
                state.retain_soon();
                state.resources.put(arn, row);
            }
        }
        Key::Plan(id, version) => {
            if let Some(mut plan) = state.current_plan(id).cloned() {
                plan.tags = tags;
                state.plans.put((id, version), PlanRow { plan, deleted_at: None });
            }
        }
        Key::Hold(id) => {
            if let Some(mut row) = state.holds.get(&id).cloned() {
                row.tags = tags;
                state.holds.put(id, row);
            }
        }
        Key::ReportPlan(key) => {
            if let Some(mut row) = state.report_plans.get(&key).cloned() {
                row.tags = tags;
                state.report_plans.put(key, row);
            }
        }
    }
}
