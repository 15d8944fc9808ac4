"""Signatures that are not true, and requests that were changed after they were signed: refused, and nothing is done."""

import datetime
import uuid

from api import AWAY, HOME, SETTING, Findings, Raw, Signature, client, keys

findings = Findings()
raw = Raw()
KEY, SECRET = keys("default")
BODY = b'{"BackupVaultTags":{"a":"b"}}'
INVALID, INCOMPLETE = "InvalidSignatureException", "IncompleteSignatureException"


def headers(signature, path="/backup-vaults/forged", body=BODY, **options):
    """Signed headers of a create."""
    extra = {"content-type": "application/json", "amz-sdk-invocation-id": str(uuid.uuid4())}
    extra.update(options.pop("extra", {}))
    return signature.headers("PUT", path, options.pop("query", ""), body, extra, **options)


def attempt(what, code, given, path="/backup-vaults/forged", query="", body=BODY, status=403):
    """Sends it, which has to be refused."""
    answer = raw.exchange("PUT", path, query, body, given, "CreateBackupVault")
    findings.check(answer.code == code and answer.status == status, f"{what}: {answer}; expected {status} {code}")


def at(**delta):
    """A signature of another instant."""
    return Signature(KEY, SECRET, at=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**delta))


caller = client()
there = {vault["BackupVaultName"] for vault in caller.list_backup_vaults()["BackupVaultList"]}
good = Signature(KEY, SECRET)
answer = raw.exchange("PUT", "/backup-vaults/signed", "", BODY, headers(good, "/backup-vaults/signed"), "CreateBackupVault")
findings.check(answer.status == 200, f"a good signature: {answer}")

attempt("a wrong secret", INVALID, headers(Signature(KEY, SECRET[:-1] + "x")))
attempt("the secret of another key", INVALID, headers(Signature(KEY, keys("operator")[1])))
attempt("a key that nobody has", "UnrecognizedClientException", headers(Signature("NOBODY", SECRET)))
attempt("a region that is not served", INVALID, headers(Signature(KEY, SECRET, region="eu-nowhere-9")))
attempt("another service", INVALID, headers(Signature(KEY, SECRET, service="s3")))
for days in (-1, 1):
    attempt(f"{days} days off", INVALID, headers(at(days=days)))
attempt("six minutes old", INVALID, headers(at(minutes=-6)))
attempt("six minutes early", INVALID, headers(at(minutes=6)))
answer = raw.exchange(
    "PUT", "/backup-vaults/skewed", "", BODY, headers(at(minutes=-4), "/backup-vaults/skewed"), "CreateBackupVault"
)
findings.check(answer.status == 200, f"a clock that is four minutes late is no forgery: {answer}")

attempt("a changed body", INVALID, headers(good), body=BODY.replace(b'"b"', b'"c"'))
attempt("a body that was taken away", INVALID, headers(good), body=b"")
attempt("a changed path", INVALID, headers(good), path="/backup-vaults/forged2")
attempt("a path that is encoded in another way", INVALID, headers(good), path="/backup-vaults/%66orged")
attempt("a query that was put in", INVALID, headers(good), query="MaxResults=1")
changed = headers(good)
attempt("another region in the scope", INVALID, {
    **changed, "authorization": changed["authorization"].replace(f"/{HOME}/", f"/{AWAY}/")
})  # fmt: skip
attempt("another date in the scope", INVALID, {
    **changed, "authorization": changed["authorization"].replace(good.stamp[:8], "20200101")
})  # fmt: skip
attempt("another date in the header", INVALID, {**changed, "x-amz-date": at(seconds=2).stamp})
attempt("a changed signed header", INVALID, {**changed, "content-type": "text/plain"})
attempt("a changed invocation id", INVALID, {**changed, "amz-sdk-invocation-id": str(uuid.uuid4())})
attempt("a changed signature", INVALID, {**changed, "authorization": changed["authorization"][:-1] + "g"})
attempt("an unsigned header that steers", INVALID, {**changed, "x-amz-target": "Other"})
attempt("a date that is not signed", INVALID, headers(good, unsigned=("x-amz-date",)))
attempt("a host that is not signed", INVALID, headers(good, unsigned=("host",)))
gone = {name: value for name, value in changed.items() if name != "content-type"}
attempt("a signed header that was taken away", INVALID, gone)
unsigned = headers(good, extra={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
attempt("a body left out of the signature", INVALID, unsigned)
attempt("a wrong digest of the body", INVALID, headers(good, extra={"x-amz-content-sha256": "0" * 64}))
none = {name: value for name, value in changed.items() if name != "authorization"}
attempt("no signature", "MissingAuthenticationTokenException", none)
for what, text in {
    "another scheme": "Basic abc",
    "no credential": "AWS4-HMAC-SHA256 SignedHeaders=host;x-amz-date, Signature=00",
    "no signed headers": f"AWS4-HMAC-SHA256 Credential={KEY}/{good.stamp[:8]}/{HOME}/backup/aws4_request, Signature=00",
    "a scope of three parts": "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host;x-amz-date, Signature=00",
    "nothing behind the scheme": "AWS4-HMAC-SHA256",
}.items():
    attempt(what, INCOMPLETE, {**changed, "authorization": text}, status=400)
attempt("a date that is none", INCOMPLETE, {**changed, "x-amz-date": "yesterday"}, status=400)
presigned = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY}&X-Amz-Signature=00"
attempt("a presigned URL", "MissingAuthenticationTokenException", none, query=presigned)

# The same bytes again are the same call: done once, answered as the first time.
path = "/backup/plans/"
rule = '{"RuleName":"r","TargetBackupVaultName":"signed","ScheduleExpression":"cron(0 5 1 1 ? *)"}'
plan = ('{"BackupPlan":{"BackupPlanName":"replayed","Rules":[%s]}}' % rule).encode()
bare = {"content-type": "application/json"}
first = good.headers("PUT", path, "", plan, bare)
answers = [raw.exchange("PUT", path, "", plan, first, "CreateBackupPlan") for _ in range(2)]
findings.check(
    answers[0].status == 200 and answers[0].body == answers[1].body, f"replayed: {answers[0]} and {answers[1]}"
)
# The same signature under another invocation id, which was not signed: a copy of somebody else's request.
copied = {**first, "amz-sdk-invocation-id": str(uuid.uuid4())}
answer = raw.exchange("PUT", path, "", plan, copied, "CreateBackupPlan")
findings.check(answer.status == 429 and answer.code == "ThrottlingException", f"a copied signature: {answer}")

names = {vault["BackupVaultName"] for vault in caller.list_backup_vaults()["BackupVaultList"]}
findings.check(names - there == {"signed", "skewed"}, f"only what was signed is there: {names}")
plans = [p for p in caller.list_backup_plans()["BackupPlansList"] if p["BackupPlanName"] == "replayed"]
findings.check(len(plans) == 1, f"a request that came twice was done {len(plans)} times")
findings.check(not client(region=AWAY).list_backup_vaults()["BackupVaultList"], "nothing is in the other region")
findings.end(f"signatures {SETTING.get('part', '')}".strip())
