"""What the proofs share: clients of an installation's gateway, raw signed requests, and the list of what went wrong.

Run by the Rust tests beside it, which start the installation and hand over where it is as JSON in PROOF_SETTING.
"""

import datetime
import hashlib
import hmac
import http.client
import json
import os
import sys
import time
import urllib.parse
import uuid

import boto3
import botocore.parsers
import botocore.serialize
from botocore.config import Config

SETTING = json.loads(os.environ["PROOF_SETTING"])
os.environ["AWS_SHARED_CREDENTIALS_FILE"] = SETTING["credentials_file"]
os.environ["AWS_CONFIG_FILE"] = os.devnull
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
URL = SETTING["url"]
HOME, AWAY = SETTING["regions"]
ACCOUNT = "000000000000"
OTHER_ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/backup"
# Far more than anything takes.
PATIENCE_SECONDS = 120


def client(profile="default", region=HOME, url=URL, attempts=4, **settings):
    """A boto3 client of one access key."""
    config = Config(retries={"total_max_attempts": attempts}, **settings)
    return boto3.Session(profile_name=profile, region_name=region).client("backup", endpoint_url=url, config=config)


MODEL = client().meta.service_model


def keys(profile):
    """Id and secret of an access key."""
    found = boto3.Session(profile_name=profile, region_name=HOME).get_credentials()
    return found.access_key, found.secret_key


class Signature:
    """AWS Signature Version 4, written from its description and not from either side that is tested here."""

    def __init__(self, key_id, secret, region=HOME, service="backup", at=None):
        self.key_id, self.secret, self.region, self.service = key_id, secret, region, service
        at = at or datetime.datetime.now(datetime.timezone.utc)
        self.stamp = at.strftime("%Y%m%dT%H%M%SZ")

    def headers(self, method, path, query, body, extra=None, unsigned=()):
        """The headers of a request, those of `unsigned` beside the signature."""
        headers = {"host": urllib.parse.urlsplit(URL).netloc, "x-amz-date": self.stamp}
        headers.update({name.lower(): value for name, value in (extra or {}).items()})
        names = sorted(name for name in headers if name not in unsigned)
        # The path is encoded once more than it stands in the request.
        canonical_path = "/".join(urllib.parse.quote(part, safe="-._~") for part in path.split("/"))
        pairs = sorted(part.partition("=")[::2] for part in query.split("&") if part)
        canonical = "\n".join(
            [method, canonical_path, "&".join(f"{key}={value}" for key, value in pairs)]
            + [f"{name}:{headers[name]}" for name in names]
            + ["", ";".join(names), hashlib.sha256(body).hexdigest()]
        )
        scope = f"{self.stamp[:8]}/{self.region}/{self.service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{self.stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = ("AWS4" + self.secret).encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return headers


class Answer:
    """One answer, read by boto3's own parser."""

    def __init__(self, status, headers, body, parsed):
        self.status, self.headers, self.body, self.parsed = status, headers, body, parsed
        error = parsed.get("Error", {}) if status >= 300 else {}
        self.code, self.message = error.get("Code", ""), error.get("Message", "")

    def __str__(self):
        return f"{self.status} {self.code} {self.message}" if self.code else f"{self.status} {self.body[:300]!r}"


