//! Tags.

use std::collections::BTreeMap;

use job_events::{Answer, ChangeTags, Query};
use job_model::Arn;
use serde_json::Value;

use super::ownership::plan_id;
use super::paging::Paging;
use super::{Context, unexpected};
use crate::decode::Input;
use crate::fault::Fault;
use crate::projection::{Change, Object};
use crate::reply::Reply;

/// A map of texts.
pub(super) fn texts(value: Option<&Value>) -> BTreeMap<String, String> {
    let members = value.and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// A list of texts.
pub(super) fn list_of(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Tags given with something new.
pub(super) fn tags(input: &Input, member: &str) -> BTreeMap<String, String> {
    texts(input.get(member))
}

fn target(context: &Context<'_>, input: &Input) -> Result<Arn, Fault> {
    let arn = context.arn("ResourceArn", input.required("ResourceArn")?)?;
    if !arn.account().is_empty() && arn.account() != context.account().as_str() {
        return Err(Fault::not_found(format!("`{arn}` does not exist")));
    }
    // AWS's words. What names no region is of all of them.
    if !arn.region().is_empty() && arn.region() != context.region.as_str() {
        let problem = format!("Invalid ARN: {arn}. Expected region is {}", context.region);
        return Err(Fault::invalid("ResourceArn", problem));
    }
    Ok(arn)
}

pub(super) async fn list(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let paging = Paging::read(context, "tags", input)?;
    let arn = target(context, input)?;
    let Answer::Tags(tags) = context.query(&Query::ListTags { arn }).await? else { return Err(unexpected()) };
    let rows = tags.into_iter().map(|(key, value)| (key.clone(), Value::Array(vec![key.into(), value.into()])));
    let mut output = paging.by_key(context, "Tags", rows.collect(), false);
    // A page of pairs becomes the map that the API has.
    let pairs = output["Tags"].take();
    let map =
        pairs.as_array().into_iter().flatten().filter_map(|pair| Some((pair[0].as_str()?.to_owned(), pair[1].clone())));
    output["Tags"] = Value::Object(map.collect());
    Ok(Reply::json(output))
}

pub(super) async fn set(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let arn = target(context, input)?;
    change(context, ChangeTags { arn, set: texts(input.get("Tags")), remove: Vec::new() }).await
}

pub(super) async fn remove(context: &Context<'_>, input: &Input) -> Result<Reply, Fault> {
    let arn = target(context, input)?;
    change(context, ChangeTags { arn, set: BTreeMap::new(), remove: list_of(input.get("TagKeyList")) }).await
}

async fn change(context: &Context<'_>, request: ChangeTags) -> Result<Reply, Fault> {
    let arn = request.arn.clone();
    let (_, at) = context.request(request).await?;
    // Only plans show in lists what their tags are part of; for the others the facts are soon enough.
    if let Some(id) = arn.resource().strip_prefix("backup-plan:")
        && plan_id(id).is_ok()
        && let Ok(plan) = context.plan(id, None).await
    {
        context.refresh(Change::Put(Box::new(Object::Plan(plan))), at).await;
    }
    Ok(Reply::empty())
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use state_store::StateStore;

    use crate::scene::{self, ACCOUNT, REGION, ask, json_of};

    /// The path of the tags of a vault in a region.
    fn path(operation: &str, region: &str) -> String {
        format!("/{operation}/arn%3Aaws%3Abackup%3A{region}%3A{ACCOUNT}%3Abackup-vault%3Amain")
    }

    #[tokio::test]
    async fn tags_are_read_and_changed_at_their_own_region_only() {
        let (api, _) = scene::api(StateStore::in_memory()).await;
        let calls: [(&str, &str, &[u8]); 3] = [
            ("GET", "tags", b""),
            ("POST", "tags", br#"{"Tags":{"team":"storage"}}"#),
            ("POST", "untag", br#"{"TagKeyList":["team"]}"#),
        ];
        for (method, operation, body) in calls {
            let response = ask(&api, method, &path(operation, "us-east-1"), body).await;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{method} {operation}");
            assert_eq!(response.headers()["x-amzn-errortype"], "InvalidParameterValueException");
            let message = json_of(response).await["Message"].as_str().unwrap().to_owned();
            assert!(message.contains(&format!("Expected region is {REGION}")), "{message}");
            // At its own region it is the planner's turn, and there is none here.
            let response = ask(&api, method, &path(operation, REGION), body).await;
            let message = json_of(response).await["Message"].as_str().unwrap().to_owned();
            assert!(message.contains("is not served here"), "{method} {operation}: {message}");
        }
    }
}
