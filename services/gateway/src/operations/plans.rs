//! Backup plans.

use job_events::{Answer, CreatePlan, DeletePlan, NextRuns, Query, UpdatePlan};
use job_model::BackupPlan;
use serde_json::{Map, Value, json};

use super::ownership::{no_plan, plan_id};
use super::paging::Paging;
use super::plan_input;
use super::tags::tags;
use super::{Context, unexpected};
use crate::decode::{self, Input};
use crate::fault::Fault;
use crate::present::{self, plans as show};
use crate::projection::{Change, Object, key};
use crate::reply::Reply;

/// What creating and updating answer.
fn made(context: &Context<'_>, plan: &BackupPlan) -> Value {
    present::compact(json!({
        "BackupPlanId": plan.id.to_string(),
        "BackupPlanArn": context.plan_arn(plan),
        "CreationDate": present::epoch(plan.updated_at),
        "VersionId": plan.version_id(),
        "AdvancedBackupSettings": show::advanced(plan),
    }))
}

fn document(input: &Input) -> Result<&Value, Fault> {
    input.get("BackupPlan").ok_or_else(|| Fault::missing("BackupPlan"))
}

pub(super) async fn create(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let plan = plan_input::read(context, document(input)?)?;
    let request = CreatePlan {
        name: plan.name,
        rules: plan.rules,
        advanced_settings: plan.advanced_settings,
        tags: tags(input, "BackupPlanTags"),
    };
    let (accepted, at) = context.request(request).await?;
    // The first version, whatever came after it.
    let plan = context.plan(&accepted.result.unwrap_or_default(), Some(1)).await?;
    let output = made(context, &plan);
    context.refresh(Change::Put(Box::new(Object::Plan(plan))), at).await;
    Ok(Reply::json(output))
}

pub(super) async fn update(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let id = input.required("BackupPlanId")?;
    let plan = plan_input::read(context, document(input)?)?;
    let request = UpdatePlan {
        plan_id: plan_id(id)?,
        name: plan.name,
        rules: plan.rules,
        advanced_settings: plan.advanced_settings,
    };
    let (_, at) = context.request(request).await?;
    let plan = context.plan(id, None).await?;
    let output = made(context, &plan);
    context.refresh(Change::Put(Box::new(Object::Plan(plan))), at).await;
    Ok(Reply::json(output))
}

pub(super) async fn delete(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let id = input.required("BackupPlanId")?;
    let plan_id = plan_id(id)?;
    let (_, at) = context.request(DeletePlan { plan_id }).await?;
    let newest = all_versions(context, id).await?.into_iter().max_by_key(|plan| plan.version);
    let plan = newest.ok_or_else(|| no_plan(id))?;
    let output = present::compact(json!({
        "BackupPlanId": plan.id.to_string(),
        "BackupPlanArn": context.plan_arn(&plan),
        "DeletionDate": present::maybe(plan.deleted_at),
        "VersionId": plan.version_id(),
    }));
    context.refresh(Change::Put(Box::new(Object::Plan(plan))), at).await;
    Ok(Reply::json(output))
}

/// All versions of a plan, by the planner's word, newest first.
async fn all_versions(context: &Context<'_>, id: &str) -> Result<Vec<BackupPlan>, Fault> {
    let plan_id = plan_id(id)?;
    let (mut all, mut before): (Vec<BackupPlan>, _) = (Vec::new(), None);
    loop {
        let Answer::Plans(page) = context.query(&Query::ListPlanVersions { plan_id, before }).await? else {
            return Err(unexpected());
        };
        before = page.iter().map(|plan| plan.version).min();
        let ended = page.is_empty() || before == Some(1);
        all.extend(page);
        if ended {
            break;
        }
    }
    if all.iter().any(|plan| context.lists_plan(plan)) { Ok(all) } else { Err(no_plan(id)) }
}

pub(super) async fn get(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let id = input.required("BackupPlanId")?;
    let plan = match input.text("VersionId").filter(|version| !version.is_empty()) {
        None => context.plan(id, None).await?,
        Some(version) => {
            let found = all_versions(context, id).await?.into_iter().find(|plan| plan.version_id() == version);
            found.ok_or_else(|| {
                Fault::not_found(format!("Cannot find version `{}` of Backup plan {id}", decode::short(version)))
            })?
        }
    };
    let mut output = json!({
        "BackupPlan": show::document(&plan),
        "BackupPlanId": plan.id.to_string(),
        "BackupPlanArn": context.plan_arn(&plan),
        "VersionId": plan.version_id(),
        "CreatorRequestId": plan.creator_request_id,
        "CreationDate": present::epoch(plan.updated_at),
        "DeletionDate": present::maybe(plan.deleted_at),
        "LastExecutionDate": present::maybe(plan.last_run_at),
        "AdvancedBackupSettings": show::advanced(&plan),
    });
    let preview = input.number("MaxScheduledRunsPreview").and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    if preview > 0 && plan.deleted_at.is_none() {
        output["ScheduledRunsPreview"] = next_runs(context, &plan, preview).await?;
    }
    Ok(Reply::json(present::compact(output)))
}