class Raw:
    """Requests that no client would send, over one connection that is kept."""

    serializer = botocore.serialize.create_serializer("rest-json", include_validation=False)
    parser = botocore.parsers.create_parser("rest-json")

    def __init__(self, profile="default", region=HOME):
        self.key_id, self.secret = keys(profile)
        self.region = region
        self.connection = None

    def wire(self, operation, params):
        """Method, path, query, flag and body as boto3 would send them, unchecked."""
        model = MODEL.operation_model(operation)
        sent = self.serializer.serialize_to_request(params, model)
        # `?delete` stands in the path of one operation.
        path, _, flag = sent["url_path"].partition("?")
        return sent["method"], path, dict(sent["query_string"] or {}), flag, sent["body"] or b""

    def send(self, method, path, query="", body=b"", headers=None, operation=None):
        """Signs and sends; a new invocation each time."""
        extra = {"amz-sdk-invocation-id": str(uuid.uuid4())}
        if body:
            extra["content-type"] = "application/json"
        signature = Signature(self.key_id, self.secret, self.region)
        extra.update(headers or {})
        answer = self.exchange(
            method, path, query, body, signature.headers(method, path, query, body, extra), operation
        )
        if answer.status == 429 and "retry-after" in answer.headers:
            # As any client does: two calls in one second may have one signature.
            time.sleep(float(answer.headers["retry-after"]))
            return self.send(method, path, query, body, headers, operation)
        return answer

    def exchange(self, method, path, query, body, headers, operation=None):
        """Sends a request whose headers are made already."""
        target = path + ("?" + query if query else "")
        for attempt in (1, 2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(URL).netloc, timeout=60)
            try:
                self.connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
                for name, value in headers.items():
                    self.connection.putheader(name, value)
                if "content-length" not in headers:
                    self.connection.putheader("content-length", str(len(body)))
                self.connection.endheaders(body)
                answer = self.connection.getresponse()
                content = answer.read()
                break
            except (http.client.HTTPException, OSError):
                # A connection that was kept may be gone by now.
                self.connection = None
                if attempt == 2:
                    raise
        shape = MODEL.operation_model(operation).output_shape if operation else None
        found = {name.lower(): value for name, value in answer.getheaders()}
        parsed = self.parser.parse({"status_code": answer.status, "headers": found, "body": content}, shape)
        return Answer(answer.status, found, content, parsed)

    def native(self, method, path, body=None):
        """A native operation, which has to succeed."""
        answer = self.send(method, "/holdfast/v1/" + path, body=json.dumps(body).encode() if body is not None else b"")
        if answer.status >= 300:
            raise AssertionError(f"{method} {path}: {answer}")
        return json.loads(answer.body or b"null")


def encoded(text):
    """A text as one segment of a path."""
    return urllib.parse.quote(text, safe="")


def wait(what, ask, seconds=PATIENCE_SECONDS):
    """Asks until there is an answer."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}; the last answer was {answer!r}")
        time.sleep(0.05)


def stay_within_a_day(seconds=120):
    """Waits for midnight if it is that near: what is counted by days does not change by itself then."""
    left = 86_400 - time.time() % 86_400
    if left < seconds:
        time.sleep(left + 1)


class Findings:
    """What was checked and what was wrong; all of it is told at the end."""

    def __init__(self):
        self.checked, self.wrong = 0, []

    def check(self, holds, told):
        self.checked += 1
        if not holds:
            self.wrong.append(told)
        return holds

    def refused(self, what, code, act, words=""):
        """An act has to raise an error of AWS's name, and its message has the words."""
        try:
            answer = act()
        except Exception as error:  # Whatever it is, it is told.
            response = getattr(error, "response", {})
            given = response.get("Error", {})
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            good = given.get("Code") in ([code] if isinstance(code, str) else code) and 400 <= status < 500
            return self.check(good and words in given.get("Message", ""), f"{what}: {error!r} where {code} is expected")
        return self.check(False, f"{what}: succeeded where {code} is expected: {answer}")

    def end(self, what):
        """Tells it and ends the process."""
        for told in self.wrong:
            print("WRONG", told)
        print(f"{what}: {self.checked} checks, {len(self.wrong)} wrong")
        sys.exit(1 if self.wrong or not self.checked else 0)


def make_resource(raw, name, account, region=HOME, tags=None):
    """A small tree of files, registered; its ARN and where it lies."""
    place = os.path.join(SETTING["dir"], "proof-resources", account, name)
    os.makedirs(os.path.join(place, "below"), exist_ok=True)
    for number in range(5):
        with open(os.path.join(place, f"file-{number}"), "w") as file:
            file.write(f"{name} {number}\n" * (1 + number * 997))
    with open(os.path.join(place, "below", "one"), "w") as file:
        file.write(name)
    arn = f"arn:aws:files:{region}:{account}:tree/{name}"
    wanted = {"arn": arn, "resource_type": "Files", "region": region, "location": f"file://{place}", "tags": tags or {}}
    raw.native("PUT", "resources", wanted)
    return arn, place


def completed(describe, member="State"):
    """Waits until a job has ended, which has to be COMPLETED."""

    def ended():
        job = describe()
        return job if job[member] not in ("CREATED", "PENDING", "RUNNING") else None

    job = wait("a job to end", ended)
    if job[member] != "COMPLETED":
        raise AssertionError(f"not completed: {job}")
    return job
