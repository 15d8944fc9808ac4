//! Report plans and report jobs.

use job_model::{ReportJob, ReportPlan};
use serde_json::{Value, json};

use super::{compact, epoch, maybe};

/// The ARN of a report plan.
pub(crate) fn arn(plan: &ReportPlan) -> String {
    format!("arn:aws:backup:{}:{}:report-plan:{}", plan.region, plan.account, plan.name)
}

/// A report plan.
pub(crate) fn plan(plan: &ReportPlan) -> Value {
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    compact(json!({
        "ReportPlanName": plan.name,
        "ReportPlanArn": arn(plan),
        "ReportPlanDescription": plan.description,
        "ReportSetting": {
            "ReportTemplate": plan.setting.template,
            "Accounts": some(&plan.setting.accounts),
            "Regions": some(&plan.setting.regions),
        },
        "ReportDeliveryChannel": {
            "S3BucketName": plan.delivery.bucket,
            "S3KeyPrefix": plan.delivery.prefix,
            "Formats": some(&plan.delivery.formats),
        },
        "DeploymentStatus": "COMPLETED",
        "CreationTime": epoch(plan.created_at),
        "LastAttemptedExecutionTime": maybe(plan.last_attempted_at),
        "LastSuccessfulExecutionTime": maybe(plan.last_succeeded_at),
    }))
}

/// A report job.
pub(crate) fn job(job: &ReportJob) -> Value {
    compact(json!({
        "ReportJobId": job.id.to_string(),
        "ReportPlanArn": arn(&job.plan),
        "ReportTemplate": job.plan.setting.template,
        "CreationTime": epoch(job.created_at),
        "CompletionTime": maybe(job.ended_at),
        "Status": job.state.as_str(),
        "StatusMessage": job.message,
        "ReportDestination": { "S3BucketName": job.plan.delivery.bucket, "S3Keys": job.keys },
    }))
}
