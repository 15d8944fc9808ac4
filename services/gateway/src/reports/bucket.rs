//! The stores that the names of buckets in report plans stand for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig};
use serde::{Deserialize, Serialize};
use service_host::ConfigProblem;

/// How long one request to a store may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(60);
/// How long requests that failed for a passing reason are repeated; then the report's job waits and begins again.
const RETRY_WITHIN: Duration = Duration::from_secs(30);

/// Where the reports of plans go that name this bucket. No secret stands in here, only where it is read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportBucket {
    /// `file:///srv/reports`, a directory that exists, or `s3://bucket/prefix`.
    pub url: String,
    /// URL of the S3 service where it is not the cloud's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The store's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A file with the access key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id_file: Option<PathBuf>,
    /// A file with the secret key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key_file: Option<PathBuf>,
    /// Whether plain HTTP is allowed.
    pub allow_http: bool,
}

/// Why a file is not in its store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BucketError {
    #[error("the bucket `{0}` is not among `report_buckets` of the gateway's configuration")]
    Unknown(String),
    #[error("the store of the bucket cannot be opened: `{path}` cannot be read")]
    Secret {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the store of the bucket cannot be opened")]
    Open(#[source] object_store::Error),
    #[error("`{key}` is no name of a file in a store")]
    Key {
        key: String,
        #[source]
        source: object_store::path::Error,
    },
    #[error("`{key}` could not be written")]
    Write {
        key: String,
        #[source]
        source: object_store::Error,
    },
}

impl ReportBucket {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// Names the key that cannot be used.
    pub(crate) fn check(&self, name: &str) -> Result<(), ConfigProblem> {
        let key = |member: &str| format!("report_buckets.{name}.{member}");
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
        if !(1..=63).contains(&name.len()) || !name.bytes().all(plain) {
            let mend = "a bucket's name has 1 to 63 letters, digits, dots, hyphens and underscores";
            return Err(ConfigProblem::new("report_buckets", name, mend));
        }
        if self.directory().is_none() && self.bucket().is_none() {
            let mend = "write `file:///directory` or `s3://bucket/prefix`";
            return Err(ConfigProblem::new(key("url"), &self.url, mend));
        }
        if self.access_key_id_file.is_some() != self.secret_access_key_file.is_some() {
            let mend = "give both `access_key_id_file` and `secret_access_key_file`, or neither";
            return Err(ConfigProblem::new(key("access_key_id_file"), "", mend));
        }
        Ok(())
    }

    fn directory(&self) -> Option<&Path> {
        self.url.strip_prefix("file://").map(Path::new).filter(|path| path.is_absolute())
    }

    /// Bucket and prefix of an S3 URL.
    fn bucket(&self) -> Option<(&str, &str)> {
        let rest = self.url.strip_prefix("s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        (!bucket.is_empty()).then_some((bucket, prefix))
    }

    fn open(&self) -> Result<Arc<dyn ObjectStore>, BucketError> {
        if let Some(directory) = self.directory() {
            // The directory has to be there: a disk that is not mounted is not made anew below its mount point.
            let store = LocalFileSystem::new_with_prefix(directory).map_err(BucketError::Open)?;
            return Ok(Arc::new(store.with_fsync(true)));
        }
        let (bucket, _) = self.bucket().unwrap_or_default();
        let options = ClientOptions::new().with_timeout(REQUEST_WITHIN).with_allow_http(self.allow_http);
        let retry = RetryConfig { retry_timeout: RETRY_WITHIN, ..RetryConfig::default() };
        let mut builder =
            AmazonS3Builder::new().with_bucket_name(bucket).with_client_options(options).with_retry(retry);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let (Some(id), Some(secret)) = (&self.access_key_id_file, &self.secret_access_key_file) {
            builder = builder.with_access_key_id(secret_of(id)?).with_secret_access_key(secret_of(secret)?);
        }
        Ok(Arc::new(builder.build().map_err(BucketError::Open)?))
    }

    /// Puts a file into the store, whole and durable, or not at all. A file of that name is replaced.
    pub(crate) async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), BucketError> {
        let store = self.open()?;
        let whole = match self.bucket() {
            Some((_, prefix)) if !prefix.is_empty() => format!("{}/{key}", prefix.trim_end_matches('/')),
            _ => key.to_owned(),
        };
        let path = Key::parse(&whole).map_err(|source| BucketError::Key { key: key.to_owned(), source })?;
        let written = store.put(&path, bytes.into()).await;
        written.map(|_| ()).map_err(|source| BucketError::Write { key: key.to_owned(), source })
    }
}

fn secret_of(path: &Path) -> Result<String, BucketError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| BucketError::Secret { path: path.display().to_string(), source })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> ReportBucket {
        ReportBucket { url: url.to_owned(), ..ReportBucket::default() }
    }

    #[test]
    fn a_bucket_stands_for_a_directory_or_a_store() {
        at("file:///srv/reports").check("reports").unwrap();
        at("s3://reports/daily").check("reports").unwrap();
        for url in ["", "/srv/reports", "file://relative", "s3://", "https://example.net"] {
            assert_eq!(at(url).check("reports").unwrap_err().key, "report_buckets.reports.url", "{url}");
        }
        assert_eq!(at("s3://reports").check("a/b").unwrap_err().key, "report_buckets");
        let half = ReportBucket { access_key_id_file: Some("/id".into()), ..at("s3://reports") };
        assert!(half.check("reports").is_err());
    }

    #[tokio::test]
    async fn a_file_is_replaced_whole_and_its_directory_is_not_made_up() {
        let dir = tempfile::tempdir().unwrap();
        let bucket = at(&format!("file://{}", dir.path().display()));
        bucket.put("a/b/report.csv", b"first".to_vec()).await.unwrap();
        bucket.put("a/b/report.csv", b"second".to_vec()).await.unwrap();
        assert_eq!(std::fs::read(dir.path().join("a/b/report.csv")).unwrap(), b"second");
        assert!(matches!(bucket.put("../escaped.csv", Vec::new()).await, Err(BucketError::Key { .. })));
        let gone = at(&format!("file://{}/missing", dir.path().display()));
        assert!(matches!(gone.put("report.csv", Vec::new()).await, Err(BucketError::Open(_))));
    }
}