/// The next runs of all rules together, soonest first.
async fn next_runs(context: &Context<'_>, plan: &BackupPlan, count: u32) -> Result<Value, Fault> {
    let Answer::NextRuns(rules) = context.query(&Query::NextRuns { plan_id: plan.id, count }).await? else {
        return Err(unexpected());
    };
    let rule_of = |runs: &NextRuns| plan.rules.iter().find(|rule| rule.name == runs.rule_name);
    let mut all = Vec::new();
    for runs in &rules {
        let Some(rule) = rule_of(runs) else { continue };
        // Continuous capture falls back to snapshots.
        all.extend(runs.at.iter().map(|at| (*at, rule.id.to_string(), "SNAPSHOTS")));
    }
    all.sort();
    let all = all.into_iter().take(usize::try_from(count).unwrap_or_default());
    Ok(all
        .map(|(at, rule, kind)| {
            json!({ "ExecutionTime": present::epoch(at), "RuleId": rule, "RuleExecutionType": kind })
        })
        .collect())
}

pub(super) async fn list(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "plans", input)?;
    let deleted_too = input.flag("IncludeDeleted");
    let mut newest: std::collections::BTreeMap<String, Value> = std::collections::BTreeMap::new();
    // In the order of their versions: the last one stays.
    for object in context.api.projection.objects("plan/") {
        let Object::Plan(plan) = object.as_ref() else { continue };
        if !context.lists_plan(plan) {
            continue;
        }
        let id = plan.id.to_string();
        if plan.deleted_at.is_some() && !deleted_too {
            newest.remove(&id);
        } else {
            newest.insert(id, show::summary(plan, &context.plan_arn(plan)));
        }
    }
    let rows = newest.into_iter().collect();
    Ok(context.listed(paging.by_key(context, "BackupPlansList", rows, false)))
}

pub(super) async fn versions(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "plan-versions", input)?;
    let id = input.required("BackupPlanId")?;
    let objects = context.api.projection.objects(&key::plan_versions(plan_id(id)?));
    let mut rows = Vec::new();
    for object in &objects {
        if let Object::Plan(plan) = object.as_ref()
            && context.lists_plan(plan)
        {
            rows.push((format!("{:010}", plan.version), show::summary(plan, &context.plan_arn(plan))));
        }
    }
    if rows.is_empty() {
        return Err(no_plan(id));
    }
    Ok(context.listed(paging.by_key(context, "BackupPlanVersionsList", rows, true)))
}

pub(super) async fn export(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let plan = context.plan(input.required("BackupPlanId")?, None).await?;
    let mut document = show::document(&plan);
    for rule in document["Rules"].as_array_mut().into_iter().flatten() {
        // A template is a plan to be made: its rules have no ids yet.
        if let Some(members) = rule.as_object_mut() {
            members.remove("RuleId");
        }
    }
    Ok(Reply::json(json!({ "BackupPlanTemplateJson": document.to_string() })))
}

pub(super) async fn from_json(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let member = "BackupPlanTemplateJson";
    let text = input.required(member)?;
    let mut document: Value =
        serde_json::from_str(text).map_err(|error| Fault::invalid(member, format!("no JSON: {error}")))?;
    // Both the bare document and the one that `get-backup-plan` gives.
    if let Some(inner) = document.get_mut("BackupPlan") {
        document = inner.take();
    }
    for rule in document.get_mut("Rules").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(members) = rule.as_object_mut() {
            members.remove("RuleId");
        }
    }
    let Value::Object(members) = document else { return Err(Fault::invalid(member, "no JSON object")) };
    let checked = decode::structure_of("BackupPlanInput", members)?;
    let document = Value::Object(checked);
    plan_input::read(context, &document)?;
    let mut output = Map::new();
    output.insert("BackupPlan".to_owned(), document);
    Ok(Reply::json(Value::Object(output)))
}
