//! Scheduled runs: which are due, and what a run makes.

use jiff::{SignedDuration, Timestamp};
use job_events::RunMissed;
use job_model::{
    AccountId, Arn, BackupPlan, BackupRule, CreatedBy, Job, JobDetail, JobId, JobKind, JobState, MessageCategory,
    PlanId, Progress, RecoveryPointId, Resource, RuleId, Selection,
};
use schedule::{Schedule, spread};

use crate::decide::continuous::{self, Wish};
use crate::decide::{Step, points};
use crate::state::{CursorRow, JobRow, PlanRow, State};
use crate::windows::windows;

/// A rule whose schedule has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Firing {
    /// The plan.
    pub(crate) plan_id: PlanId,
    /// The rule.
    pub(crate) rule_id: RuleId,
    /// Its name, for the span.
    pub(crate) rule_name: String,
    /// The instant of the schedule that runs now.
    pub(crate) at: Timestamp,
    /// Earlier instants that came and will never run.
    pub(crate) missed: u32,
}

/// The rules whose schedule has come, in order of their instants.
pub(crate) fn due(state: &State, now: Timestamp) -> Vec<Firing> {
    let mut due: Vec<Firing> = Vec::new();
    for (plan, rule) in rules(state) {
        let Some(cursor) = state.cursors.get(&(plan.id, rule.id)) else { continue };
        let Ok(schedule) = Schedule::parse(&rule.schedule, &rule.time_zone) else { continue };
        let Some(come) = schedule.due_since(cursor.served_until, now) else { continue };
        due.push(Firing {
            plan_id: plan.id,
            rule_id: rule.id,
            rule_name: rule.name.clone(),
            at: come.at,
            missed: come.missed(),
        });
    }
    due.sort_by_key(|firing| (firing.at, firing.plan_id, firing.rule_id));
    due
}

/// The next instant at which a schedule comes.
pub(crate) fn next_instant(state: &State) -> Option<Timestamp> {
    rules(state)
        .filter_map(|(plan, rule)| {
            let cursor = state.cursors.get(&(plan.id, rule.id))?;
            Schedule::parse(&rule.schedule, &rule.time_zone).ok()?.next_after(cursor.served_until)
        })
        .min()
}

fn rules(state: &State) -> impl Iterator<Item = (&BackupPlan, &BackupRule)> {
    state.current_plans().into_iter().flat_map(|plan| plan.rules.iter().map(move |rule| (plan, rule)))
}

/// Runs a rule: one backup job for every resource its plan selects.
pub(crate) fn fire(step: &mut Step<'_>, firing: &Firing) {
    let Some(plan) = step.state.current_plan(firing.plan_id).cloned() else { return };
    let Some(rule) = plan.rules.iter().find(|rule| rule.id == firing.rule_id).cloned() else { return };
    let key = (plan.id, rule.id);
    if step.state.cursors.get(&key).is_none_or(|cursor| cursor.served_until >= firing.at) {
        return;
    }
    step.state.cursors.put(key, CursorRow { plan_id: plan.id, rule_id: rule.id, served_until: firing.at });
    let mut newest = plan.clone();
    newest.last_run_at = Some(firing.at);
    step.state.plans.put((plan.id, plan.version), PlanRow { plan: newest, deleted_at: None });
    let taken: Vec<(Resource, Option<String>)> = selected(step.state, &step.settings.account, &plan)
        .into_iter()
        .map(|(resource, selection)| (resource.clone(), selection.iam_role.clone()))
        .collect();
    for (resource, iam_role) in taken {
        if !is_for(step.state, &plan, &rule, &resource) {
            continue;
        }
        let created_by = CreatedBy {
            plan_id: plan.id,
            plan_version: plan.version,
            rule_id: rule.id,
            rule_name: rule.name.clone(),
            plan_name: Some(plan.name.clone()),
            rule_schedule: Some(rule.schedule.clone()),
            rule_time_zone: Some(rule.time_zone.clone()),
        };
        run(step, firing, &rule, created_by, &resource, iam_role);
    }
}

