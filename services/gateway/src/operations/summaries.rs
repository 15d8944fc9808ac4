//! How many jobs there were, by state, type and message.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use job_model::{JobKind, JobState};
use serde_json::{Value, json};

use super::Context;
use super::paging::{Paging, unreadable};
use crate::decode::Input;
use crate::fault::Fault;
use crate::present::{compact, epoch, jobs as show};
use crate::projection::JobFilter;
use crate::reply::Reply;

/// What a client writes to have a member not told apart.
const AGGREGATE: &str = "AGGREGATE_ALL";

/// Days of the summaries' periods; AWS's longest unless given.
fn period(input: &Input) -> (&'static str, i64) {
    match input.text("AggregationPeriod") {
        Some("ONE_DAY") => ("ONE_DAY", 1),
        Some("SEVEN_DAYS") => ("SEVEN_DAYS", 7),
        _ => ("FOURTEEN_DAYS", 14),
    }
}

/// How a member is told in the rows: as it is, filtered, or not apart.
fn told(wanted: Option<&str>, value: &str) -> Option<String> {
    match wanted {
        None | Some("ANY" | "*") => Some(value.to_owned()),
        Some(AGGREGATE) => Some(AGGREGATE.to_owned()),
        Some(wanted) => (wanted == value).then(|| value.to_owned()),
    }
}

async fn summary(
    context: &Context<'_>,
    input: &Input,
    kind: JobKind,
    member: &str,
    state: fn(JobState) -> &'static str,
) -> Result<Reply, Fault> {
    let paging = Paging::read(context, member, input)?;
    let (name, days) = period(input);
    let account = input.text("AccountId");
    let foreign = account.is_some_and(|a| a != context.account().as_str() && a != "ANY" && a != AGGREGATE);
    let begin = context.now.saturating_sub(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MIN);
    let filter = JobFilter { created_after: Some(begin), ..JobFilter::default() };
    let place = (context.account(), context.region);
    let counts = context.api.projection.job_counts(place, kind, &filter).await.map_err(unreadable)?;
    let mut rows: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for ((job_state, resource_type, category), (count, _, _)) in counts {
        let row = (
            told(input.text("State"), state(job_state)),
            told(input.text("ResourceType"), &resource_type),
            told(input.text("MessageCategory"), category),
        );
        if let (Some(state), Some(resource_type), Some(category)) = row
            && !foreign
        {
            *rows.entry((state, resource_type, category)).or_default() += count;
        }
    }
    let row = |((state, resource_type, category), count): ((String, String, String), u64)| -> (String, Value) {
        let key = format!("{state}/{resource_type}/{category}");
        let value = compact(json!({
            "Region": context.region.as_str(),
            "AccountId": if account == Some(AGGREGATE) { AGGREGATE } else { context.account().as_str() },
            "State": state,
            "ResourceType": resource_type,
            "MessageCategory": (kind != JobKind::Restore).then_some(category),
            "Count": count,
            "StartTime": epoch(begin),
            "EndTime": epoch(context.now),
        }));
        (key, value)
    };
    let mut output = paging.by_key(context, member, rows.into_iter().map(row).collect(), false);
    output["AggregationPeriod"] = json!(name);
    Ok(context.listed(output))
}

pub(super) async fn backup(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    summary(context, input, JobKind::Backup, "BackupJobSummaries", JobState::as_str).await
}

pub(super) async fn copy(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    summary(context, input, JobKind::Copy, "CopyJobSummaries", show::copy_state).await
}

pub(super) async fn restore(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    summary(context, input, JobKind::Restore, "RestoreJobSummaries", show::restore_state).await
}
