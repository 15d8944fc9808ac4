//! What AWS lacks, under a path of its own: run a restore test now, stop restores and copies, the resource registry, what
//! is not protected, coverage, the runs that will come. Bodies and answers are the shapes of the bus.

use jiff::{SignedDuration, Timestamp};
use job_events::{
    Answer, DeregisterResource, Query, RegisterResource, Request, RunRestoreTest, StartVaultCheck, StopJob,
};
use job_model::{JobKind, Resource};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Context, unexpected};
use crate::fault::Fault;
use crate::projection::{Change, Object, key};
use crate::reply::Reply;

/// Where the native operations are.
pub(crate) const PREFIX: &str = "/holdfast/v1/";

/// A native operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Native {
    ListResources,
    RegisterResource,
    GetResource(String),
    DeregisterResource(String),
    RunRestoreTest(String),
    ListTestRuns,
    GetTestRun(String),
    StopJob(JobKind, String),
    ListUnprotected,
    GetCoverage,
    GetForecast,
    StartVaultCheck(String),
    /// A query of the bus.
    Query,
    /// A request of the bus.
    Request,
}

/// Finds the operation of a path below the prefix.
pub(crate) fn find(method: &str, path: &str) -> Result<Native, Fault> {
    let unknown = || Fault::unknown_operation(&format!("{method} {PREFIX}{}", crate::decode::short(path)));
    let decoded: Option<Vec<String>> = path
        .trim_end_matches('/')
        .split('/')
        .map(|part| percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned))
        .collect();
    let decoded = decoded.ok_or_else(|| Fault::invalid("path", "not UTF-8 when decoded"))?;
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    Ok(match (method, parts.as_slice()) {
        ("GET", ["resources"]) => Native::ListResources,
        ("PUT", ["resources"]) => Native::RegisterResource,
        ("GET", ["resources", arn]) => Native::GetResource((*arn).to_owned()),
        ("DELETE", ["resources", arn]) => Native::DeregisterResource((*arn).to_owned()),
        ("GET", ["unprotected-resources"]) => Native::ListUnprotected,
        ("GET", ["coverage"]) => Native::GetCoverage,
        ("GET", ["forecast"]) => Native::GetForecast,
        ("POST", ["restore-testing-plans", name, "run"]) => Native::RunRestoreTest((*name).to_owned()),
        ("GET", ["test-runs"]) => Native::ListTestRuns,
        ("GET", ["test-runs", id]) => Native::GetTestRun((*id).to_owned()),
        ("POST", ["restore-jobs", id, "stop"]) => Native::StopJob(JobKind::Restore, (*id).to_owned()),
        ("POST", ["copy-jobs", id, "stop"]) => Native::StopJob(JobKind::Copy, (*id).to_owned()),
        ("POST", ["queries"]) => Native::Query,
        ("POST", ["requests"]) => Native::Request,
        ("POST", ["vaults", name, "check"]) => Native::StartVaultCheck((*name).to_owned()),
        _ => return Err(unknown()),
    })
}

impl Native {
    /// Its name in the matrix of roles.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ListResources => "holdfast:ListResources",
            Self::RegisterResource => "holdfast:RegisterResource",
            Self::GetResource(_) => "holdfast:GetResource",
            Self::DeregisterResource(_) => "holdfast:DeregisterResource",
            Self::RunRestoreTest(_) => "holdfast:RunRestoreTest",
            Self::ListTestRuns => "holdfast:ListTestRuns",
            Self::GetTestRun(_) => "holdfast:GetTestRun",
            Self::StopJob(JobKind::Copy, _) => "holdfast:StopCopyJob",
            Self::StopJob(..) => "holdfast:StopRestoreJob",
            Self::ListUnprotected => "holdfast:ListUnprotected",
            Self::GetCoverage => "holdfast:GetCoverage",
            Self::GetForecast => "holdfast:GetForecast",
            Self::StartVaultCheck(_) => "holdfast:StartVaultCheck",
            Self::Query => "holdfast:Query",
            Self::Request => "holdfast:Request",
        }
    }

    /// Whether it changes something.
    pub(crate) fn changes(&self) -> bool {
        matches!(
            self,
            Self::RegisterResource
                | Self::DeregisterResource(_)
                | Self::RunRestoreTest(_)
                | Self::StopJob(..)
                | Self::StartVaultCheck(_)
                | Self::Request
        )
    }
}

