//! The services through the gateway: the requests and queries of the bus over HTTP, signed with an access key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway::Signer;
use jiff::Timestamp;
use job_events::{Answer, Query, Request, RequestAccepted};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::error::CliError;

/// Wait before a call that was not answered, or answered with "later", is sent again.
const PAUSE: Duration = Duration::from_millis(500);
/// The section of a credentials file unless another is named.
pub(crate) const USUAL_PROFILE: &str = "default";

/// How to log in to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiLogin {
    /// `https://host:port`.
    pub(crate) url: String,
    /// A file as the AWS command line reads them.
    pub(crate) credentials_file: PathBuf,
    /// The section with the key.
    pub(crate) profile: String,
    /// Certificates that are trusted beside the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

/// An access key. Its secret shows nowhere.
struct Key {
    id: String,
    secret: String,
}

/// A gateway.
pub(crate) struct Api {
    http: reqwest::Client,
    login: ApiLogin,
    host: String,
    key: Key,
    timeout: Duration,
}

/// A call: the same invocation however often it is sent, so that it has its effect once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) region: &'a str,
    pub(crate) invocation: &'a str,
    pub(crate) traceparent: Option<&'a str>,
}

impl Api {
    /// Reads the key and gets ready; nothing is sent yet.
    ///
    /// # Errors
    /// When the address, the credentials or the certificates cannot be used.
    pub(crate) fn new(login: ApiLogin, timeout: Duration) -> Result<Self, CliError> {
        let url = url::Url::parse(&login.url)
            .map_err(|e| CliError::usage(format!("`--url {}` is no address: {e}", login.url)))?;
        if url.path() != "/" || url.query().is_some() {
            return Err(CliError::usage(format!("`--url {}` has a path; write scheme, host and port", login.url)));
        }
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let key = key_of(&login.credentials_file, &login.profile)?;
        let mut builder = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
        if let Some(file) = &login.ca_file {
            let bad = |problem: String| CliError::BadFile { path: file.clone(), problem };
            let pem = std::fs::read(file).map_err(|source| CliError::ReadFile { path: file.clone(), source })?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| bad(format!("no PEM: {e}")))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().map_err(|e| unreachable_at(&login.url, e))?;
        Ok(Self { http, host, key, timeout, login })
    }

    /// Sends a request and waits until its service says that it is durable, or refuses it.
    ///
    /// # Errors
    /// When it is refused, or the gateway cannot be reached or does not know in time.
    pub(crate) async fn request(
        &self,
        call: Call<'_>,
        request: &Request,
        now: impl Fn() -> Timestamp,
    ) -> Result<RequestAccepted, CliError> {
        let data = request.to_value().map_err(bad_answer)?;
        let body = json!({ "type": request.event_type(), "data": data });
        let answer = self.call(call, "/holdfast/v1/requests", &body, request.service().as_str(), now).await?;
        serde_json::from_value(answer).map_err(bad_answer)
    }

    /// Asks a question.
    ///
    /// # Errors
    /// As [`Api::request`].
    pub(crate) async fn query(
        &self,
        call: Call<'_>,
        query: &Query,
        now: impl Fn() -> Timestamp,
    ) -> Result<Answer, CliError> {
        let body = serde_json::to_value(query).map_err(bad_answer)?;
        let answer = self.call(call, "/holdfast/v1/queries", &body, query.service().as_str(), now).await?;
        serde_json::from_value(answer).map_err(bad_answer)
    }

