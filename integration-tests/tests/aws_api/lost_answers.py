"""An answer is lost after the server did what was asked for, for every create and start: the client tries again by itself,
gets the answer of the first time, and there is exactly one object.
"""

import http.client
import json
import os
import urllib.parse

import api
from api import ACCOUNT, AWAY, HOME, MODEL, ROLE, SETTING, URL, Findings, Raw, Signature, client, completed, keys
from api import make_resource, wait
from members import LEFT_OUT
from proxy import LosingProxy
from world import plan_document

findings = Findings()
proxy = LosingProxy(URL)
# What goes through the proxy loses its first answer; what goes straight looks at what came of it.
losing, straight, away = client(url=proxy.url), client(), client(region=AWAY)
raw = Raw()


def lose(operation, params, objects):
    """Calls it through the proxy; afterwards there is one object more than before."""
    before = objects()
    lost = set(proxy.lost)
    answer = losing._make_api_call(operation, dict(params))
    call = set(proxy.lost) - lost
    findings.check(len(call) == 1, f"{operation}: {len(call)} answers were lost")
    (status, first), (_, second) = proxy.lost[next(iter(call))], proxy.passed[next(iter(call))]
    findings.check(status < 300, f"{operation}: what was lost is a refusal: {status} {first}")
    findings.check(first == second, f"{operation}: the answers differ: {first} and {second}")
    retries = answer["ResponseMetadata"]["RetryAttempts"]
    findings.check(retries == 1, f"{operation}: {retries} retries")
    after = wait(f"{operation} to be listed", lambda: objects() if len(objects()) > len(before) else None)
    findings.check(len(after) == len(before) + 1, f"{operation}: {len(after) - len(before)} objects: {before} {after}")
    return answer


def ids(asked, operation, lists, member, **params):
    """How to list the ids of something."""
    return lambda: sorted(row[member] for row in getattr(asked, operation)(**params)[lists])


def native(method, path, body, objects):
    """A native operation whose answer is lost, sent again as it was by a client that tries again."""
    before = objects()
    sent = json.dumps(body).encode() if body is not None else b""
    extra = {"amz-sdk-invocation-id": api.uuid.uuid4().hex, **({"content-type": "application/json"} if sent else {})}
    netloc = urllib.parse.urlsplit(proxy.url).netloc
    answers = []
    for _ in range(2):
        headers = Signature(*keys("default")).headers(method, "/holdfast/v1/" + path, "", sent, {**extra, "host": netloc})
        connection = http.client.HTTPConnection(netloc, timeout=60)
        try:
            connection.request(method, "/holdfast/v1/" + path, body=sent, headers=headers)
            answers.append(connection.getresponse().status)
        except (http.client.HTTPException, OSError):
            answers.append("lost")
    findings.check(answers == ["lost", 200], f"{method} {path}: {answers}")
    lost, passed = (found[extra["amz-sdk-invocation-id"]] for found in (proxy.lost, proxy.passed))
    findings.check(lost == passed, f"{method} {path}: {lost} and {passed}")
    after = wait(f"{path} to be listed", lambda: objects() if len(objects()) > len(before) else None)
    findings.check(len(after) == len(before) + 1, f"{method} {path}: {len(after) - len(before)} objects")


