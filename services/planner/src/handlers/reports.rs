//! Report plans and report jobs. The planner keeps them and says when a report is due; whoever writes reports (the gateway)
//! sends `finish-report-job`.

use job_events::{CreateReportPlan, DeleteReportPlan, FinishReportJob, StartReportJob, UpdateReportPlan};
use job_model::{AccountId, Region, ReportDelivery, ReportJob, ReportJobId, ReportJobState, ReportPlan, ReportSetting};

use crate::decide::scope::check_tags;
use crate::decide::{Accepted, Refusal, Step, reports};

/// AWS's quota of report plans of an account in a region.
const PLANS_MAX: usize = 20;
/// Reports that can be written.
const TEMPLATES: [&str; 3] = ["BACKUP_JOB_REPORT", "COPY_JOB_REPORT", "RESTORE_JOB_REPORT"];
/// Formats they can be written in.
const FORMATS: [&str; 2] = ["CSV", "JSON"];

pub(crate) fn create(step: &mut Step<'_>, request: &CreateReportPlan) -> Result<Accepted, Refusal> {
    let (account, region) = place(step)?;
    name(&request.name)?;
    description(request.description.as_deref())?;
    check_tags("tags", &request.tags)?;
    let key = (account.clone(), region.clone(), request.name.clone());
    if let Some(known) = step.state.report_plans.get(&key) {
        let refusal = Refusal::exists("name", format!("report plan `{}` exists already", request.name));
        return Err(refusal.of(known.arn().ok(), known.creator_request_id.clone()));
    }
    let plans = step.state.report_plans.values().filter(|plan| plan.account == account && plan.region == region);
    if plans.count() >= PLANS_MAX {
        return Err(Refusal::limit("", format!("there are {PLANS_MAX} report plans already; delete one first")));
    }
    let plan = ReportPlan {
        name: request.name.clone(),
        delivery: delivery(&request.delivery)?,
        setting: setting(&request.setting, &account, &region)?,
        account,
        region,
        description: request.description.clone(),
        created_at: step.now,
        last_attempted_at: None,
        last_succeeded_at: None,
        creator_request_id: step.caller.token.clone(),
        tags: request.tags.clone(),
    };
    step.state.report_plans.put(key, plan);
    Ok(Accepted::result(&request.name))
}

pub(crate) fn update(step: &mut Step<'_>, request: &UpdateReportPlan) -> Result<Accepted, Refusal> {
    let mut plan = known(step, &request.name)?;
    description(request.description.as_deref())?;
    if request.description.is_some() {
        plan.description = request.description.clone();
    }
    if let Some(wanted) = &request.delivery {
        plan.delivery = delivery(wanted)?;
    }
    if let Some(wanted) = &request.setting {
        plan.setting = setting(wanted, &plan.account, &plan.region)?;
    }
    step.state.report_plans.put((plan.account.clone(), plan.region.clone(), plan.name.clone()), plan);
    Ok(Accepted::result(&request.name))
}

pub(crate) fn delete(step: &mut Step<'_>, request: &DeleteReportPlan) -> Result<Accepted, Refusal> {
    let plan = known(step, &request.name)?;
    step.state.report_plans.remove(&(plan.account, plan.region, plan.name));
    Ok(Accepted::result(&request.name))
}

pub(crate) fn start(step: &mut Step<'_>, request: &StartReportJob) -> Result<Accepted, Refusal> {
    let plan = known(step, &request.report_plan)?;
    let id = ReportJobId::new(step.draw);
    reports::begin(step, plan, id);
    Ok(Accepted::result(id))
}

