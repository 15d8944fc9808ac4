"""Two accounts see nothing of each other: not in lists, not by name, not by ARN or id, neither reading nor writing."""

import json
import re

from api import ACCOUNT, AWAY, HOME, OTHER_ACCOUNT, SETTING, Findings, Raw, client, completed, encoded
from api import make_resource, stay_within_a_day, wait
from world import plan_document

NOT_FOUND = ("ResourceNotFoundException", "InvalidParameterValueException")
findings = Findings()


class Owner:
    """An account with one of everything."""

    def __init__(self, profile, account):
        self.account, self.raw = account, Raw(profile)
        self.role = role = f"arn:aws:iam::{account}:role/backup"
        self.here, self.away = client(profile), client(profile, region=AWAY)
        self.resource, _ = make_resource(self.raw, "mine", account, tags={"stage": account})
        for asked, name in ((self.here, "proof-main"), (self.away, "proof-copies")):
            asked.create_backup_vault(BackupVaultName=name, BackupVaultTags={"of": account})
            wait(name, lambda a=asked, n=name: a.describe_backup_vault(BackupVaultName=n)["VaultState"] == "AVAILABLE")
        self.vault = f"arn:aws:backup:{HOME}:{account}:backup-vault:proof-main"
        self.copies = f"arn:aws:backup:{AWAY}:{account}:backup-vault:proof-copies"
        document = plan_document("proof-plan")
        document["Rules"][0]["CopyActions"] = [{"DestinationBackupVaultArn": self.copies}]
        made = self.here.create_backup_plan(BackupPlan=document, BackupPlanTags={"of": account})
        self.plan, self.plan_arn, self.version = made["BackupPlanId"], made["BackupPlanArn"], made["VersionId"]
        selection = {"SelectionName": "all", "IamRoleArn": role, "Resources": ["*"]}
        made = self.here.create_backup_selection(BackupPlanId=self.plan, BackupSelection=selection)
        self.selection = made["SelectionId"]
        start = {"BackupVaultName": "proof-main", "ResourceArn": self.resource, "IamRoleArn": role}
        made = self.here.start_backup_job(**start)
        self.backup, self.point = made["BackupJobId"], made["RecoveryPointArn"]
        completed(lambda: self.here.describe_backup_job(BackupJobId=self.backup))
        self.copy = self.here.start_copy_job(
            RecoveryPointArn=self.point,
            SourceBackupVaultName="proof-main",
            DestinationBackupVaultArn=self.copies,
            IamRoleArn=role,
        )["CopyJobId"]
        completed(lambda: self.here.describe_copy_job(CopyJobId=self.copy)["CopyJob"])
        self.target = f"file://{SETTING['dir']}/restored-of-{account}"
        metadata = {"TargetLocation": self.target}
        self.restore = self.here.start_restore_job(RecoveryPointArn=self.point, Metadata=metadata)["RestoreJobId"]
        completed(lambda: self.here.describe_restore_job(RestoreJobId=self.restore), "Status")
        points = {"Algorithm": "LATEST_WITHIN_WINDOW", "RecoveryPointTypes": ["SNAPSHOT"], "IncludeVaults": ["*"]}
        test = {"RestoreTestingPlanName": "tests", "ScheduleExpression": "cron(0 5 1 1 ? *)"}
        made = self.here.create_restore_testing_plan(RestoreTestingPlan={**test, "RecoveryPointSelection": points})
        self.test_arn = made["RestoreTestingPlanArn"]
        one = {"RestoreTestingSelectionName": "one", "ProtectedResourceType": "Files", "IamRoleArn": role}
        self.here.create_restore_testing_selection(
            RestoreTestingPlanName="tests", RestoreTestingSelection={**one, "ProtectedResourceArns": ["*"]}
        )
        chosen = {"VaultNames": ["proof-main"]}
        # A run that has nothing but the name of a resource without a recovery point.
        self.unproven = f"arn:aws:files:{HOME}:{account}:tree/unproven"
        self.here.create_restore_testing_plan(
            RestoreTestingPlan={**test, "RestoreTestingPlanName": "unproven", "RecoveryPointSelection": points}
        )
        self.here.create_restore_testing_selection(
            RestoreTestingPlanName="unproven", RestoreTestingSelection={**one, "ProtectedResourceArns": [self.unproven]}
        )
        made = self.here.create_legal_hold(Title=account, Description="d", RecoveryPointSelection=chosen)
        self.hold, self.hold_arn = made["LegalHoldId"], made["LegalHoldArn"]
        listed = lambda: self.here.list_recovery_points_by_backup_vault(BackupVaultName="proof-main")  # noqa: E731
        wait("the recovery point to be listed", lambda: listed()["RecoveryPoints"])
        for plan in ("tests", "unproven"):
            self.raw.native("POST", f"restore-testing-plans/{plan}/run")

    def seen(self):
        """All that its lists and look-ups show."""
        everything = []
        for asked in (self.here, self.away):
            for operation in (
                "list_backup_vaults", "list_backup_plans", "list_backup_jobs", "list_copy_jobs", "list_restore_jobs",
                "list_protected_resources", "list_restore_testing_plans", "list_legal_holds", "list_report_plans",
                "list_report_jobs", "list_backup_job_summaries", "list_copy_job_summaries",
                "list_restore_job_summaries", "describe_region_settings", "describe_global_settings",
            ):  # fmt: skip
                everything.append(getattr(asked, operation)())
        points = self.here.list_recovery_points_by_backup_vault(BackupVaultName="proof-main")
        everything += [points, self.here.get_backup_plan(BackupPlanId=self.plan, MaxScheduledRunsPreview=5)]
        everything.append(self.here.list_recovery_points_by_resource(ResourceArn=self.resource))
        everything.append(self.here.list_restore_jobs_by_protected_resource(ResourceArn=self.resource))
        everything.append(self.here.list_recovery_points_by_legal_hold(LegalHoldId=self.hold))
        for path in ("resources", "unprotected-resources", "coverage", "forecast?hours=9000", "test-runs"):
            path, _, query = path.partition("?")
            answer = self.raw.send("GET", "/holdfast/v1/" + path, query)
            findings.check(answer.status == 200, f"{path}: {answer}")
            everything.append(json.loads(answer.body))
        for answer in everything:
            if isinstance(answer, dict):
                answer.pop("ResponseMetadata", None)
        # Summaries say when they were made.
        return re.sub(r'"(Start|End)Time": "[^"]*"', "", json.dumps(everything, default=str))


