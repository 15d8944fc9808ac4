"""A service or the bus is away: what needs it gets a retryable error within a bounded time, lists are answered and marked,
and nothing is half made. Afterwards all is as it was.
"""

import time

from api import ACCOUNT, ROLE, SETTING, Findings, Raw, client, completed, make_resource, wait
from world import plan_document

findings = Findings()
# The gateway waits this long for a service, and a little for itself.
WITHIN_SECONDS = 5 + 5
once = client(attempts=1)
raw = Raw()
VAULT = {"BackupVaultName": "proof-main"}
TEST = {
    "RestoreTestingPlanName": "tests",
    "ScheduleExpression": "cron(0 5 1 1 ? *)",
    "RecoveryPointSelection": {
        "Algorithm": "LATEST_WITHIN_WINDOW", "RecoveryPointTypes": ["SNAPSHOT"], "IncludeVaults": ["*"],
    },
}  # fmt: skip
# What is listed, and by whose word.
PLANNERS = [
    ("list_backup_vaults", {}, "BackupVaultList"), ("list_backup_plans", {}, "BackupPlansList"),
    ("list_backup_jobs", {}, "BackupJobs"), ("list_recovery_points_by_backup_vault", VAULT, "RecoveryPoints"),
    ("list_protected_resources", {}, "Results"), ("list_legal_holds", {}, "LegalHolds"),
]  # fmt: skip
VERIFIERS = [("list_restore_testing_plans", {}, "RestoreTestingPlans")]


def everything():
    """What all lists show."""
    found = {}
    for operation, params, member in PLANNERS + VERIFIERS:
        rows = getattr(once, operation)(**params)[member]
        found[operation] = sorted(str({k: v for k, v in row.items() if k != "LastExecutionDate"}) for row in rows)
    return found


def unavailable(operation, params):
    """It has to say so, soon, with an error that clients try again on."""
    begun = time.monotonic()
    try:
        answer = once._make_api_call(operation, dict(params))
        findings.check(False, f"{operation} succeeded: {answer}")
    except once.exceptions.ClientError as error:
        took = time.monotonic() - begun
        given, meta = error.response["Error"], error.response["ResponseMetadata"]
        good = given["Code"] == "ServiceUnavailableException" and meta["HTTPStatusCode"] == 503
        findings.check(good and "retry-after" in meta["HTTPHeaders"], f"{operation}: {error} {meta}")
        findings.check(took < WITHIN_SECONDS, f"{operation}: answered after {took:.1f} s")


def started(resource):
    """A job, once there is an answer; however often it is asked for, there is one."""
    try:
        return once.start_backup_job(**VAULT, ResourceArn=resource, IamRoleArn=ROLE, IdempotencyToken="after")
    except once.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ServiceUnavailableException":
            raise
        return None


def stale(listed, is_stale):
    """Lists are answered, and marked where nobody vouches for them."""
    for operation, params, member in listed:
        answer = getattr(once, operation)(**params)
        marked = "x-holdfast-stale-since" in answer["ResponseMetadata"]["HTTPHeaders"]
        findings.check(marked == is_stale, f"{operation}: marked: {marked}, expected: {is_stale}")
        findings.check(answer[member] or member == "LegalHolds", f"{operation} is empty: {answer}")


def prepare(resource):
    """One of everything that is listed."""
    once.create_backup_vault(**VAULT)
    wait("the vault", lambda: once.describe_backup_vault(**VAULT)["VaultState"] == "AVAILABLE")
    document = plan_document("proof-plan")
    document["Rules"][0]["CopyActions"] = []
    once.create_backup_plan(BackupPlan=document)
    start = {**VAULT, "ResourceArn": resource, "IamRoleArn": ROLE}
    job = once.start_backup_job(**start)
    completed(lambda: once.describe_backup_job(BackupJobId=job["BackupJobId"]))
    wait("the recovery point", lambda: once.list_recovery_points_by_backup_vault(**VAULT)["RecoveryPoints"])
    once.create_restore_testing_plan(RestoreTestingPlan=TEST)