/// A parameter of the query.
fn parameter(raw_query: &str, name: &str) -> Option<String> {
    let pair = raw_query.split('&').filter_map(|part| part.split_once('=')).find(|(key, _)| *key == name)?;
    percent_decode_str(pair.1).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn number<T: std::str::FromStr>(raw_query: &str, name: &str) -> Result<Option<T>, Fault> {
    let Some(text) = parameter(raw_query, name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Fault::invalid(name, format!("`{text}` is no whole number")))
}

fn body_of<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Fault::invalid("body", error))
}

fn shown<T: serde::Serialize>(value: &T) -> Result<Reply, Fault> {
    serde_json::to_value(value).map(Reply::json).map_err(|error| Fault::internal(error.to_string()))
}

/// Does it.
pub(crate) async fn run(context: &Context<'_>, native: &Native, query: &str, body: &[u8]) -> Result<Reply, Fault> {
    match native {
        Native::ListResources => list_resources(context, query),
        Native::RegisterResource => register(context, body).await,
        Native::GetResource(arn) => shown(&resource(context, arn).await?),
        Native::DeregisterResource(arn) => {
            let arn = resource(context, arn).await?.arn;
            let (accepted, at) = context.request(DeregisterResource { arn: arn.clone() }).await?;
            context.refresh(Change::Remove(key::resource(&arn)), at).await;
            shown(&accepted)
        }
        Native::RunRestoreTest(name) => send(context, RunRestoreTest { name: name.clone() }).await,
        Native::StopJob(kind, id) => {
            let job = context.job(id, *kind).await?;
            send(context, StopJob { job_id: job.id }).await
        }
        Native::StartVaultCheck(name) => {
            #[derive(serde::Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Wanted {
                #[serde(default)]
                read_data: bool,
                #[serde(default)]
                storage_class: job_model::StorageClass,
            }
            let vault = context.vault_arn(name)?;
            let Wanted { read_data, storage_class } = body_of(body)?;
            send(context, StartVaultCheck { vault, read_data, storage_class }).await
        }
        Native::Query => {
            of_the_installation(context)?;
            shown(&context.query(&body_of::<Query>(body)?).await?)
        }
        Native::Request => {
            of_the_installation(context)?;
            let Wrapped { event_type, data } = body_of(body)?;
            let request = Request::decode(&event_type, data).map_err(|error| Fault::invalid("body", error))?;
            send(context, request).await
        }
        Native::ListTestRuns => {
            let (account, limit) = (Some(context.account().clone()), number(query, "limit")?);
            match context.query(&Query::ListTestRuns { account, limit }).await? {
                Answer::TestRuns(runs) => shown(&runs),
                _ => Err(unexpected()),
            }
        }
        Native::GetTestRun(id) => {
            let none = || Fault::not_found(format!("test run `{}` does not exist", crate::decode::short(id)));
            let test_run = id.parse().map_err(|_| none())?;
            match context.query(&Query::ShowTestRun { test_run }).await? {
                Answer::TestRun(run) if is_own_run(context, &run) => shown(&run),
                Answer::TestRun(_) => Err(none()),
                _ => Err(unexpected()),
            }
        }
        Native::ListUnprotected => {
            let after = parameter(query, "after").map(|text| context.arn("after", &text)).transpose()?;
            let account = Some(context.account().clone());
            match context.query(&Query::ListUnprotected { account, after }).await? {
                Answer::Resources(resources) => shown(&resources),
                _ => Err(unexpected()),
            }
        }
        Native::GetCoverage => {
            let (days, after) = (number(query, "days")?, parameter(query, "after"));
            let account = Some(context.account().clone());
            match context.query(&Query::Coverage { account, days, after }).await? {
                Answer::Coverage(coverage) => shown(&coverage),
                _ => Err(unexpected()),
            }
        }
        Native::GetForecast => {
            let hours = number::<i64>(query, "hours")?.unwrap_or(24).clamp(1, 24 * 366);
            let until = context.now.saturating_add(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MAX);
            let account = Some(context.account().clone());
            match context.query(&Query::Forecast { account, until, limit: number(query, "limit")? }).await? {
                Answer::Forecast(runs) => shown(&runs),
                _ => Err(unexpected()),
            }
        }
    }
}

