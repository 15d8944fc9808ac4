use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const PATH: &str = "/backup-vaults/v1/recovery-points/arn%3Aaws%3Aec2%3Aeu-central-1%3A%3Asnapshot%2Fsnap-00a1";
const QUERY: &str = "b=2&a=1%2F2&createdAfter=2025-01-02T03%3A04%3A05.678000Z";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn now() -> Timestamp {
    "2025-01-02T03:04:05Z".parse().unwrap()
}

/// Signed by botocore 1.43.11 for this path and query.
fn from_botocore() -> HeaderMap {
    headers(&[
        ("host", "127.0.0.1:8080"),
        ("x-amz-date", "20250102T030405Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20250102/eu-central-1/backup/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=94b58f80f41ee2abc588abf505ef06da6ba414764109679020075c99ac54bbf6",
        ),
    ])
}

fn judge(
    headers: &HeaderMap,
    request: (&str, &str, &str),
    body: &[u8],
    secret: &str,
    at: Timestamp,
) -> Result<(), Fault> {
    let (method, raw_path, raw_query) = request;
    let claim = Claim::read(headers, "backup", at)?;
    claim.verify(secret, &Signed { method, raw_path, raw_query, headers, body })
}

#[test]
fn what_botocore_signs_is_taken() {
    judge(&from_botocore(), ("GET", PATH, QUERY), b"", SECRET, now()).unwrap();
    let put = headers(&[
        ("host", "127.0.0.1:8080"),
        ("content-type", "application/json"),
        ("x-amz-date", "20250102T030405Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20250102/eu-central-1/backup/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=b3a747459004d59395b2f4f6cd7f022ffe1ae972e30ff3a8a5a09aa25ea3b36b",
        ),
    ]);
    let body = br#"{"BackupVaultTags": {"a": "b"}}"#;
    judge(&put, ("PUT", "/backup-vaults/v1", ""), body, SECRET, now()).unwrap();
}

#[test]
fn whatever_is_changed_on_the_way_is_noticed() {
    let good = from_botocore();
    let cases = [
        (("DELETE", PATH, QUERY), b"".as_slice(), SECRET),
        (("GET", "/backup-vaults/v2", QUERY), b"", SECRET),
        (("GET", PATH, "b=3&a=1%2F2&createdAfter=2025-01-02T03%3A04%3A05.678000Z"), b"", SECRET),
        (("GET", PATH, QUERY), b"{}", SECRET),
        (("GET", PATH, QUERY), b"", "another"),
    ];
    for (request, body, secret) in cases {
        let fault = judge(&good, request, body, secret, now()).unwrap_err();
        assert_eq!(fault.code, "InvalidSignatureException", "{request:?}");
        assert_eq!(fault.status, 403);
    }
    let mut moved = good.clone();
    moved.insert("host", "evil:1".parse().unwrap());
    judge(&moved, ("GET", PATH, QUERY), b"", SECRET, now()).unwrap_err();
    let mut other = good;
    let changed = other["authorization"].to_str().unwrap().replace("eu-central-1", "eu-west-1");
    other.insert("authorization", changed.parse().unwrap());
    judge(&other, ("GET", PATH, QUERY), b"", SECRET, now()).unwrap_err();
}

#[test]
fn a_claim_that_cannot_be_true_is_refused_by_its_own_name() {
    let with = |name: &'static str, from: &str, to: &str| {
        let mut changed = from_botocore();
        let value = changed[name].to_str().unwrap().replace(from, to);
        changed.insert(name, value.parse().unwrap());
        changed
    };
    let code = |headers: &HeaderMap, at: &str| Claim::read(headers, "backup", at.parse().unwrap()).unwrap_err();
    let good = "2025-01-02T03:04:05Z";
    assert_eq!(code(&HeaderMap::new(), good).code, "MissingAuthenticationTokenException");
    assert_eq!(code(&with("authorization", "AWS4-HMAC-SHA256", "Basic"), good).code, "IncompleteSignatureException");
    assert_eq!(code(&with("authorization", "Signature=", "Sig="), good).code, "IncompleteSignatureException");
    assert_eq!(code(&with("authorization", "/backup/", "/s3/"), good).code, "InvalidSignatureException");
    assert_eq!(code(&with("authorization", "host;", ""), good).code, "InvalidSignatureException");
    assert_eq!(code(&with("x-amz-date", "20250102", "2025-01-02"), good).code, "IncompleteSignatureException");
    assert!(code(&from_botocore(), "2025-01-02T03:09:06Z").message.contains("Signature expired"));
    assert!(code(&from_botocore(), "2025-01-02T02:59:04Z").message.contains("not yet current"));
    Claim::read(&from_botocore(), "backup", "2025-01-02T03:09:05Z".parse().unwrap()).unwrap();
    let mut extra = from_botocore();
    extra.insert("x-amz-target", "x".parse().unwrap());
    assert!(code(&extra, good).message.contains("not signed"));
}

#[test]
fn a_body_has_to_be_signed_and_what_is_announced_of_it_true() {
    let signer = Signer { key_id: "AKIDEXAMPLE", secret: SECRET, region: "eu-central-1", service: "backup" };
    for (announced, body, good) in [
        ("UNSIGNED-PAYLOAD", b"{}".as_slice(), false),
        ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", b"", true),
        ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", b"{}", false),
    ] {
        let mut own = headers(&[("host", "h"), ("x-amz-content-sha256", announced)]);
        signer.sign(("PUT", "/backup-jobs", ""), &mut own, body, now()).unwrap();
        let judged = judge(&own, ("PUT", "/backup-jobs", ""), body, SECRET, now());
        assert_eq!(judged.is_ok(), good, "{judged:?}");
    }
}
