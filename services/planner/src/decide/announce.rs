//! Tells what a step changed: one place that looks at the rows, so that no handler can forget it.

use job_events::{
    Fact, GlobalSettingsChanged, JobNoted, LegalHoldChanged, LegalHoldRemoved, PlanChanged, RecoveryPointChanged,
    RegionSettingsChanged, ReportJobChanged, ReportPlanChanged, ReportPlanRemoved, ResourceChanged, ResourceRemoved,
    SelectionChanged, SelectionRemoved, VaultChanged, VaultRemoved,
};
use job_model::{Arn, Job, RecoveryPoint, Region, resource_key};

use crate::decide::{Out, Step};

/// A fact with where it is told and what it is about.
struct News {
    region: Option<Region>,
    about: String,
    fact: Fact,
    trace: Option<String>,
}

impl News {
    fn new(region: Option<Region>, about: impl Into<String>, fact: impl Into<Fact>) -> Self {
        Self { region, about: about.into(), fact: fact.into(), trace: None }
    }
}

/// Tells every change of the catalogue that the step has not told itself.
pub(crate) fn announce(step: &mut Step<'_>) {
    let mut news = Vec::new();
    things(step, &mut news);
    plans(step, &mut news);
    points_and_jobs(step, &mut news);
    administration(step, &mut news);
    let home = step.settings.regions.first().cloned();
    for News { region, about, fact, trace } in news {
        // What belongs to no region of the installation is told at home.
        let region = region.filter(|region| step.settings.regions.contains(region)).or_else(|| home.clone());
        if let Some(region) = region {
            step.tell(&region, about, fact, trace);
        }
    }
}

fn region_of(arn: &Arn) -> Option<Region> {
    arn.region().parse().ok()
}

fn things(step: &Step<'_>, news: &mut Vec<News>) {
    for (arn, before, now) in step.state.vaults.changes() {
        let key = resource_key(arn);
        match now {
            Some(vault) if before != now => {
                news.push(News::new(Some(vault.region.clone()), key, VaultChanged { vault: vault.clone() }));
            }
            None if before.is_some() => {
                news.push(News::new(region_of(arn), key, VaultRemoved { vault: arn.clone() }));
            }
            _ => {}
        }
    }
    for (arn, before, now) in step.state.resources.changes() {
        let key = resource_key(arn);
        match now {
            Some(resource) if before != now => {
                let fact = ResourceChanged { resource: resource.clone() };
                news.push(News::new(Some(resource.region.clone()), key, fact));
            }
            None => {
                let region = before.map(|resource| resource.region.clone());
                if region.is_some() {
                    news.push(News::new(region, key, ResourceRemoved { resource: arn.clone() }));
                }
            }
            Some(_) => {}
        }
    }
}

fn plans(step: &Step<'_>, news: &mut Vec<News>) {
    for (_, before, now) in step.state.plans.changes() {
        let Some(row) = now.filter(|_| before != now) else { continue };
        let plan = row.shown();
        news.push(News::new(plan.region.clone(), plan.id.to_string(), PlanChanged { plan }));
    }
    for (id, before, now) in step.state.selections.changes() {
        let plan_id = now.or(before).map(|selection| selection.plan_id);
        let Some(plan_id) = plan_id else { continue };
        let region = step.state.newest_version(plan_id).and_then(|row| row.plan.region.clone());
        match now {
            Some(selection) if before != now => {
                let fact = SelectionChanged { selection: selection.clone() };
                news.push(News::new(region, id.to_string(), fact));
            }
            None if before.is_some() => {
                news.push(News::new(region, id.to_string(), SelectionRemoved { plan_id, selection_id: *id }));
            }
            _ => {}
        }
    }
}

fn points_and_jobs(step: &Step<'_>, news: &mut Vec<News>) {
    for (_, before, now) in step.state.points.changes() {
        let (Some(before), Some(now)) = (before, now) else { continue };
        if before.point != now.point {
            let vault = step.state.vaults.get(&now.point.vault);
            let region = vault.map(|vault| vault.region.clone()).or_else(|| region_of(&now.point.vault));
            let is_report = is_report(&before.point, &now.point);
            let fact = RecoveryPointChanged { recovery_point: now.point.clone(), is_report };
            let mut one = News::new(region, now.point.job_id.to_string(), fact);
            one.trace = now.point.traceparent.clone();
            news.push(one);
        }
    }
    for (id, before, now) in step.state.job_changes() {
        let (Some(before), Some(now)) = (before, now) else { continue };
        // A job that moved was told by whoever moved it; but what changed after that was not.
        let told = step.out.iter().rev().find_map(|out| match out {
            Out::Fact { fact, .. } => match fact.as_ref() {
                Fact::JobChanged(changed) if changed.job.id == *id => Some(&changed.job),
                _ => None,
            },
            _ => None,
        });
        if differs(told.unwrap_or(&before.job), &now.job) {
            let mut one = News::new(Some(now.job.region.clone()), id.to_string(), JobNoted { job: now.job.clone() });
            one.trace = now.job.traceparent.clone();
            news.push(one);
        }
    }
}

/// Whether only the window of a followed resource moved on.
fn is_report(before: &RecoveryPoint, now: &RecoveryPoint) -> bool {
    let (Some(was), Some(is)) = (&before.continuous, &now.continuous) else { return false };
    let same =
        (was.state, &was.message, was.gap_count, was.keep_days) == (is.state, &is.message, is.gap_count, is.keep_days);
    same && RecoveryPoint { continuous: now.continuous.clone(), ..before.clone() } == *now
}

/// Whether a reader would see more than progress.
fn differs(before: &Job, now: &Job) -> bool {
    before.detail != now.detail
        || before.status_message != now.status_message
        || before.message_category != now.message_category
}

fn administration(step: &Step<'_>, news: &mut Vec<News>) {
    for (id, before, now) in step.state.holds.changes() {
        let region = now.or(before).map(|hold| hold.region.clone());
        match now {
            Some(hold) if before != now => {
                let fact = LegalHoldChanged { legal_hold: hold.clone() };
                news.push(News::new(region, id.to_string(), fact));
            }
            None if before.is_some() => {
                news.push(News::new(region, id.to_string(), LegalHoldRemoved { id: *id }));
            }
            _ => {}
        }
    }
    for ((account, region), before, now) in step.state.region_settings.changes() {
        if let Some(settings) = now.filter(|_| before != now) {
            let fact = RegionSettingsChanged { settings: settings.clone() };
            news.push(News::new(Some(region.clone()), account.as_str(), fact));
        }
    }
    for (account, before, now) in step.state.global_settings.changes() {
        if let Some(settings) = now.filter(|_| before != now) {
            news.push(News::new(None, account.as_str(), GlobalSettingsChanged { settings: settings.clone() }));
        }
    }
    for ((account, region, name), before, now) in step.state.report_plans.changes() {
        let region = Some(region.clone());
        match now {
            Some(plan) if before != now => {
                news.push(News::new(region, account.as_str(), ReportPlanChanged { report_plan: plan.clone() }));
            }
            None if before.is_some() => {
                let (account, name) = (account.clone(), name.clone());
                if let Some(region) = region {
                    let about = account.to_string();
                    let fact = ReportPlanRemoved { account, region: region.clone(), name };
                    news.push(News::new(Some(region), about, fact));
                }
            }
            _ => {}
        }
    }
    for (id, before, now) in step.state.report_jobs.changes() {
        if let Some(job) = now.filter(|_| before != now) {
            let fact = ReportJobChanged { report_job: job.clone() };
            news.push(News::new(Some(job.plan.region.clone()), id.to_string(), fact));
        }
    }
}
