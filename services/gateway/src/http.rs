//! From an HTTP request to an answer: who calls, what for, may they, and the answer with its headers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use job_model::{Arn, Region};
use service_host::{Clock, Ids};

use crate::access::{Caller, Keys};
use crate::backend::{Backend, Behalf};
use crate::calls::{CallName, Calls};
use crate::config::Config;
use crate::decode;
use crate::fault::Fault;
use crate::member_names::member_path;
use crate::model::api;
use crate::operations::{self, Context, native};
use crate::page_token::PageTokens;
use crate::projection::Projection;
use crate::reply::Reply;
use crate::route::{self, NoRoute};
use crate::signature::{Claim, Signed};
use crate::throttle::Throttle;

/// The header that names a request in logs of both sides.
const REQUEST_ID: &str = "x-amzn-requestid";
/// The same for all tries of one call.
const INVOCATION: &str = "amz-sdk-invocation-id";
/// How long a client may take to send a body.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// Everything that answers need.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) config: Config,
    pub(crate) keys: Keys,
    pub(crate) backend: Backend,
    pub(crate) projection: Projection,
    pub(crate) calls: Calls,
    pub(crate) tokens: PageTokens,
    pub(crate) throttle: Throttle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// The server: one answer for every path, because paths are split here and nowhere else.
pub(crate) fn router(api: Arc<Api>) -> Router {
    Router::new().fallback(move |request: Request| answer(api.clone(), request))
}