def main():
    """Every create and start."""
    tried = []
    away.create_backup_vault(BackupVaultName="proof-copies")
    resource, _ = make_resource(raw, "lost", ACCOUNT)

    def once(operation, params, objects):
        tried.append(operation)
        return lose(operation, params, objects)

    vaults = ids(straight, "list_backup_vaults", "BackupVaultList", "BackupVaultName")
    once("CreateBackupVault", {"BackupVaultName": "proof-main"}, vaults)
    gapped = {"BackupVaultName": "gapped", "MinRetentionDays": 1, "MaxRetentionDays": 9}
    once("CreateLogicallyAirGappedBackupVault", gapped, vaults)
    available = lambda: straight.describe_backup_vault(BackupVaultName="proof-main")["VaultState"]  # noqa: E731
    wait("the vault", lambda: available() == "AVAILABLE")
    copies = lambda: away.describe_backup_vault(BackupVaultName="proof-copies")["VaultState"]  # noqa: E731
    wait("the other vault", lambda: copies() == "AVAILABLE")
    plans = ids(straight, "list_backup_plans", "BackupPlansList", "BackupPlanId")
    plan = once("CreateBackupPlan", {"BackupPlan": plan_document("proof-plan")}, plans)["BackupPlanId"]
    selections = ids(straight, "list_backup_selections", "BackupSelectionsList", "SelectionId", BackupPlanId=plan)
    one = {"SelectionName": "one", "IamRoleArn": ROLE, "Resources": ["*"]}
    once("CreateBackupSelection", {"BackupPlanId": plan, "BackupSelection": one}, selections)
    # An update makes a version, and one only.
    versions = ids(straight, "list_backup_plan_versions", "BackupPlanVersionsList", "VersionId", BackupPlanId=plan)
    document = plan_document("proof-plan")
    document["Rules"][0]["StartWindowMinutes"] = 61
    lose("UpdateBackupPlan", {"BackupPlanId": plan, "BackupPlan": document}, versions)

    jobs = ids(straight, "list_backup_jobs", "BackupJobs", "BackupJobId")
    start = {"BackupVaultName": "proof-main", "ResourceArn": resource, "IamRoleArn": ROLE}
    job = once("StartBackupJob", start, jobs)
    completed(lambda: straight.describe_backup_job(BackupJobId=job["BackupJobId"]))
    points = ids(straight, "list_recovery_points_by_backup_vault", "RecoveryPoints", "RecoveryPointArn",
                 BackupVaultName="proof-main")  # fmt: skip
    findings.check(wait("the point", points) == [job["RecoveryPointArn"]], f"one backup made {points()}")
    copy = {
        "RecoveryPointArn": job["RecoveryPointArn"],
        "SourceBackupVaultName": "proof-main",
        "DestinationBackupVaultArn": f"arn:aws:backup:{AWAY}:{ACCOUNT}:backup-vault:proof-copies",
        "IamRoleArn": ROLE,
    }
    copied = once("StartCopyJob", copy, ids(straight, "list_copy_jobs", "CopyJobs", "CopyJobId"))
    completed(lambda: straight.describe_copy_job(CopyJobId=copied["CopyJobId"])["CopyJob"])
    restore = {
        "RecoveryPointArn": job["RecoveryPointArn"],
        "Metadata": {"TargetLocation": f"file://{SETTING['dir']}/restored-once"},
    }
    restored = once("StartRestoreJob", restore, ids(straight, "list_restore_jobs", "RestoreJobs", "RestoreJobId"))
    # The same target a second time would be refused: it is not empty any more.
    completed(lambda: straight.describe_restore_job(RestoreJobId=restored["RestoreJobId"]), "Status")
    holds = ids(straight, "list_legal_holds", "LegalHolds", "LegalHoldId")
    once("CreateLegalHold", {"Title": "t", "Description": "d"}, holds)
    selection = {"Algorithm": "LATEST_WITHIN_WINDOW", "RecoveryPointTypes": ["SNAPSHOT"], "IncludeVaults": ["*"]}
    test = {"RestoreTestingPlanName": "tests", "ScheduleExpression": "cron(0 5 1 1 ? *)"}
    tests = ids(straight, "list_restore_testing_plans", "RestoreTestingPlans", "RestoreTestingPlanName")
    once("CreateRestoreTestingPlan", {"RestoreTestingPlan": {**test, "RecoveryPointSelection": selection}}, tests)
    of_plan = {"RestoreTestingPlanName": "tests"}
    chosen = {"RestoreTestingSelectionName": "one", "ProtectedResourceType": "Files", "IamRoleArn": ROLE}
    chosen["ProtectedResourceArns"] = ["*"]
    listed = ids(straight, "list_restore_testing_selections", "RestoreTestingSelections",
                 "RestoreTestingSelectionName", **of_plan)  # fmt: skip
    once("CreateRestoreTestingSelection", {**of_plan, "RestoreTestingSelection": chosen}, listed)
    channel = {"S3BucketName": "reports", "Formats": ["CSV"]}
    report = {"ReportPlanName": "report", "ReportDeliveryChannel": channel}
    reports = ids(straight, "list_report_plans", "ReportPlans", "ReportPlanName")
    once("CreateReportPlan", {**report, "ReportSetting": {"ReportTemplate": "BACKUP_JOB_REPORT"}}, reports)
    once("StartReportJob", {"ReportPlanName": "report"}, ids(straight, "list_report_jobs", "ReportJobs", "ReportJobId"))
    wanted = {name for name in MODEL.operation_names if name.startswith(("Create", "Start"))} - LEFT_OUT
    findings.check(set(tried) == wanted, f"not tried: {wanted - set(tried)}")

    described = lambda: raw.native("GET", "resources")["resources"]  # noqa: E731
    again = {"arn": resource + "-2", "resource_type": "Files", "region": HOME, "location": "file:///srv", "tags": {}}
    native("PUT", "resources", again, described)
    runs = lambda: json.loads(raw.send("GET", "/holdfast/v1/test-runs").body)  # noqa: E731
    native("POST", "restore-testing-plans/tests/run", None, runs)

    # The token of a client marks a repeated call, too, when it comes as a call of its own.
    tokens = [
        ("CreateBackupPlan", {"BackupPlan": plan_document("by-token"), "CreatorRequestId": "t-1"}, plans, "BackupPlanId"),
        ("StartBackupJob", {**start, "IdempotencyToken": "t-2"}, jobs, "BackupJobId"),
        ("CreateLegalHold", {"Title": "t", "Description": "d", "IdempotencyToken": "t-3"}, holds, "LegalHoldId"),
    ]
    for operation, params, objects, member in tokens:
        before = len(objects())
        answers = [straight._make_api_call(operation, dict(params))[member] for _ in range(2)]
        findings.check(answers[0] == answers[1], f"{operation} with one token: {answers}")
        wait("the list", lambda o=objects, b=before: len(o()) > b)
        findings.check(len(objects()) == before + 1, f"{operation} with one token twice: {len(objects()) - before}")