def of_another(me, other):
    """Everything that names a thing of the other account."""
    vaults = {"BackupVaultName": "proof-main"}
    point = {**vaults, "RecoveryPointArn": other.point}
    plan = {"BackupPlanId": other.plan}
    document = plan_document("proof-plan")
    document["Rules"][0]["CopyActions"] = []
    copying = plan_document("copying")
    copying["Rules"][0]["CopyActions"] = [{"DestinationBackupVaultArn": other.copies}]
    start = {**vaults, "IamRoleArn": me.role}
    copy = {"SourceBackupVaultName": "proof-main", "IamRoleArn": me.role}
    metadata = {"TargetLocation": f"file://{SETTING['dir']}/stolen-by-{me.account}"}
    yield "describe_backup_vault", {**vaults, "BackupVaultAccountId": other.account}
    for operation in (
        "describe_recovery_point", "delete_recovery_point", "get_recovery_point_restore_metadata",
        "disassociate_recovery_point", "get_restore_testing_inferred_metadata",
    ):  # fmt: skip
        yield operation, point
    yield "update_recovery_point_lifecycle", {**point, "Lifecycle": {"DeleteAfterDays": 1}}
    yield "start_backup_job", {**start, "ResourceArn": other.resource}
    yield "start_copy_job", {**copy, "RecoveryPointArn": other.point, "DestinationBackupVaultArn": me.copies}
    yield "start_copy_job", {**copy, "RecoveryPointArn": me.point, "DestinationBackupVaultArn": other.copies}
    yield "start_restore_job", {"RecoveryPointArn": other.point, "Metadata": metadata}
    yield "create_backup_plan", {"BackupPlan": copying}
    yield "update_backup_plan", {**plan, "BackupPlan": document}
    for operation in ("get_backup_plan", "delete_backup_plan", "list_backup_plan_versions", "export_backup_plan_template"):
        yield operation, plan
    yield "get_backup_plan", {**plan, "VersionId": other.version}
    yield "list_backup_selections", plan
    yield "get_backup_selection", {**plan, "SelectionId": other.selection}
    yield "get_backup_selection", {"BackupPlanId": me.plan, "SelectionId": other.selection}
    yield "delete_backup_selection", {**plan, "SelectionId": other.selection}
    yield "delete_backup_selection", {"BackupPlanId": me.plan, "SelectionId": other.selection}
    selection = {"SelectionName": "stolen", "IamRoleArn": me.role, "Resources": ["*"]}
    yield "create_backup_selection", {**plan, "BackupSelection": selection}
    yield "describe_backup_job", {"BackupJobId": other.backup}
    yield "stop_backup_job", {"BackupJobId": other.backup}
    yield "describe_copy_job", {"CopyJobId": other.copy}
    yield "describe_restore_job", {"RestoreJobId": other.restore}
    yield "get_restore_job_metadata", {"RestoreJobId": other.restore}
    yield "put_restore_validation_result", {"RestoreJobId": other.restore, "ValidationStatus": "FAILED"}
    yield "describe_protected_resource", {"ResourceArn": other.resource}
    yield "get_legal_hold", {"LegalHoldId": other.hold}
    yield "cancel_legal_hold", {"LegalHoldId": other.hold, "CancelDescription": "mine"}
    yield "list_recovery_points_by_legal_hold", {"LegalHoldId": other.hold}
    for arn in (other.vault, other.copies, other.plan_arn, other.point, other.test_arn, other.hold_arn, other.resource):
        yield "list_tags", {"ResourceArn": arn}
        yield "tag_resource", {"ResourceArn": arn, "Tags": {"stolen": "yes"}}
        yield "untag_resource", {"ResourceArn": arn, "TagKeyList": ["of"]}


