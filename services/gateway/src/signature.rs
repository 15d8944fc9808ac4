//! AWS Signature Version 4, as its verifier. Pure: the secret, the instant and the request are arguments.
//!
//! Source: AWS General Reference, "Signature Version 4 signing process". For every service but S3 the path is encoded once
//! more before it is signed, so that `%3A` on the wire is signed as `%253A`.

use aws_lc_rs::{constant_time, digest, hmac};
use axum::http::HeaderMap;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::fault::Fault;
use axum::http::StatusCode;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far the clocks of client and gateway may be apart: AWS's five minutes. A request is worthless afterwards.
pub(crate) const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a request says about its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The access key's id.
    pub(crate) key_id: String,
    /// `20250102`.
    date: String,
    /// The region it is meant for.
    pub(crate) region: String,
    service: String,
    /// Names of the headers that are signed, as given.
    signed: Vec<String>,
    /// In hexadecimal digits.
    pub(crate) signature: String,
    /// When it was signed.
    pub(crate) at: Timestamp,
    /// As it stands in the header.
    stamp: String,
}

/// What was signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// As it came, percent-encoded.
    pub(crate) raw_path: &'a str,
    pub(crate) raw_query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

fn forbidden(code: &str, message: impl Into<String>) -> Fault {
    Fault::new(code, message).with_status(StatusCode::FORBIDDEN)
}

fn incomplete(problem: impl Into<String>) -> Fault {
    Fault::new("IncompleteSignatureException", problem)
}

fn invalid(problem: impl Into<String>) -> Fault {
    forbidden("InvalidSignatureException", problem)
}

