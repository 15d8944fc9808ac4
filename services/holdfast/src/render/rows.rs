//! Lists as tables.

use jiff::Timestamp;
use job_events::{NextRuns, TestRun};
use job_model::{
    BackupPlan, Job, JobDetail, Lifecycle, RecoveryPoint, Resource, RestoreTestingPlan, Selection, Vault, VerdictStatus,
};

use super::{Table, bytes, job_state, moment};
use crate::names::{short_name, vault_name};

fn serde_word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn optional(at: Option<Timestamp>) -> String {
    at.map(moment).unwrap_or_default()
}

fn tags(tags: &std::collections::BTreeMap<String, String>) -> String {
    tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// How long something is kept.
fn kept(lifecycle: Lifecycle) -> String {
    lifecycle.delete_after_days.map_or_else(|| "for ever".to_owned(), |days| format!("{days} d"))
}

/// Resources.
#[must_use]
pub(crate) fn resources(resources: &[Resource]) -> String {
    let mut table = Table::new(
        &["name", "type", "region", "location", "tags", "arn"],
        "no resources; register one with `holdfast resource add NAME --type files --path DIR`",
    );
    for r in resources {
        table.row(vec![
            short_name(&r.arn),
            r.resource_type.as_str().to_owned(),
            r.region.to_string(),
            r.location.clone(),
            tags(&r.tags),
            r.arn.to_string(),
        ]);
    }
    table.render()
}

/// Vaults.
#[must_use]
pub(crate) fn vaults(vaults: &[Vault]) -> String {
    let mut table = Table::new(
        &["name", "region", "state", "key", "location", "message"],
        "no vaults; make one with `holdfast vault create NAME`",
    );
    for v in vaults {
        table.row(vec![
            v.name.clone(),
            v.region.to_string(),
            serde_word(&v.state),
            v.access.key_profile.clone(),
            v.access.location.clone(),
            v.state_message.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}

/// Plans.
#[must_use]
pub(crate) fn plans(plans: &[BackupPlan]) -> String {
    let mut table = Table::new(
        &["name", ">version", ">rules", "updated", "id"],
        "no plans; make one with `holdfast plan create --file FILE`",
    );
    for p in plans {
        table.row(vec![
            p.name.clone(),
            p.version.to_string(),
            p.rules.len().to_string(),
            moment(p.updated_at),
            p.id.to_string(),
        ]);
    }
    table.render()
}

/// One plan.
#[must_use]
pub(crate) fn plan_detail(plan: &BackupPlan) -> String {
    let mut text = format!("plan {} ({}), version {}\n\n", plan.name, plan.id, plan.version);
    let mut table = Table::new(&["rule", "schedule", "zone", "vault", "kept", "copies"], "no rules");
    for rule in &plan.rules {
        let copies: Vec<String> = rule
            .copy_actions
            .iter()
            .map(|c| format!("{} ({})", vault_name(&c.destination_vault), kept(c.lifecycle)))
            .collect();
        table.row(vec![
            rule.name.clone(),
            rule.schedule.clone(),
            rule.time_zone.clone(),
            vault_name(&rule.target_vault),
            kept(rule.lifecycle),
            copies.join(", "),
        ]);
    }
    text.push_str(&table.render());
    text
}

/// Next runs of a plan's rules.
#[must_use]
pub(crate) fn next_runs(runs: &[NextRuns]) -> String {
    let mut table = Table::new(&["rule", "at"], "nothing is scheduled");
    for run in runs {
        for at in &run.at {
            table.row(vec![run.rule_name.clone(), moment(*at)]);
        }
    }
    table.render()
}

/// Selections.
#[must_use]
pub(crate) fn selections(selections: &[Selection]) -> String {
    let mut table = Table::new(
        &["name", "resources", "without", "tags", "id", "plan"],
        "no selections; make one with `holdfast selection create PLAN NAME`",
    );
    for s in selections {
        let by_tag: Vec<String> = s.list_of_tags.iter().map(|t| format!("{}={}", t.key, t.value)).collect();
        let all = s.resources.is_empty() && by_tag.is_empty();
        table.row(vec![
            s.name.clone(),
            if all { "*".to_owned() } else { s.resources.join(" ") },
            s.not_resources.join(" "),
            by_tag.join(" "),
            s.id.to_string(),
            s.plan_id.to_string(),
        ]);
    }
    table.render()
}

/// Jobs.
#[must_use]
pub(crate) fn jobs(jobs: &[Job]) -> String {
    let mut table =
        Table::new(&["job", "kind", "state", "resource", "created", ">read", ">new", ">stored", "message"], "no jobs");
    for j in jobs {
        let kind = match &j.detail {
            JobDetail::Maintenance { task, .. } => task.clone(),
            _ => serde_word(&j.kind),
        };
        table.row(vec![
            j.id.to_string(),
            kind,
            job_state(j.state).to_owned(),
            short_name(&j.resource),
            moment(j.created_at),
            bytes(j.progress.bytes_read),
            bytes(j.progress.bytes_new),
            bytes(j.progress.bytes_stored),
            j.status_message.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}

/// Recovery points.
#[must_use]
pub(crate) fn recovery_points(points: &[RecoveryPoint]) -> String {
    let mut table = Table::new(
        &["id", "resource", "vault", "status", "created", ">size", "kept", "proven"],
        "no recovery points; `holdfast backup start RESOURCE --vault VAULT` makes one",
    );
    for p in points {
        let proven = match &p.last_verdict {
            None => "not tested".to_owned(),
            Some(v) if v.status == VerdictStatus::Successful => format!("yes, {}", moment(v.judged_at)),
            Some(v) => format!("NO, {}", moment(v.judged_at)),
        };
        table.row(vec![
            p.id.to_string(),
            short_name(&p.resource),
            vault_name(&p.vault),
            serde_word(&p.status),
            moment(p.created_at),
            bytes(p.summary.size_bytes),
            kept(p.lifecycle),
            proven,
        ]);
    }
    table.render()
}

/// Restore testing plans.
#[must_use]
pub(crate) fn test_plans(plans: &[RestoreTestingPlan]) -> String {
    let mut table = Table::new(
        &["name", "schedule", "point", "vaults", "selections"],
        "no restore testing plans; make one with `holdfast restore-test create --file FILE`",
    );
    for p in plans {
        let selections: Vec<&str> = p.selections.iter().map(|s| s.name.as_str()).collect();
        table.row(vec![
            p.name.clone(),
            p.schedule.clone().unwrap_or_else(|| "on request".to_owned()),
            serde_word(&p.algorithm),
            p.include_vaults.join(" "),
            selections.join(" "),
        ]);
    }
    table.render()
}

/// Runs of restore tests.
#[must_use]
pub(crate) fn test_runs(runs: &[TestRun]) -> String {
    let mut table =
        Table::new(&["run", "plan", "started", "ended", ">proven", ">failed", ">open"], "no runs of restore tests");
    for run in runs {
        let by = |status| run.entries.iter().filter(|e| e.verdict.as_ref().is_some_and(|v| v.status == status)).count();
        table.row(vec![
            run.id.to_string(),
            run.restore_testing_plan.clone(),
            moment(run.started_at),
            optional(run.ended_at),
            by(VerdictStatus::Successful).to_string(),
            by(VerdictStatus::Failed).to_string(),
            run.entries.iter().filter(|e| e.verdict.is_none()).count().to_string(),
        ]);
    }
    table.render()
}