/// A request as the command line sends it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    /// The CloudEvents type of the request.
    #[serde(rename = "type")]
    event_type: String,
    /// Its payload.
    data: Value,
}

/// What speaks in the shapes of the bus sees and names things of all accounts: it is for those who run the installation.
fn of_the_installation(context: &Context<'_>) -> Result<(), Fault> {
    if context.account() == context.api.projection.own() {
        return Ok(());
    }
    Err(Fault::denied("only a key of the installation's own account may send requests and queries of the bus"))
}

async fn send(context: &Context<'_>, request: impl Into<Request>) -> Result<Reply, Fault> {
    shown(&context.request(request).await?.0)
}

/// A run is its plan's owner's.
fn is_own_run(context: &Context<'_>, run: &job_events::TestRun) -> bool {
    run.account.as_ref().unwrap_or(context.api.projection.own()) == context.account()
}

async fn register(context: &Context<'_>, body: &[u8]) -> Result<Reply, Fault> {
    let request: RegisterResource = body_of(body)?;
    let arn = request.arn.clone();
    let named = arn.account();
    if !named.is_empty() && named != context.account().as_str() {
        return Err(Fault::invalid("arn", format!("account `{named}` is not that of the access key")));
    }
    let (accepted, at) = context.request(request).await?;
    if let Ok(resource) = resource(context, arn.as_str()).await {
        context.refresh(Change::Put(Box::new(Object::Resource(resource))), at).await;
    }
    shown(&accepted)
}

/// A resource of the account, by the planner's word.
async fn resource(context: &Context<'_>, arn: &str) -> Result<Resource, Fault> {
    let resource = context.arn("arn", arn)?;
    let not_found = Fault::not_found(format!("resource `{resource}` is not registered"));
    match context.query(&Query::ShowResource { resource }).await? {
        Answer::Resource(resource) if is_own(context, &resource) => Ok(*resource),
        Answer::Resource(_) => Err(not_found),
        _ => Err(unexpected()),
    }
}

fn is_own(context: &Context<'_>, resource: &Resource) -> bool {
    resource.account_or(context.api.projection.own()) == context.account().as_str()
}

/// The registry of the account: at most 1000 after an ARN.
fn list_resources(context: &Context<'_>, query: &str) -> Result<Reply, Fault> {
    let after = parameter(query, "after");
    let limit = number::<usize>(query, "limit")?.unwrap_or(1000).clamp(1, 1000);
    let mut rows: Vec<Resource> = Vec::new();
    for object in context.api.projection.objects("resource/") {
        let Object::Resource(resource) = object.as_ref() else { continue };
        let is_later = after.as_deref().is_none_or(|after| resource.arn.as_str() > after);
        if is_later && is_own(context, resource) {
            rows.push(resource.clone());
        }
        if rows.len() > limit {
            break;
        }
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|resource| resource.arn.to_string());
    let rows: Value = serde_json::to_value(&rows).map_err(|error| Fault::internal(error.to_string()))?;
    Ok(context.listed(json!({ "resources": rows, "next": next })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_operations_and_arns_are_one_segment() {
        assert_eq!(find("GET", "resources").unwrap(), Native::ListResources);
        let arn = "arn:aws:files:ap-northeast-1:000000000000:tree/home";
        let encoded = "resources/arn%3Aaws%3Afiles%3Aap-northeast-1%3A000000000000%3Atree%2Fhome";
        assert_eq!(find("DELETE", encoded).unwrap(), Native::DeregisterResource(arn.to_owned()));
        assert_eq!(find("POST", "copy-jobs/j/stop/").unwrap().name(), "holdfast:StopCopyJob");
        for (method, path) in [("GET", ""), ("PUT", "coverage"), ("GET", "resources/a/b"), ("GET", "%ff")] {
            assert!(find(method, path).unwrap_err().status.is_client_error(), "{method} {path}");
        }
    }

    #[test]
    fn what_changes_is_no_reading_for_an_auditor() {
        for native in [Native::RegisterResource, Native::RunRestoreTest("p".to_owned())] {
            assert!(native.changes() && !crate::access::Role::Auditor.may(native.name()));
        }
        assert!(!Native::GetCoverage.changes() && crate::access::Role::Auditor.may(Native::GetCoverage.name()));
    }
}