/// The resources a plan protects, each with the selection that takes it.
pub(crate) fn selected<'s>(state: &'s State, own: &AccountId, plan: &BackupPlan) -> Vec<(&'s Resource, &'s Selection)> {
    let selections: Vec<&Selection> = state.selections_of(plan.id).collect();
    let taking = |resource: &'s Resource| {
        let selection = selections.iter().find(|s| takes(state, own, plan, s, resource))?;
        Some((resource, *selection))
    };
    state.resources.values().filter_map(taking).collect()
}

/// Whether a selection of a plan takes a resource: of the plan's account and region, and of a type that the account's
/// settings let it take without naming it.
pub(crate) fn takes(
    state: &State,
    own: &AccountId,
    plan: &BackupPlan,
    selection: &Selection,
    resource: &Resource,
) -> bool {
    let account = resource.account_or(own);
    let is_ours = plan.account.as_ref().is_none_or(|plan| plan.as_str() == account)
        && plan.region.as_ref().is_none_or(|region| *region == resource.region);
    if !is_ours {
        return false;
    }
    let settings = account.parse().ok().map(|account| (account, resource.region.clone()));
    let opted_in = settings
        .and_then(|key| state.region_settings.get(&key))
        .is_none_or(|settings| settings.takes(resource.resource_type));
    job_model::selection_takes_with(selection, resource, opted_in)
}

/// Whether any plan selects the resource.
pub(crate) fn is_selected(state: &State, own: &AccountId, arn: &Arn) -> bool {
    let Some(resource) = state.resources.get(arn) else { return false };
    state.current_plans().into_iter().any(|plan| plan_takes(state, own, plan, resource))
}

/// Whether a plan selects the resource.
pub(crate) fn plan_takes(state: &State, own: &AccountId, plan: &BackupPlan, resource: &Resource) -> bool {
    state.selections_of(plan.id).any(|selection| takes(state, own, plan, selection, resource))
}

/// A plan may have a rule for each region. A resource is left to the rules of its own region, and only when there is
/// none does its job go on, to fail with a message: never silently unprotected.
pub(crate) fn is_for(state: &State, plan: &BackupPlan, rule: &BackupRule, resource: &Resource) -> bool {
    let region_of = |vault: &Arn| state.vaults.get(vault).map(|v| v.region.clone());
    let here = |rule: &BackupRule| region_of(&rule.target_vault).as_ref() == Some(&resource.region);
    here(rule) || !plan.rules.iter().any(here)
}

fn run(
    step: &mut Step<'_>,
    firing: &Firing,
    rule: &BackupRule,
    created_by: CreatedBy,
    resource: &Resource,
    iam_role: Option<String>,
) {
    // A run that comes too late for its own start window is caught up with windows of its own, or it would be EXPIRED
    // the moment it is made.
    let own = windows(firing.at, rule.start_window_minutes, rule.completion_window_minutes);
    let too_late = own.start_by <= step.now;
    let scheduled_at = if too_late { step.now } else { firing.at };
    if too_late || firing.missed > 0 {
        let reason = if too_late {
            format!("the planner was not running at `{}`; the run is caught up now", firing.at)
        } else {
            format!("the planner was not running; the run of `{}` still is within its start window", firing.at)
        };
        let missed = RunMissed {
            resource: resource.arn.clone(),
            created_by: created_by.clone(),
            missed: firing.missed.saturating_add(u32::from(too_late)),
            caught_up: Some(firing.at),
            reason,
        };
        let about = job_model::resource_key(&resource.arn);
        step.tell(&resource.region, about, missed, None);
    }
    let delay = spread(&format!("{}|{}", rule.id, resource.arn), step.settings.jitter);
    let label = format!("{}|{}", resource.arn, firing.at);
    let id = JobId::new(rule.id.derive(&label));
    if step.state.job(id).is_some() {
        return;
    }
    let (continuous, fallback) = match rule.enable_continuous {
        true => match continuous::choose(step, resource, rule, &created_by, id) {
            Wish::Base(point) => (Some(point), None),
            Wish::Snapshot(why) => (None, Some(why)),
        },
        false => (None, None),
    };
    let wanted = BackupWanted {
        id,
        continuous,
        fallback,
        resource: resource.clone(),
        vault: rule.target_vault.clone(),
        scheduled_at,
        not_before: (delay > SignedDuration::ZERO).then(|| after(scheduled_at, delay)),
        start_window_minutes: rule.start_window_minutes,
        completion_window_minutes: rule.completion_window_minutes,
        created_by: Some(created_by),
        lifecycle: rule.lifecycle,
        generations: rule.generations,
        time_zone: rule.time_zone.clone(),
        tags: rule.recovery_point_tags.clone(),
        copy_actions: rule.copy_actions.clone(),
        iam_role,
    };
    backup(step, wanted);
}

