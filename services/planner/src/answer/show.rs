//! One thing, whole.

use job_events::{Answer, HeldPoint, HeldPoints};
use job_model::{
    AccountId, Arn, GlobalSettings, LegalHoldId, PlanId, Region, RegionSettings, ReportJobId, SelectionId,
    restore_metadata,
};

use crate::answer::{not_found, refused};
use crate::decide::Settings;
use crate::handlers::tags_of;
use crate::state::State;

/// Recovery points in a page at most, and unless the query says less.
const POINTS_MAX: u32 = 1000;
/// Versions in a list at most: each has at most ten rules, so that they fit into one message.
const VERSIONS_MAX: usize = 50;

/// One vault.
pub(super) fn vault(state: &State, arn: &Arn) -> Answer {
    match state.vaults.get(arn) {
        Some(vault) => Answer::Vault(Box::new(vault.clone())),
        None => not_found("vault", format!("vault `{arn}` does not exist")),
    }
}

/// One resource.
pub(super) fn resource(state: &State, arn: &Arn) -> Answer {
    match state.resources.get(arn) {
        Some(resource) => Answer::Resource(Box::new(resource.clone())),
        None => not_found("resource", format!("resource `{arn}` is not registered")),
    }
}

/// One plan, or one version of it.
pub(super) fn plan(state: &State, id: PlanId, version: Option<u32>) -> Answer {
    let row = match version {
        Some(version) => state.plans.get(&(id, version)),
        None => state.newest_version(id).filter(|row| row.deleted_at.is_none()),
    };
    match row {
        Some(row) => Answer::Plan(Box::new(row.shown())),
        None => not_found("plan_id", format!("Cannot find Backup plan with ID `{id}`")),
    }
}

/// The versions of a plan, newest first.
pub(super) fn plan_versions(state: &State, id: PlanId, before: Option<u32>) -> Answer {
    let mut plans: Vec<_> = state
        .plan_versions(id)
        .filter(|row| before.is_none_or(|before| row.plan.version < before))
        .map(crate::state::PlanRow::shown)
        .collect();
    if plans.is_empty() && before.is_none() {
        return not_found("plan_id", format!("Cannot find Backup plan with ID `{id}`"));
    }
    plans.reverse();
    plans.truncate(VERSIONS_MAX);
    Answer::Plans(plans)
}

/// One selection.
pub(super) fn selection(state: &State, plan: PlanId, id: SelectionId) -> Answer {
    match state.selections.get(&id).filter(|selection| selection.plan_id == plan) {
        Some(selection) => Answer::Selection(Box::new(selection.clone())),
        None => {
            let text = format!("Cannot find Backup plan selection `{id}` of plan `{plan}`");
            refused("InvalidParameterValueException", "selection_id", text)
        }
    }
}

/// Metadata to restore a recovery point with.
pub(super) fn metadata(state: &State, arn: &Arn) -> Answer {
    let Some(row) = state.points.get(arn) else {
        return not_found("recovery_point", format!("recovery point `{arn}` does not exist"));
    };
    // Of a resource that is no longer registered nobody knows where it lay.
    let location = state.resources.get(&row.point.resource).map(|resource| resource.location.as_str());
    let fallback = format!("file:///{}", row.point.resource.resource().replace([':', '/'], "-"));
    Answer::Metadata(restore_metadata::of_point(&row.point, location.unwrap_or(&fallback)))
}

/// The tags of something.
pub(super) fn tags(state: &State, settings: &Settings, arn: &Arn) -> Answer {
    match tags_of(state, arn, settings.account.as_str()) {
        Some(tags) => Answer::Tags(tags),
        None => not_found("arn", format!("nothing that has tags is called `{arn}`")),
    }
}

/// One legal hold.
pub(super) fn legal_hold(state: &State, id: LegalHoldId) -> Answer {
    match state.holds.get(&id) {
        Some(hold) => Answer::LegalHold(Box::new(hold.clone())),
        None => not_found("id", format!("legal hold `{id}` does not exist")),
    }
}

/// The recovery points a legal hold is about, by ARN.
pub(super) fn held_points(state: &State, id: LegalHoldId, after: Option<&str>, limit: Option<u32>) -> Answer {
    let Some(hold) = state.holds.get(&id) else {
        return not_found("id", format!("legal hold `{id}` does not exist"));
    };
    let limit = limit.unwrap_or(POINTS_MAX);
    if !(1..=POINTS_MAX).contains(&limit) {
        return refused("InvalidParameterValueException", "limit", format!("`{limit}` is not 1 to {POINTS_MAX}"));
    }
    let begin: Option<Arn> = match after.map(str::parse) {
        None => None,
        Some(Ok(arn)) => Some(arn),
        Some(Err(_)) => {
            return refused("InvalidParameterValueException", "after", "not the `next` of a page before".to_owned());
        }
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut selected = state.points.after(begin).map(|(_, row)| &row.point).filter(|point| hold.selects(point));
    let points: Vec<HeldPoint> = selected
        .by_ref()
        .take(limit)
        .map(|point| HeldPoint {
            recovery_point: point.arn.clone(),
            id: point.id,
            resource: point.resource.clone(),
            resource_type: point.resource_type,
            vault: point.vault.clone(),
        })
        .collect();
    let more = selected.next().is_some();
    let next = points.last().filter(|_| more).map(|point| point.recovery_point.to_string());
    Answer::HeldRecoveryPoints(HeldPoints { points, next })
}

/// The settings of an account, those it never changed included.
pub(super) fn settings(state: &State, account: &AccountId, region: &Region) -> Answer {
    let of_region = state.region_settings.get(&(account.clone(), region.clone())).cloned();
    let global = state.global_settings.get(account).cloned();
    Answer::Settings {
        region: of_region.unwrap_or_else(|| RegionSettings::new(account.clone(), region.clone())),
        global: global.unwrap_or_else(|| GlobalSettings::new(account.clone())),
    }
}

/// One report plan.
pub(super) fn report_plan(state: &State, account: &AccountId, region: &Region, name: &str) -> Answer {
    match state.report_plans.get(&(account.clone(), region.clone(), name.to_owned())) {
        Some(plan) => Answer::ReportPlan(Box::new(plan.clone())),
        None => not_found("name", format!("report plan `{name}` does not exist")),
    }
}

/// One report job.
pub(super) fn report_job(state: &State, id: ReportJobId) -> Answer {
    match state.report_jobs.get(&id) {
        Some(job) => Answer::ReportJob(Box::new(job.clone())),
        None => not_found("id", format!("report job `{id}` does not exist; old ones are forgotten after 30 days")),
    }
}