def remembered():
    """Calls with an invocation of their own, and how many objects each of them may make."""
    start = {"BackupVaultName": "proof-main", "ResourceArn": f"arn:aws:files:{HOME}:{ACCOUNT}:tree/lost", "IamRoleArn": ROLE}
    plans = lambda name: [  # noqa: E731
        plan for plan in straight.list_backup_plans()["BackupPlansList"] if plan["BackupPlanName"] == name
    ]
    vaults = lambda: [  # noqa: E731
        vault for vault in straight.list_backup_vaults()["BackupVaultList"] if vault["BackupVaultName"] == "remembered"
    ]
    yield "CreateBackupVault", {"BackupVaultName": "remembered"}, vaults
    yield "CreateBackupPlan", {"BackupPlan": plan_document("remembered")}, lambda: plans("remembered")
    yield "StartBackupJob", {**start, "RecoveryPointTags": {"remembered": "yes"}}, None
    # This one is asked for while nobody answers it.
    yield "CreateBackupPlan", {"BackupPlan": plan_document("intended")}, lambda: plans("intended")


def call(number, operation, params):
    """Sends it as the same call as ever."""
    method, path, _, _, body = raw.wire(operation, params)
    return raw.send(method, path, "", body, {"amz-sdk-invocation-id": f"remembered-{number}"}, operation)


def over_a_restart(part):
    """The same call before and after the gateway was killed: one object, one answer."""
    file = os.path.join(SETTING["dir"], "remembered.json")
    calls = list(remembered())
    if part == "remember":
        answers = [call(number, *one[:2]) for number, one in enumerate(calls[:3])]
        findings.check(all(answer.status == 200 for answer in answers), f"{[str(answer) for answer in answers]}")
        with open(file, "w") as out:
            json.dump([answer.body.decode() for answer in answers], out)
    if part == "intend":
        answer = call(3, *calls[3][:2])
        findings.check(answer.status == 503, f"nobody answers, and the gateway says {answer}")
    if part == "repeat":
        with open(file) as known:
            before = json.load(known)
        for number, (operation, params, objects) in enumerate(calls):
            answer = call(number, operation, params)
            same = number == 3 or answer.body.decode() == before[number]
            findings.check(answer.status == 200 and same, f"{operation} after a restart: {answer}")
            if objects:
                wait(f"{operation} to be listed", objects)
                findings.check(len(objects()) == 1, f"{operation}: {len(objects())} objects after a restart")
        jobs = lambda: straight.list_backup_jobs()["BackupJobs"]  # noqa: E731
        started = json.loads(before[2])["BackupJobId"]
        wait("the job to be listed", lambda: started in [job["BackupJobId"] for job in jobs()])
        recent = max(jobs(), key=lambda job: job["CreationDate"])
        findings.check(recent["BackupJobId"] == started, f"a job was started again: {recent}")


if SETTING["part"]:
    over_a_restart(SETTING["part"])
else:
    main()
findings.end(f"lost answers {SETTING['part']}")