def empty_of_another(me, other):
    """Lists that may be asked for about anything, and show nothing of others."""
    return [
        me.here.list_recovery_points_by_resource(ResourceArn=other.resource)["RecoveryPoints"],
        me.here.list_restore_jobs_by_protected_resource(ResourceArn=other.resource)["RestoreJobs"],
        me.here.list_backup_jobs(ByAccountId=other.account)["BackupJobs"],
        me.here.list_backup_jobs(ByResourceArn=other.resource)["BackupJobs"],
        me.here.list_copy_jobs(ByDestinationVaultArn=other.copies)["CopyJobs"],
        me.here.list_copy_jobs(BySourceRecoveryPointArn=other.point)["CopyJobs"],
        me.here.list_restore_jobs(ByAccountId=other.account)["RestoreJobs"],
    ]


def of_another_region(me):
    """What is in one region is not in another."""
    metadata = {"TargetLocation": f"file://{SETTING['dir']}/far-{me.account}"}
    yield "describe_backup_vault", {"BackupVaultName": "proof-main"}
    yield "get_backup_plan", {"BackupPlanId": me.plan}
    yield "describe_backup_job", {"BackupJobId": me.backup}
    yield "stop_backup_job", {"BackupJobId": me.backup}
    yield "describe_copy_job", {"CopyJobId": me.copy}
    yield "describe_restore_job", {"RestoreJobId": me.restore}
    yield "get_restore_job_metadata", {"RestoreJobId": me.restore}
    yield "describe_recovery_point", {"BackupVaultName": "proof-copies", "RecoveryPointArn": me.point}
    yield "start_restore_job", {"RecoveryPointArn": me.point, "Metadata": metadata}
    yield "get_restore_testing_plan", {"RestoreTestingPlanName": "tests"}
    yield "get_legal_hold", {"LegalHoldId": me.hold}


def native_of_another(me, other):
    """Native operations about a thing of the other account."""
    resource = encoded(other.resource)
    moved = {"arn": other.resource, "resource_type": "Files", "region": HOME, "location": "file:///etc"}
    runs = json.loads(other.raw.send("GET", "/holdfast/v1/test-runs").body)
    yield "GET", f"resources/{resource}", None
    yield "DELETE", f"resources/{resource}", None
    yield "PUT", "resources", moved
    if me.account != ACCOUNT:
        # The bus as it is belongs to the installation's own account.
        yield "POST", "queries", {"query": "list-test-runs"}
        yield "POST", "queries", {"query": "show-resource", "resource": other.resource}
        yield "POST", "requests", {"request": "deregister-resource", "data": {"arn": other.resource}}
    yield "POST", f"restore-jobs/{other.restore}/stop", None
    yield "POST", f"copy-jobs/{other.copy}/stop", None
    for run in runs:
        yield "GET", f"test-runs/{run['id']}", None


