"""boto3's paginators over everything that is listed: each row once, in one order, whatever the size of a page; and over a
vault with more recovery points than fit into one page, while others are added.
"""

import os

import boto3

from api import ACCOUNT, AWAY, HOME, ROLE, SETTING, Findings, Raw, client, completed, make_resource, wait
from members import LEFT_OUT
from world import plan_document

findings = Findings()
here, away, raw = client(), client(region=AWAY), Raw()
VAULT = {"BackupVaultName": "proof-main"}
RESOURCES = [f"arn:aws:files:{HOME}:{ACCOUNT}:tree/pages-{number}" for number in range(2)]
TESTS = {"RestoreTestingPlanName": "tests_0"}


def available(asked, name):
    """Waits for a vault."""
    wait(name, lambda: asked.describe_backup_vault(BackupVaultName=name)["VaultState"] == "AVAILABLE")


def prepare():
    """Two or more of everything."""
    for asked, name in ((here, "proof-main"), (here, "proof-second"), (away, "proof-copies")):
        asked.create_backup_vault(BackupVaultName=name)
        available(asked, name)
    for number in range(3):
        document = plan_document(f"plan-{number}")
        made = here.create_backup_plan(BackupPlan=document)
        here.create_legal_hold(Title=str(number), Description="d", RecoveryPointSelection={"VaultNames": ["proof-main"]})
        points = {"Algorithm": "LATEST_WITHIN_WINDOW", "RecoveryPointTypes": ["SNAPSHOT"], "IncludeVaults": ["*"]}
        test = {"RestoreTestingPlanName": f"tests_{number}", "ScheduleExpression": "cron(0 5 1 1 ? *)"}
        here.create_restore_testing_plan(RestoreTestingPlan={**test, "RecoveryPointSelection": points})
    for number in range(3):
        document["Rules"][0]["StartWindowMinutes"] = 61 + number
        here.update_backup_plan(BackupPlanId=made["BackupPlanId"], BackupPlan=document)
        selection = {"SelectionName": f"s-{number}", "IamRoleArn": ROLE, "Resources": ["arn:aws:files:*:*:none/*"]}
        here.create_backup_selection(BackupPlanId=made["BackupPlanId"], BackupSelection=selection)
        chosen = {"RestoreTestingSelectionName": f"s_{number}", "ProtectedResourceType": "Files", "IamRoleArn": ROLE}
        here.create_restore_testing_selection(
            **TESTS, RestoreTestingSelection={**chosen, "ProtectedResourceArns": ["*"]}
        )
    copies = f"arn:aws:backup:{AWAY}:{ACCOUNT}:backup-vault:proof-copies"
    for number in range(2):
        resource, _ = make_resource(raw, f"pages-{number}", ACCOUNT)
        job = here.start_backup_job(**VAULT, ResourceArn=resource, IamRoleArn=ROLE)
        completed(lambda j=job: here.describe_backup_job(BackupJobId=j["BackupJobId"]))
        point = job["RecoveryPointArn"]
        to = {"SourceBackupVaultName": "proof-main", "DestinationBackupVaultArn": copies, "IamRoleArn": ROLE}
        copy = here.start_copy_job(RecoveryPointArn=point, **to)
        completed(lambda c=copy: here.describe_copy_job(CopyJobId=c["CopyJobId"])["CopyJob"])
        for target in ("a", "b"):
            place = os.path.join(SETTING["dir"], f"paged-{number}-{target}")
            job = here.start_restore_job(RecoveryPointArn=point, Metadata={"TargetLocation": f"file://{place}"})
            completed(lambda j=job: here.describe_restore_job(RestoreJobId=j["RestoreJobId"]), "Status")


def paged(operation, params, size):
    """All rows that a paginator gives, and how many pages there were."""
    paginator = here.get_paginator(operation)
    member = paginator.result_keys[0].expression
    rows, count = [], 0
    for page in paginator.paginate(**params, PaginationConfig={"PageSize": size}):
        count += 1
        findings.check(len(page[member]) <= size, f"{operation}: {len(page[member])} rows in a page of {size}")
        rows += [str(sorted(row.items(), key=str)) for row in page[member]]
    return rows, count