impl Claim {
    /// Reads the claim of a request, and whether it can be true at this instant.
    pub(crate) fn read(headers: &HeaderMap, service: &str, now: Timestamp) -> Result<Self, Fault> {
        let Some(header) = headers.get("authorization") else {
            return Err(forbidden("MissingAuthenticationTokenException", "Missing Authentication Token"));
        };
        let header = header.to_str().map_err(|_| incomplete("Authorization header is no text"))?;
        let Some(rest) = header.strip_prefix(ALGORITHM) else {
            return Err(incomplete(format!("Authorization header has to begin with `{ALGORITHM}`")));
        };
        let part = |name: &str| {
            let parts = rest.split(',').map(str::trim);
            let value = parts.filter_map(|part| part.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v);
            value.ok_or_else(|| incomplete(format!("Authorization header requires '{name}' parameter")))
        };
        let (credential, signed, signature) = (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
        let scope: Vec<&str> = credential.split('/').collect();
        let [key_id, date, region, scope_service, "aws4_request"] = scope.as_slice() else {
            return Err(incomplete("Credential has to be `<key>/<date>/<region>/<service>/aws4_request`"));
        };
        let stamp = headers.get("x-amz-date").and_then(|value| value.to_str().ok());
        let stamp =
            stamp.ok_or_else(|| incomplete("Authorization header requires existence of an 'X-Amz-Date' header"))?;
        let at = DateTime::strptime("%Y%m%dT%H%M%SZ", stamp).ok().and_then(|at| at.to_zoned(TimeZone::UTC).ok());
        let at = at.ok_or_else(|| incomplete("Date must be in ISO-8601 'basic format'"))?.timestamp();
        let claim = Self {
            key_id: (*key_id).to_owned(),
            date: (*date).to_owned(),
            region: (*region).to_owned(),
            service: (*scope_service).to_owned(),
            signed: signed.split(';').map(str::to_ascii_lowercase).collect(),
            signature: signature.to_owned(),
            at,
            stamp: stamp.to_owned(),
        };
        claim.check(headers, service, now)?;
        Ok(claim)
    }

    fn check(&self, headers: &HeaderMap, service: &str, now: Timestamp) -> Result<(), Fault> {
        if self.service != service {
            return Err(invalid(format!("Credential should be scoped to correct service: '{service}'.")));
        }
        if !self.stamp.starts_with(&self.date) {
            return Err(invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date"));
        }
        for must in ["host", "x-amz-date"] {
            if !self.signed.iter().any(|name| name == must) {
                return Err(invalid(format!("'{must}' has to be a 'SignedHeader' in the AWS Authorization header")));
            }
        }
        // What steers the meaning of a request may not be put in on the way.
        let steering = headers.keys().map(axum::http::HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
        for name in steering {
            if !self.signed.iter().any(|signed| signed == name) {
                return Err(invalid(format!("header '{name}' is there and not signed")));
            }
        }
        if now.duration_since(self.at) > SKEW {
            let (stamp, oldest) = (&self.stamp, now.saturating_sub(SKEW).unwrap_or(Timestamp::MIN));
            return Err(invalid(format!("Signature expired: {stamp} is now earlier than {oldest} (5 min.)")));
        }
        if self.at.duration_since(now) > SKEW {
            let (stamp, newest) = (&self.stamp, now.saturating_add(SKEW).unwrap_or(Timestamp::MAX));
            return Err(invalid(format!("Signature not yet current: {stamp} is still later than {newest} (5 min.)")));
        }
        Ok(())
    }

    /// Whether the request carries the signature that this secret makes.
    pub(crate) fn verify(&self, secret: &str, signed: &Signed<'_>) -> Result<(), Fault> {
        let payload = payload_hash(signed)?;
        let canonical = self.canonical(signed, &payload)?;
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{}", self.stamp, hex_digest(canonical.as_bytes()));
        let calculated = hex::encode(mac(&self.signing_key(secret), text.as_bytes()));
        constant_time::verify_slices_are_equal(calculated.as_bytes(), self.signature.as_bytes()).map_err(|_| {
            invalid(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method.",
            )
        })
    }

    fn signing_key(&self, secret: &str) -> Vec<u8> {
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [&self.date, &self.region, &self.service, "aws4_request"] {
            key = mac(&key, part.as_bytes());
        }
        key
    }

    fn canonical(&self, signed: &Signed<'_>, payload: &str) -> Result<String, Fault> {
        let mut headers = String::new();
        for name in &self.signed {
            let values: Vec<&str> =
                signed.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
            if values.is_empty() {
                return Err(invalid(format!("header '{name}' is signed and not there")));
            }
            let folded: Vec<String> =
                values.iter().map(|value| value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect();
            headers.push_str(&format!("{name}:{}\n", folded.join(",")));
        }
        Ok(format!(
            "{}\n{}\n{}\n{headers}\n{}\n{payload}",
            signed.method,
            canonical_path(signed.raw_path),
            canonical_query(signed.raw_query),
            self.signed.join(";"),
        ))
    }
}

/// The digest of the body that goes into the signature. A header may announce it; then it has to be true. Bodies that are
/// left out of the signature are refused: what they ask for could be changed on the way.
fn payload_hash(signed: &Signed<'_>) -> Result<String, Fault> {
    let actual = hex_digest(signed.body);
    match signed.headers.get("x-amz-content-sha256").map(|value| value.to_str().unwrap_or_default()) {
        None => Ok(actual),
        Some(announced) if announced.eq_ignore_ascii_case(&actual) => Ok(actual),
        Some("UNSIGNED-PAYLOAD") => Err(invalid("UNSIGNED-PAYLOAD is not taken: sign the body")),
        Some(_) => Err(invalid("The value of 'x-amz-content-sha256' is not the digest of the body")),
    }
}

/// The path, encoded once more. Empty segments and dots stand for themselves, as clients of this API send them.
fn canonical_path(raw: &str) -> String {
    let segments = raw.split('/').map(|segment| utf8_percent_encode(segment, RESERVED).to_string());
    let path = segments.collect::<Vec<_>>().join("/");
    if path.is_empty() { "/".to_owned() } else { path }
}

fn canonical_query(raw: &str) -> String {
    let encode = |text: &str| {
        let bytes: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
        percent_encoding::percent_encode(&bytes, RESERVED).to_string()
    };
    let mut pairs: Vec<(String, String)> = raw
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(key, value)| (encode(key), encode(value)))
        .collect();
    pairs.sort();
    pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

fn hex_digest(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// Signs requests: the command line's side, and that of tests.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The access key's id.
    pub key_id: &'a str,
    /// Its secret.
    pub secret: &'a str,
    /// The region the request is meant for.
    pub region: &'a str,
    /// The service's name in the scope: `backup`.
    pub service: &'a str,
}

impl Signer<'_> {
    /// Adds date and signature to the headers, which all are signed; `host` has to be among them.
    ///
    /// # Errors
    /// When the key's id cannot stand in a header.
    pub fn sign(
        &self,
        (method, raw_path, raw_query): (&str, &str, &str),
        headers: &mut HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), axum::http::header::InvalidHeaderValue> {
        let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        headers.insert("x-amz-date", stamp.parse()?);
        let mut names: Vec<String> = headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        let claim = Claim {
            key_id: self.key_id.to_owned(),
            date: stamp[..8].to_owned(),
            region: self.region.to_owned(),
            service: self.service.to_owned(),
            signed: names,
            signature: String::new(),
            at: now,
            stamp,
        };
        let signed = Signed { method, raw_path, raw_query, headers, body };
        let canonical = claim.canonical(&signed, &hex_digest(body)).unwrap_or_default();
        let scope = format!("{}/{}/{}/aws4_request", claim.date, self.region, self.service);
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{}", claim.stamp, hex_digest(canonical.as_bytes()));
        let signature = hex::encode(mac(&claim.signing_key(self.secret), text.as_bytes()));
        let value = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
            self.key_id,
            claim.signed.join(";")
        );
        headers.insert("authorization", value.parse()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