def main():
    """Both ways."""
    first, second = Owner("default", ACCOUNT), Owner("other", OTHER_ACCOUNT)
    wait("test runs to end", lambda: all(
        run["ended_at"]
        for owner in (first, second)
        for run in json.loads(owner.raw.send("GET", "/holdfast/v1/test-runs").body)
    ))  # fmt: skip
    stay_within_a_day()
    before = [first.seen(), second.seen()]
    for me, other in ((first, second), (second, first)):
        told = me.seen()
        for name in ("account", "plan", "selection", "backup", "copy", "restore", "hold", "point", "resource", "unproven"):
            secret = getattr(other, name)
            findings.check(secret not in told, f"{me.account} sees the {name} `{secret}` of {other.account}")
            findings.check(getattr(me, name) in told or name == "selection", f"{me.account} sees its own {name}")
        for operation, params in of_another(me, other):
            act = lambda o=operation, p=params: getattr(me.here, o)(**p)  # noqa: E731
            findings.refused(f"{me.account}: {operation} {params}", NOT_FOUND, act)
        for operation, params in of_another_region(me):
            act = lambda o=operation, p=params: getattr(me.away, o)(**p)  # noqa: E731
            findings.refused(f"{me.account} in another region: {operation} {params}", NOT_FOUND, act)
        findings.check(not any(empty_of_another(me, other)), f"{me.account}: {empty_of_another(me, other)}")
        for method, path, body in native_of_another(me, other):
            answer = me.raw.send(method, "/holdfast/v1/" + path, body=json.dumps(body).encode() if body else b"")
            expected = ("AccessDeniedException",) if path in ("queries", "requests") else NOT_FOUND
            findings.check(answer.code in expected, f"{me.account}: {method} {path}: {answer}")
        # A page's token of one account is none of the other's.
        token = other.here.list_restore_jobs(MaxResults=1)["NextToken"]
        act = lambda t=token: me.here.list_restore_jobs(MaxResults=1, NextToken=t)  # noqa: E731
        findings.refused(f"{me.account}: a token of {other.account}", "InvalidParameterValueException", act, "NextToken")
    after = [first.seen(), second.seen()]
    for owner, one, two in zip((first, second), before, after):
        changed = set(one.split(", ")) ^ set(two.split(", "))
        findings.check(one == two, f"things of {owner.account} changed: {changed}")
    # Deleting under the same name deletes one's own.
    for owner in (first, second):
        owner.here.cancel_legal_hold(LegalHoldId=owner.hold, CancelDescription="over")
    first.here.delete_restore_testing_selection(RestoreTestingPlanName="tests", RestoreTestingSelectionName="one")
    first.here.delete_restore_testing_plan(RestoreTestingPlanName="tests")
    first.here.put_backup_vault_lock_configuration(BackupVaultName="proof-main", MinRetentionDays=1)
    first.here.tag_resource(ResourceArn=first.vault, Tags={"of": "changed"})
    first.here.update_region_settings(ResourceTypeOptInPreference={"Files": False})
    left = second.here.get_restore_testing_plan(RestoreTestingPlanName="tests")["RestoreTestingPlan"]
    findings.check(left["RestoreTestingPlanName"] == "tests", f"the other's testing plan: {left}")
    vault = second.here.describe_backup_vault(BackupVaultName="proof-main")
    findings.check(not vault["Locked"], f"the other's vault is locked: {vault}")
    tags = second.here.list_tags(ResourceArn=second.vault)["Tags"]
    findings.check(tags == {"of": OTHER_ACCOUNT}, f"the other's tags: {tags}")
    settings = second.here.describe_region_settings()["ResourceTypeOptInPreference"]
    findings.check(settings["Files"], f"the other's settings: {settings}")


main()
findings.end("accounts")