def all_paginators():
    """Every paginator that botocore has of an operation that is served."""
    data = boto3.Session()._session.get_component("data_loader").load_service_model("backup", "paginators-1")
    plan = next(p["BackupPlanId"] for p in here.list_backup_plans()["BackupPlansList"] if p["BackupPlanName"] == "plan-2")
    hold = here.list_legal_holds()["LegalHolds"][0]["LegalHoldId"]
    params = {
        "ListBackupPlanVersions": {"BackupPlanId": plan},
        "ListBackupSelections": {"BackupPlanId": plan},
        "ListRecoveryPointsByBackupVault": {**VAULT, "ByResourceArn": RESOURCES[1]},
        "ListRecoveryPointsByLegalHold": {"LegalHoldId": hold},
        "ListRecoveryPointsByResource": {"ResourceArn": RESOURCES[1]},
        "ListProtectedResourcesByBackupVault": VAULT,
        "ListRestoreJobsByProtectedResource": {"ResourceArn": RESOURCES[1]},
        "ListRestoreTestingSelections": TESTS,
    }
    single = {"ListRecoveryPointsByBackupVault", "ListRecoveryPointsByResource"}
    served = sorted(set(data["pagination"]) - LEFT_OUT)
    findings.check(len(served) == 16, f"paginators: {served}")
    for name in served:
        operation = "".join("_" * (c.isupper() and i > 0) + c.lower() for i, c in enumerate(name))
        whole, pages = paged(operation, params.get(name, {}), 1000)
        findings.check(pages == 1 and len(set(whole)) == len(whole), f"{name}: {len(whole)} rows in {pages} pages")
        findings.check(len(whole) > 1 or name in single, f"{name}: {len(whole)} rows prove nothing")
        one, pages = paged(operation, params.get(name, {}), 1)
        findings.check(one == whole, f"{name}: page by page {one}, at once {whole}")
        findings.check(pages == max(len(whole), 1), f"{name}: {pages} pages of one for {len(whole)} rows")


def many():
    """More recovery points than a page can have."""
    expected = int(SETTING["part"])
    resource = {"ResourceArn": RESOURCES[0]}
    listed = lambda: sum(  # noqa: E731
        len(page["RecoveryPoints"])
        for page in here.get_paginator("list_recovery_points_by_backup_vault").paginate(**VAULT)
    )
    wait(f"{expected} recovery points to be listed", lambda: listed() >= expected)
    first = here.list_recovery_points_by_backup_vault(**VAULT)
    findings.check(len(first["RecoveryPoints"]) == 1000 and first["NextToken"], f"a page: {len(first['RecoveryPoints'])}")
    for operation, params in (
        ("list_recovery_points_by_backup_vault", {**VAULT, "ByResourceArn": RESOURCES[0]}),
        ("list_recovery_points_by_resource", resource),
    ):
        found = {}
        for size in (1000, 333):
            pages = here.get_paginator(operation).paginate(**params, PaginationConfig={"PageSize": size})
            rows = [row for page in pages for row in page["RecoveryPoints"]]
            arns = [row["RecoveryPointArn"] for row in rows]
            findings.check(len(set(arns)) == len(arns) == expected - 1, f"{operation}: {len(arns)} rows, {len(set(arns))}")
            dates = [row["CreationDate"] for row in rows]
            findings.check(dates == sorted(dates, reverse=True), f"{operation} by {size}: not newest first")
            found[size] = arns
        findings.check(found[1000] == found[333], f"{operation}: the order depends on the size of a page")
    # What comes in while pages are turned moves nothing.
    before = set(found[333])
    seen = []
    for number, page in enumerate(
        here.get_paginator("list_recovery_points_by_resource").paginate(**resource, PaginationConfig={"PageSize": 400})
    ):
        seen += [row["RecoveryPointArn"] for row in page["RecoveryPoints"]]
        if number == 0:
            job = here.start_backup_job(**VAULT, ResourceArn=RESOURCES[0], IamRoleArn=ROLE)
            completed(lambda: here.describe_backup_job(BackupJobId=job["BackupJobId"]))
            newest = lambda: here.list_recovery_points_by_resource(**resource, MaxResults=1)["RecoveryPoints"][0]  # noqa: E731
            wait("the new one", lambda: newest()["RecoveryPointArn"] == job["RecoveryPointArn"])
    findings.check(len(seen) == len(set(seen)) and before <= set(seen), f"{len(seen)} rows, {len(before - set(seen))} lost")


if SETTING["part"] == "prepare":
    prepare()
    all_paginators()
else:
    many()
findings.end(f"pages {SETTING['part']}")