/// A backup, scheduled or on demand.
#[derive(Clone, Debug)]
pub(crate) struct BackupWanted {
    pub(crate) id: JobId,
    /// The continuous recovery point that it is a full capture of.
    pub(crate) continuous: Option<Arn>,
    /// Why it is a snapshot although its rule asks for more.
    pub(crate) fallback: Option<String>,
    pub(crate) resource: Resource,
    pub(crate) vault: Arn,
    pub(crate) scheduled_at: Timestamp,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) start_window_minutes: u32,
    pub(crate) completion_window_minutes: u32,
    pub(crate) created_by: Option<CreatedBy>,
    pub(crate) lifecycle: job_model::Lifecycle,
    pub(crate) generations: Option<job_model::Generations>,
    pub(crate) time_zone: String,
    pub(crate) tags: std::collections::BTreeMap<String, String>,
    pub(crate) copy_actions: Vec<job_model::CopyAction>,
    pub(crate) iam_role: Option<String>,
}

/// Makes the job of a backup. What the vault does not allow is a job that FAILED, not a job that is missing.
pub(crate) fn backup(step: &mut Step<'_>, wanted: BackupWanted) -> JobId {
    let refused = points::refused_by_vault(step, &wanted.vault, &wanted.lifecycle, Some(&wanted.resource.region));
    let mut job = new_job(
        step,
        wanted.id,
        JobKind::Backup,
        wanted.resource.arn.clone(),
        wanted.resource.region.clone(),
        JobDetail::Backup {
            vault: wanted.vault,
            recovery_point_id: RecoveryPointId::new(wanted.id.derive("recovery-point")),
            lifecycle: wanted.lifecycle,
            generations: wanted.generations,
            time_zone: wanted.time_zone,
            tags: wanted.tags,
            copy_actions: wanted.copy_actions,
        },
    );
    job.resource_type = Some(wanted.resource.resource_type);
    job.scheduled_at = wanted.scheduled_at;
    job.not_before = wanted.not_before;
    let windows = windows(wanted.scheduled_at, wanted.start_window_minutes, wanted.completion_window_minutes);
    job.start_by = Some(windows.start_by);
    job.complete_by = Some(windows.complete_by);
    job.created_by = wanted.created_by;
    job.iam_role = wanted.iam_role;
    let row = JobRow { continuous: wanted.continuous, fallback: wanted.fallback, ..JobRow::new(job) };
    create_or_fail(step, row, refused)
}

/// Puts a new job into the ledger, as FAILED where something speaks against it.
pub(crate) fn create_or_fail(step: &mut Step<'_>, mut row: JobRow, refused: Option<String>) -> JobId {
    if let Some(why) = refused {
        row.job.state = JobState::Failed;
        row.job.message_category = MessageCategory::Failure;
        row.job.status_message = Some(why);
        row.job.ended_at = Some(step.now);
    }
    step.create(row)
}

/// A job that has just been made.
pub(crate) fn new_job(
    step: &Step<'_>,
    id: JobId,
    kind: JobKind,
    resource: Arn,
    region: job_model::Region,
    detail: JobDetail,
) -> Job {
    Job {
        id,
        kind,
        state: JobState::Created,
        status_message: None,
        message_category: MessageCategory::Success,
        resource,
        resource_type: None,
        region,
        created_at: step.now,
        scheduled_at: step.now,
        start_by: None,
        complete_by: None,
        started_at: None,
        ended_at: None,
        attempt: 1,
        not_before: None,
        created_by: None,
        parent: None,
        traceparent: step.traceparent.clone(),
        progress: Progress::default(),
        phases: Vec::new(),
        detail,
        iam_role: None,
    }
}

/// An instant later; the end of time where that is beyond it.
pub(crate) fn after(at: Timestamp, wait: SignedDuration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}
