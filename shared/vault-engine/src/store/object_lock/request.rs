//! Signed requests that `object_store` has no calls for, with its own credentials, signature and HTTP client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use object_store::HeaderValue;
use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{HttpClient, HttpErrorKind, HttpRequest};
use object_store::path::Path;
use object_store::signer::Signer;
use url::Url;
use vault_format::Id;

use super::answer::Answer;
use crate::error::chain;

/// Pauses between tries begin with this and double.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// Of no meaning: the signature of the address is not used.
const ADDRESS_GOOD_FOR: Duration = Duration::from_secs(60);
/// Longest answer that is looked at, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Sends requests about a bucket and what is in it.
pub(super) struct Requests {
    pub(super) bucket: Arc<AmazonS3>,
    pub(super) client: HttpClient,
    /// How long a request is repeated that failed for a passing reason.
    pub(super) retry_for: Duration,
}

/// Why there is no answer.
struct Unanswered {
    problem: String,
    is_passing: bool,
}

impl Requests {
    /// Sends it until there is an answer that counts; an error is a sentence. Without a path it is about the bucket.
    pub(super) async fn send(
        &self,
        method: &str,
        path: Option<&Path>,
        about: &str,
        body: &str,
    ) -> Result<Answer, String> {
        let begin = Instant::now();
        let mut pause = PAUSE;
        loop {
            // Signed anew each time: a signature is good for some minutes only.
            let problem = match self.send_once(method, path, about, body).await {
                Ok(answer) if !answer.is_passing() => return Ok(answer),
                Ok(answer) => answer.to_string(),
                Err(Unanswered { problem, is_passing: true }) => problem,
                Err(Unanswered { problem, .. }) => return Err(problem),
            };
            if begin.elapsed() + pause > self.retry_for {
                return Err(format!("{problem}, after tries for {} seconds", begin.elapsed().as_secs()));
            }
            tracing::debug!(problem, about, "asked again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn send_once(
        &self,
        method: &str,
        path: Option<&Path>,
        about: &str,
        body: &str,
    ) -> Result<Answer, Unanswered> {
        let (mut url, region) = self.address(method, path).await.map_err(wrong)?;
        url.set_query(Some(about));
        let mut request = HttpRequest::new(body.to_owned().into());
        *request.method_mut() = method.parse().map_err(|error| wrong(format!("{error}")))?;
        *request.uri_mut() = url.as_str().parse().map_err(|error| wrong(format!("{error}")))?;
        if !body.is_empty() {
            // S3 takes no change of a lock without a checksum of its own beside the signature's.
            let checksum = STANDARD.encode(Id::of(body.as_bytes()).as_bytes());
            let checksum = HeaderValue::from_str(&checksum).map_err(|error| wrong(error.to_string()))?;
            let headers = request.headers_mut();
            headers.insert("content-type", HeaderValue::from_static("application/xml"));
            headers.insert("x-amz-sdk-checksum-algorithm", HeaderValue::from_static("SHA256"));
            headers.insert("x-amz-checksum-sha256", checksum);
        }
        let credential = self.bucket.credentials().get_credential().await.map_err(|error| wrong(chain(&error)))?;
        AwsAuthorizer::new(&credential, "s3", &region)
            .try_authorize(&mut request, None)
            .map_err(|error| wrong(chain(&error)))?;
        let response = self.client.execute(request).await.map_err(|error| unanswered(&error))?;
        let status = response.status().as_u16();
        let bytes = response.into_body().bytes().await.map_err(|error| unanswered(&error))?;
        let bytes = &bytes[..bytes.len().min(ANSWER_BYTES_MAX)];
        Ok(Answer { status, body: String::from_utf8_lossy(bytes).into_owned() })
    }

    /// Where the bucket or the object is, and the region that signatures are for. `object_store` tells both only in an
    /// address that it has signed.
    async fn address(&self, method: &str, path: Option<&Path>) -> Result<(Url, String), String> {
        let at = path.cloned().unwrap_or_default();
        let method = method.parse().map_err(|error| format!("{error}"))?;
        let mut url = self.bucket.signed_url(method, &at, ADDRESS_GOOD_FOR).await.map_err(|error| chain(&error))?;
        let scope = url.query_pairs().find(|(name, _)| name == "X-Amz-Credential").map(|(_, scope)| scope.into_owned());
        // KEY/DATE/REGION/s3/aws4_request; a key may have slashes.
        let region = scope.as_deref().and_then(|scope| scope.rsplit('/').nth(2)).map(str::to_owned);
        url.set_query(None);
        let region = region.ok_or_else(|| "the region that requests are signed for is not known".to_owned())?;
        Ok((url, region))
    }
}

/// Nothing that another try would mend.
fn wrong(problem: String) -> Unanswered {
    Unanswered { problem, is_passing: false }
}

fn unanswered(error: &object_store::client::HttpError) -> Unanswered {
    let is_passing = matches!(
        error.kind(),
        HttpErrorKind::Connect | HttpErrorKind::Request | HttpErrorKind::Timeout | HttpErrorKind::Interrupted
    );
    Unanswered { problem: chain(error), is_passing }
}