    async fn call(
        &self,
        call: Call<'_>,
        path: &str,
        body: &Value,
        service: &'static str,
        now: impl Fn() -> Timestamp,
    ) -> Result<Value, CliError> {
        let bytes = body.to_string().into_bytes();
        let tries = async {
            loop {
                let sent = self.send(call, path, &bytes, now()).await;
                match sent {
                    Ok((status, _)) if status == 429 || status >= 500 => {}
                    Ok((200, body)) => return Ok(body),
                    Ok((_, body)) => return Err(refused(&body)),
                    // Nobody listens, or it is no gateway: that does not change while one waits.
                    Err(error) if error.is_connect() || error.is_builder() => {
                        return Err(unreachable_at(&self.login.url, error.without_url()));
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let late = CliError::NoAnswer { service, seconds: self.timeout.as_secs() };
        tokio::time::timeout(self.timeout, tries).await.unwrap_or(Err(late))
    }

    /// One try: the status and the document that came with it.
    async fn send(
        &self,
        call: Call<'_>,
        path: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(u16, Value), reqwest::Error> {
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("host", &self.host);
        put("content-type", "application/json");
        put("amz-sdk-invocation-id", call.invocation);
        if let Some(traceparent) = call.traceparent {
            put("traceparent", traceparent);
        }
        let signer = Signer { key_id: &self.key.id, secret: &self.key.secret, region: call.region, service: "backup" };
        // A key id that cannot stand in a header was refused when it was read.
        let _ = signer.sign(("POST", path, ""), &mut headers, body, now);
        let url = format!("{}{path}", self.login.url.trim_end_matches('/'));
        let response = self.http.post(url).headers(headers).body(body.to_vec()).send().await?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }
}

fn refused(body: &Value) -> CliError {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let (code, message) = (text("Code"), text("Message"));
    if code.is_empty() {
        return bad_answer("no answer of a gateway; look at `--url`");
    }
    CliError::Refused { code, field: text("Context"), message }
}

fn bad_answer(cause: impl Into<crate::error::Cause>) -> CliError {
    CliError::BadAnswer { service: "gateway", source: cause.into() }
}

fn unreachable_at(url: &str, error: reqwest::Error) -> CliError {
    CliError::ApiUnreachable { url: url.to_owned(), source: Box::new(error) }
}

/// The key of a section of a credentials file.
fn key_of(file: &Path, profile: &str) -> Result<Key, CliError> {
    let text = std::fs::read_to_string(file).map_err(|source| CliError::ReadFile { path: file.to_owned(), source })?;
    let bad = |problem: String| CliError::BadFile { path: file.to_owned(), problem };
    let (mut inside, mut found) = (false, false);
    let (mut id, mut secret) = (None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = section.trim() == profile;
            found |= inside;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| inside) {
            match name.trim() {
                "aws_access_key_id" => id = Some(value.trim().to_owned()),
                "aws_secret_access_key" => secret = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    if !found {
        return Err(bad(format!("there is no profile `[{profile}]`; name one with `--profile`")));
    }
    let plain = |id: &String| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
    match (id.filter(plain), secret.filter(|secret| !secret.is_empty())) {
        (Some(id), Some(secret)) => Ok(Key { id, secret }),
        _ => Err(bad(format!("`[{profile}]` wants `aws_access_key_id` and `aws_secret_access_key`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n[default]\naws_access_key_id = AKONE\naws_secret_access_key = one=\n\n[ audit ]\n\
                        aws_access_key_id=AKTWO\naws_secret_access_key=two\n[broken]\naws_access_key_id = AKTHREE\n";

    #[test]
    fn a_profile_gives_its_own_key_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        std::fs::write(&file, FILE).unwrap();
        let key = key_of(&file, "default").unwrap();
        assert_eq!((key.id.as_str(), key.secret.as_str()), ("AKONE", "one="));
        let key = key_of(&file, "audit").unwrap();
        assert_eq!((key.id.as_str(), key.secret.as_str()), ("AKTWO", "two"));
        for profile in ["broken", "missing"] {
            let error = key_of(&file, profile).err().unwrap().to_string();
            assert!(error.contains(profile), "{error}");
        }
        assert!(matches!(key_of(&dir.path().join("none"), "default"), Err(CliError::ReadFile { .. })));
    }

    #[test]
    fn an_address_is_scheme_host_and_port() {
        let dir = tempfile::tempdir().unwrap();
        let credentials_file = dir.path().join("credentials");
        std::fs::write(&credentials_file, FILE).unwrap();
        let api = |url: &str| {
            let (profile, ca_file) = (USUAL_PROFILE.to_owned(), None);
            let login = ApiLogin { url: url.to_owned(), credentials_file: credentials_file.clone(), profile, ca_file };
            Api::new(login, Duration::from_secs(1))
        };
        assert_eq!(api("http://127.0.0.1:9480").ok().unwrap().host, "127.0.0.1:9480");
        assert_eq!(api("https://gateway.example.net/").ok().unwrap().host, "gateway.example.net");
        assert!(api("https://gateway.example.net/path").is_err());
    }
}