def of_planner(resource):
    """What needs the planner."""
    document = plan_document("half-made")
    document["Rules"][0]["CopyActions"] = []
    job = once.list_backup_jobs()["BackupJobs"][0]["BackupJobId"]
    yield "CreateBackupVault", {"BackupVaultName": "half-made"}
    yield "CreateBackupPlan", {"BackupPlan": document}
    yield "StartBackupJob", {**VAULT, "ResourceArn": resource, "IamRoleArn": ROLE}
    yield "CreateLegalHold", {"Title": "half-made", "Description": "d"}
    yield "DescribeBackupJob", {"BackupJobId": job}
    yield "DescribeBackupVault", VAULT


def of_verifier():
    """What needs the verifier."""
    yield "CreateRestoreTestingPlan", {"RestoreTestingPlan": {**TEST, "RestoreTestingPlanName": "half_made"}}
    yield "GetRestoreTestingPlan", {"RestoreTestingPlanName": "tests"}
    yield "DeleteRestoreTestingPlan", {"RestoreTestingPlanName": "tests"}


def marked(operation, params):
    """Whether a list is marked."""
    return "x-holdfast-stale-since" in getattr(once, operation)(**params)["ResponseMetadata"]["HTTPHeaders"]


def main():
    """The part that the test asks for."""
    part = SETTING["part"]
    resource = f"arn:aws:files:{SETTING['regions'][0]}:{ACCOUNT}:tree/outages"
    if part == "prepare":
        resource, _ = make_resource(raw, "outages", ACCOUNT)
        prepare(resource)
        stale(PLANNERS + VERIFIERS, False)
    # Before the gateway knows it: the request is on the bus, and not carried out when its time is over.
    if part in ("planner is away", "planner is frozen"):
        unavailable("CreateBackupVault", {"BackupVaultName": "half-made-at-once"})
    if part in ("planner is away", "planner is frozen", "bus is away"):
        wait("lists to be marked", lambda: marked(*PLANNERS[0][:2]))
        stale(PLANNERS, True)
        # One that is frozen costs a wait with each call.
        few = ("CreateBackupPlan", "DescribeBackupVault")
        for operation, params in of_planner(resource):
            if part != "planner is frozen" or operation in few:
                unavailable(operation, params)
    if part in ("verifier is away", "bus is away"):
        wait("lists to be marked", lambda: marked(*VERIFIERS[0][:2]))
        stale(VERIFIERS, True)
        for operation, params in of_verifier():
            unavailable(operation, params)
    if part == "verifier is away":
        wait("the planner's lists to be unmarked", lambda: not marked(*PLANNERS[0][:2]))
        stale(PLANNERS, False)
    if part == "all is back":
        wait("lists to be unmarked", lambda: not marked(*PLANNERS[0][:2]) and not marked(*VERIFIERS[0][:2]))
        stale(PLANNERS + VERIFIERS, False)
        # Nothing that was refused is done later: its time was over.
        found = everything()
        told = {operation: len(rows) for operation, rows in found.items()}
        expected = {operation: 1 for operation in found} | {"list_legal_holds": 0}
        findings.check(told == expected, f"after the outages there are {told}")
        findings.check("half" not in str(found), f"half made: {found}")
        # What the planner told the bus while that came up waits for its time; its answers come after. Clients try again.
        job = wait("the planner to answer", lambda: started(resource))
        completed(lambda: once.describe_backup_job(BackupJobId=job["BackupJobId"]))
        once.delete_recovery_point(**VAULT, RecoveryPointArn=job["RecoveryPointArn"])
        points = lambda: once.list_recovery_points_by_backup_vault(**VAULT)["RecoveryPoints"]  # noqa: E731
        wait("it to be deleted", lambda: len(points()) == 1)
        jobs = once.list_backup_jobs(ByResourceArn=resource)["BackupJobs"]
        findings.check(len(jobs) == 2, f"asked for once before and once after, there are {len(jobs)} jobs")


main()
findings.end(f"outages: {SETTING['part']}")
