//! Report plans and report jobs.

use job_events::{Answer, CreateReportPlan, DeleteReportPlan, Query, StartReportJob, UpdateReportPlan};
use job_model::{ReportDelivery, ReportJob, ReportPlan, ReportSetting};
use serde_json::{Value, json};

use super::paging::Paging;
use super::tags::{list_of, texts};
use super::{Context, unexpected};
use crate::decode::{Input, short};
use crate::fault::Fault;
use crate::present::{epoch, reports as show};
use crate::projection::{Change, Object, key};
use crate::reply::Reply;

/// Where to: only into stores of the configuration. A plan whose reports nobody could write is refused at once.
fn delivery(context: &Context<'_>, value: &Value) -> Result<ReportDelivery, Fault> {
    let bucket = value["S3BucketName"].as_str().unwrap_or_default();
    if !context.api.config.report_buckets.contains_key(bucket) {
        let text = format!(
            "`{}` is not among `report_buckets` of the gateway's configuration; name one that is, or add it",
            short(bucket)
        );
        return Err(Fault::invalid("ReportDeliveryChannel.S3BucketName", text));
    }
    Ok(ReportDelivery {
        bucket: bucket.to_owned(),
        prefix: value["S3KeyPrefix"].as_str().map(str::to_owned),
        formats: list_of(value.get("Formats")),
    })
}

fn setting(context: &Context<'_>, value: &Value) -> Result<ReportSetting, Fault> {
    for name in ["FrameworkArns", "OrganizationUnits"] {
        if !list_of(value.get(name)).is_empty() {
            let text = "there are no frameworks and no organizations here; leave it out";
            return Err(Fault::invalid(&format!("ReportSetting.{name}"), text));
        }
    }
    let regions = list_of(value.get("Regions"));
    let served = |name: &String| context.api.config.regions.keys().any(|region| region.as_str() == name);
    if let Some(place) = regions.iter().position(|name| name != "*" && !served(name)) {
        let text = format!("`{}` is not served by this gateway; leave it out", short(&regions[place]));
        return Err(Fault::invalid(&format!("ReportSetting.Regions[{place}]"), text));
    }
    Ok(ReportSetting {
        template: value["ReportTemplate"].as_str().unwrap_or_default().to_owned(),
        accounts: list_of(value.get("Accounts")),
        regions,
    })
}

/// A report plan, by the planner's word.
async fn plan(context: &Context<'_>, name: &str) -> Result<ReportPlan, Fault> {
    let query = Query::ShowReportPlan {
        account: context.account().clone(),
        region: context.region.clone(),
        name: name.to_owned(),
    };
    match context.query(&query).await? {
        Answer::ReportPlan(plan) => Ok(*plan),
        _ => Err(unexpected()),
    }
}

/// What making and updating answer.
async fn made(context: &Context<'_>, name: &str, at: jiff::Timestamp) -> Result<Reply, Fault> {
    let plan = plan(context, name).await?;
    let output = json!({
        "ReportPlanName": plan.name,
        "ReportPlanArn": show::arn(&plan),
        "CreationTime": epoch(plan.created_at),
    });
    context.refresh(Change::Put(Box::new(Object::ReportPlan(plan))), at).await;
    Ok(Reply::json(output))
}

pub(super) async fn create(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let name = input.required("ReportPlanName")?;
    let none = json!({});
    let request = CreateReportPlan {
        name: name.to_owned(),
        description: input.text("ReportPlanDescription").map(str::to_owned),
        delivery: delivery(context, input.get("ReportDeliveryChannel").unwrap_or(&none))?,
        setting: setting(context, input.get("ReportSetting").unwrap_or(&none))?,
        tags: texts(input.get("ReportPlanTags")),
    };
    let (_, at) = context.request(request).await?;
    made(context, name, at).await
}

pub(super) async fn update(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let name = input.required("ReportPlanName")?;
    let request = UpdateReportPlan {
        name: name.to_owned(),
        description: input.text("ReportPlanDescription").map(str::to_owned),
        delivery: input.get("ReportDeliveryChannel").map(|value| delivery(context, value)).transpose()?,
        setting: input.get("ReportSetting").map(|value| setting(context, value)).transpose()?,
    };
    let (_, at) = context.request(request).await?;
    made(context, name, at).await
}

pub(super) async fn describe(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let plan = plan(context, input.required("ReportPlanName")?).await?;
    Ok(Reply::json(json!({ "ReportPlan": show::plan(&plan) })))
}

pub(super) async fn delete(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let name = input.required("ReportPlanName")?;
    let (_, at) = context.request(DeleteReportPlan { name: name.to_owned() }).await?;
    context.refresh(Change::Remove(key::report_plan(context.account(), context.region, name)), at).await;
    Ok(Reply::empty())
}

pub(super) async fn list(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "report-plans", input)?;
    let mut rows = Vec::new();
    for object in context.api.projection.objects(&key::report_plan(context.account(), context.region, "")) {
        if let Object::ReportPlan(plan) = object.as_ref() {
            rows.push((plan.name.clone(), show::plan(plan)));
        }
    }
    Ok(context.listed(paging.by_key(context, "ReportPlans", rows, false)))
}

pub(super) async fn start(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let request = StartReportJob { report_plan: input.required("ReportPlanName")?.to_owned() };
    let (accepted, at) = context.request(request).await?;
    let id = accepted.result.unwrap_or_default();
    if let Ok(job) = job(context, &id).await {
        context.refresh(Change::Put(Box::new(Object::ReportJob(job))), at).await;
    }
    Ok(Reply::json(json!({ "ReportJobId": id })))
}

/// A report job, by the planner's word.
async fn job(context: &Context<'_>, id: &str) -> Result<ReportJob, Fault> {
    let none = || Fault::not_found(format!("report job `{}` does not exist", short(id)));
    let query = Query::ShowReportJob { id: id.parse().map_err(|_| none())? };
    match context.query(&query).await? {
        Answer::ReportJob(job) if is_own(context, &job) => Ok(*job),
        Answer::ReportJob(_) => Err(none()),
        _ => Err(unexpected()),
    }
}

fn is_own(context: &Context<'_>, job: &ReportJob) -> bool {
    job.plan.account == *context.account() && job.plan.region == *context.region
}

pub(super) async fn describe_job(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let job = job(context, input.required("ReportJobId")?).await?;
    Ok(Reply::json(json!({ "ReportJob": show::job(&job) })))
}

pub(super) async fn list_jobs(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "report-jobs", input)?;
    let (name, status) = (input.text("ByReportPlanName"), input.text("ByStatus"));
    let (after, before) = (input.instant("ByCreationAfter"), input.instant("ByCreationBefore"));
    let mut rows = Vec::new();
    for object in context.api.projection.objects("report-job/") {
        let Object::ReportJob(job) = object.as_ref() else { continue };
        let wanted = is_own(context, job)
            && name.is_none_or(|name| name == job.plan.name)
            && status.is_none_or(|status| status == job.state.as_str())
            && after.is_none_or(|after| job.created_at > after)
            && before.is_none_or(|before| job.created_at < before);
        if wanted {
            rows.push((format!("{:020}/{}", job.created_at.as_millisecond(), job.id), show::job(job)));
        }
    }
    Ok(context.listed(paging.by_key(context, "ReportJobs", rows, true)))
}