pub(crate) fn finish(step: &mut Step<'_>, request: &FinishReportJob) -> Result<Accepted, Refusal> {
    let id = request.report_job_id;
    let known = step.state.report_jobs.get(&id).filter(|job| step.sees(job.plan.account.as_str()));
    let unknown = || Refusal::not_found("report_job_id", format!("report job `{id}` does not exist"));
    let mut job: ReportJob = known.cloned().ok_or_else(unknown)?;
    if request.state == ReportJobState::Created {
        return Err(Refusal::invalid("state", "write `COMPLETED` or `FAILED`"));
    }
    if job.state != ReportJobState::Created {
        let text = format!("report job `{id}` is {} already", job.state.as_str());
        return Err(Refusal::request("report_job_id", text));
    }
    job.state = request.state;
    job.message = request.message.clone();
    job.keys = request.keys.clone();
    reports::end(step, job);
    Ok(Accepted::result(id))
}

fn place(step: &Step<'_>) -> Result<(AccountId, Region), Refusal> {
    let region = step.caller.region.clone().or_else(|| step.settings.regions.first().cloned());
    let region = region.ok_or_else(|| Refusal::request("", "the installation has no region"))?;
    Ok((step.account(), region))
}

fn known(step: &Step<'_>, name: &str) -> Result<ReportPlan, Refusal> {
    let (account, region) = place(step)?;
    let plan = step.state.report_plans.get(&(account, region, name.to_owned()));
    plan.cloned().ok_or_else(|| Refusal::not_found("name", format!("report plan `{name}` does not exist")))
}

fn name(name: &str) -> Result<(), Refusal> {
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    if begins && name.len() <= 256 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    let text = format!("`{name}` is not 1 to 256 letters, digits and underscores, beginning with a letter");
    Err(Refusal::invalid("name", text))
}

fn description(text: Option<&str>) -> Result<(), Refusal> {
    match text.map(|text| text.chars().count()) {
        Some(count) if count > 1024 => {
            Err(Refusal::invalid("description", format!("`{count}` characters; at most 1024 are allowed")))
        }
        _ => Ok(()),
    }
}

fn delivery(wanted: &ReportDelivery) -> Result<ReportDelivery, Refusal> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    let fits = (1..=63).contains(&wanted.bucket.len()) && wanted.bucket.bytes().all(plain);
    if !fits {
        return Err(Refusal::invalid("delivery.bucket", format!("`{}` is no name of a bucket", wanted.bucket)));
    }
    if let Some(prefix) = &wanted.prefix
        && (prefix.len() > 512 || prefix.starts_with('/') || prefix.split('/').any(|part| part == ".."))
    {
        return Err(Refusal::invalid("delivery.prefix", format!("`{prefix}` is not a relative path without `..`")));
    }
    let mut delivery = wanted.clone();
    if delivery.formats.is_empty() {
        delivery.formats = vec![FORMATS[0].to_owned()];
    }
    for (place, format) in delivery.formats.iter().enumerate() {
        if !FORMATS.contains(&format.as_str()) {
            let text = format!("`{format}` is not `CSV` or `JSON`");
            return Err(Refusal::invalid(&format!("delivery.formats[{place}]"), text));
        }
    }
    Ok(delivery)
}

fn setting(wanted: &ReportSetting, account: &AccountId, region: &Region) -> Result<ReportSetting, Refusal> {
    if !TEMPLATES.contains(&wanted.template.as_str()) {
        let text =
            format!("`{}` is no report that is written here; known are {}", wanted.template, TEMPLATES.join(", "));
        return Err(Refusal::invalid("setting.template", text));
    }
    if let Some(other) = wanted.accounts.iter().find(|other| other.as_str() != account.as_str()) {
        let text = format!("`{other}` is another account; a report is about its own");
        return Err(Refusal::invalid("setting.accounts", text));
    }
    for (place, name) in wanted.regions.iter().enumerate() {
        if name != "*" && name.parse::<Region>().is_err() {
            return Err(Refusal::invalid(&format!("setting.regions[{place}]"), format!("`{name}` is no region")));
        }
    }
    let mut setting = wanted.clone();
    if setting.regions.is_empty() {
        setting.regions = vec![region.to_string()];
    }
    Ok(setting)
}