pub(crate) async fn answer(api: Arc<Api>, request: Request) -> Response<Body> {
    let id = api.ids.uuid().hyphenated().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = api.clock.elapsed_ms();
    let limit = api.config.call_timeout;
    let result = match tokio::time::timeout(limit + BODY_WITHIN, handle(&api, request)).await {
        Ok(result) => result,
        Err(_) => Err(Fault::unavailable("the call took too long; the same call again finds out what became of it")),
    };
    let took_ms = api.clock.elapsed_ms().saturating_sub(began);
    let mut response = match result {
        Ok((reply, usual)) => {
            tracing::debug!(request_id = id, %method, path, took_ms, "answered");
            reply.response(usual)
        }
        Err(fault) => {
            let status = fault.status.as_u16();
            tracing::info!(request_id = id, %method, path, took_ms, status, error = %fault, "refused");
            fault.response()
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// What a request is, once its body is there and its signature true.
struct Authentic<'a> {
    caller: &'a Caller,
    region: Region,
    signature: String,
    body: Bytes,
    headers: HeaderMap,
}

async fn handle(api: &Api, request: Request) -> Result<(Reply, u16), Fault> {
    let (parts, body) = request.into_parts();
    let (raw_path, raw_query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let now = api.clock.now();
    let method = parts.method.as_str();
    let authentic = authenticate(api, (method, raw_path, raw_query), parts.headers, body, now).await?;
    let behalf = behalf(&authentic)?;
    let (caller, region) = (authentic.caller, &authentic.region);
    let input_text = || format!("{method} {raw_path}?{raw_query}\n{}", String::from_utf8_lossy(&authentic.body));

    if let Some(path) = raw_path.strip_prefix(native::PREFIX) {
        let wanted = native::find(method, path)?;
        // Native operations have the shapes of the bus, and its names.
        let in_own_words = |fault: Fault| fault.named(str::to_owned);
        allow(caller, wanted.name())?;
        let context = Context { api, caller, behalf: &behalf, region, now, call: None, token: None };
        if !wanted.changes() {
            let made = native::run(&context, &wanted, raw_query, &authentic.body).await;
            return made.map(|reply| (reply, 200)).map_err(in_own_words);
        }
        let text = input_text();
        let name = call_name(&authentic, wanted.name(), &text);
        let made = api.calls.once(&name, now, |call| {
            let context = Context { call: Some(call), ..context };
            let (wanted, body) = (&wanted, &authentic.body);
            async move { native::run(&context, wanted, raw_query, body).await }
        });
        return made.await.map(|reply| (reply, 200)).map_err(in_own_words);
    }

    let route = route::find(method, raw_path, raw_query).map_err(|error| match error {
        NoRoute::Unknown => Fault::unknown_operation(&format!("{method} {}", decode::short(raw_path))),
        NoRoute::NotText => Fault::invalid("path", "not UTF-8 when decoded"),
        NoRoute::Empty { name, member } if operations::is_served(name) => Fault::missing(member),
        NoRoute::Empty { name, .. } => Fault::unknown_operation(name),
    })?;
    if !operations::is_served(route.name) {
        return Err(Fault::unknown_operation(route.name));
    }
    allow(caller, route.name)?;
    let input = decode::input(&route, raw_query, &authentic.body)?;
    let usual = route.operation.status;
    let named = |fault: Fault| fault.named(|field| member_path(route.operation.input.as_deref(), field));
    let context = Context { api, caller, behalf: &behalf, region, now, call: None, token: None };
    if method == "GET" || route.name == "GetBackupPlanFromJSON" {
        let made = operations::run(&context, &route, &input).await;
        return made.map(|reply| (reply, usual)).map_err(named);
    }
    let text = input_text();
    let name = call_name(&authentic, route.name, &text);
    let made = api.calls.once(&name, now, |call| {
        let context = Context { call: Some(call), ..context };
        let (route, input) = (&route, &input);
        async move { operations::run(&context, route, input).await }
    });
    made.await.map(|reply| (reply, usual)).map_err(named)
}

fn call_name<'a>(authentic: &'a Authentic<'_>, operation: &'a str, input: &'a str) -> CallName<'a> {
    let invocation = authentic.headers.get(INVOCATION).and_then(|value| value.to_str().ok());
    CallName {
        account: &authentic.caller.account,
        operation,
        invocation: invocation.filter(|id| (1..=128).contains(&id.len())),
        signature: &authentic.signature,
        input,
    }
}

async fn authenticate<'a>(
    api: &'a Api,
    (method, raw_path, raw_query): (&str, &str, &str),
    headers: HeaderMap,
    body: Body,
    now: Timestamp,
) -> Result<Authentic<'a>, Fault> {
    let claim = Claim::read(&headers, &self::api().service, now)?;
    let forbidden = |code: &str, text: &str| Fault::new(code, text).with_status(StatusCode::FORBIDDEN);
    // Before the body is read: a stranger gets no memory.
    let (caller, secret) = api.keys.find(&claim.key_id).ok_or_else(|| {
        forbidden("UnrecognizedClientException", "The security token included in the request is invalid.")
    })?;
    let limit = api.config.body_bytes_max;
    let read = tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, limit)).await;
    let body = match read {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let text = format!("the body did not arrive whole, or has more than {limit} bytes");
            return Err(Fault::new("RequestEntityTooLargeException", text).with_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        Err(_) => {
            return Err(Fault::new("RequestTimeoutException", "the body took too long")
                .with_status(StatusCode::REQUEST_TIMEOUT));
        }
    };
    claim.verify(secret, &Signed { method, raw_path, raw_query, headers: &headers, body: &body })?;
    let region = claim.region.parse::<Region>().ok().filter(|region| api.config.regions.contains_key(region));
    let region = region.ok_or_else(|| {
        let known: Vec<&str> = api.config.regions.keys().map(Region::as_str).collect();
        let text = format!("Credential should be scoped to a valid region; served here: {}", known.join(", "));
        forbidden("InvalidSignatureException", &text)
    })?;
    if !api.throttle.allows(&caller.key_id, api.clock.elapsed_ms()) {
        let fault = Fault::new("ThrottlingException", "Rate exceeded").with_status(StatusCode::TOO_MANY_REQUESTS);
        return Err(Fault { retry_after: Some(1), ..fault });
    }
    Ok(Authentic { caller, region, signature: claim.signature, body, headers })
}

fn allow(caller: &Caller, operation: &str) -> Result<(), Fault> {
    if caller.role.may(operation) {
        return Ok(());
    }
    let action = if operation.contains(':') { operation.to_owned() } else { format!("backup:{operation}") };
    let (account, role) = (&caller.account, caller.role.as_str());
    Err(Fault::denied(format!("arn:aws:iam::{account}:role/{role} is not authorized to perform: {action}")))
}

fn behalf(authentic: &Authentic<'_>) -> Result<Behalf, Fault> {
    let Caller { account, role, .. } = authentic.caller;
    let principal: Arn = format!("arn:aws:iam::{account}:role/{}", role.as_str())
        .parse()
        .map_err(|error: job_model::InvalidArn| Fault::internal(error.to_string()))?;
    let traceparent = authentic.headers.get("traceparent").and_then(|value| value.to_str().ok());
    Ok(Behalf {
        account: account.clone(),
        principal,
        region: authentic.region.clone(),
        traceparent: traceparent.filter(|text| text.len() == 55 && text.starts_with("00-")).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests;
