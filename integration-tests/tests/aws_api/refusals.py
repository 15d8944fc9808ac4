"""What the model allows and the state of things forbids: AWS's error name, a message that names the member or the thing,
and nothing changes.
"""

import json

from api import ACCOUNT, AWAY, HOME, MODEL, OTHER_ACCOUNT, ROLE, SETTING, Findings, Raw, client, completed
from api import make_resource, wait
from members import INVALID, MISSING
from world import NEVER, POLICY, plan_document

REQUEST, UNKNOWN, EXISTS = "InvalidRequestException", "ResourceNotFoundException", "AlreadyExistsException"
findings = Findings()
raw = Raw()
caller, away = client(), client(region=AWAY)


def vault(name, region=HOME, account=ACCOUNT):
    """The ARN of a vault."""
    return f"arn:aws:backup:{region}:{account}:backup-vault:{name}"


def prepare():
    """Two vaults, a plan with a selection, a recovery point, a hold, a restore testing plan with a selection."""
    made = {}
    away.create_backup_vault(BackupVaultName="proof-copies")
    for name in ("proof-main", "proof-locked"):
        caller.create_backup_vault(BackupVaultName=name)
    for asked, name in ((caller, "proof-main"), (caller, "proof-locked"), (away, "proof-copies")):
        wait(name, lambda a=asked, n=name: a.describe_backup_vault(BackupVaultName=n)["VaultState"] == "AVAILABLE")
    made["resource"], _ = make_resource(raw, "refusals", ACCOUNT)
    plan = caller.create_backup_plan(BackupPlan=plan_document("proof-plan"))
    made["plan"], made["version"] = plan["BackupPlanId"], plan["VersionId"]
    selection = {"SelectionName": "one", "IamRoleArn": ROLE, "Resources": [made["resource"] + "-none"]}
    made["selection"] = caller.create_backup_selection(BackupPlanId=made["plan"], BackupSelection=selection)["SelectionId"]
    for name in ("proof-main", "proof-locked"):
        start = {"BackupVaultName": name, "ResourceArn": made["resource"], "IamRoleArn": ROLE}
        job = caller.start_backup_job(**start, Lifecycle={"DeleteAfterDays": 30})
        made[name] = job["RecoveryPointArn"]
        completed(lambda j=job: caller.describe_backup_job(BackupJobId=j["BackupJobId"]))
        made["job"] = job["BackupJobId"]
    caller.put_backup_vault_lock_configuration(BackupVaultName="proof-locked", MinRetentionDays=7, MaxRetentionDays=60)
    hold = caller.create_legal_hold(
        Title="t", Description="d", RecoveryPointSelection={"VaultNames": ["proof-main"]}
    )
    made["hold"] = hold["LegalHoldId"]
    points = {"Algorithm": "LATEST_WITHIN_WINDOW", "RecoveryPointTypes": ["SNAPSHOT"], "IncludeVaults": ["*"]}
    test = {"RestoreTestingPlanName": "tests", "ScheduleExpression": "cron(0 5 1 1 ? *)", "RecoveryPointSelection": points}
    made["test"] = test
    caller.create_restore_testing_plan(RestoreTestingPlan=test)
    one = {
        "RestoreTestingSelectionName": "one",
        "ProtectedResourceType": "Files",
        "IamRoleArn": ROLE,
        "ProtectedResourceArns": ["*"],
    }
    made["one"] = one
    caller.create_restore_testing_selection(RestoreTestingPlanName="tests", RestoreTestingSelection=one)
    return made


def rule(**changes):
    """A plan whose rule says something else."""
    document = plan_document("other-plan")
    document["Rules"][0].update(changes)
    return {"BackupPlan": document}


def of_vaults(made):
    """Vaults, locks, policies."""
    main, locked, none = ({"BackupVaultName": name} for name in ("proof-main", "proof-locked", "nowhere"))
    yield "CreateBackupVault", main, EXISTS, "proof-main"
    yield "CreateLogicallyAirGappedBackupVault", {**main, "MinRetentionDays": 7, "MaxRetentionDays": 9}, EXISTS, "proof-main"
    gapped = {"BackupVaultName": "gapped"}
    yield "CreateLogicallyAirGappedBackupVault", {**gapped, "MinRetentionDays": 9, "MaxRetentionDays": 7}, INVALID, "RetentionDays"
    yield "CreateLogicallyAirGappedBackupVault", {**gapped, "MinRetentionDays": 0, "MaxRetentionDays": 7}, INVALID, "MinRetentionDays"
    key = {**gapped, "EncryptionKeyArn": f"arn:aws:kms:{HOME}:{ACCOUNT}:alias/x"}
    yield "CreateBackupVault", key, INVALID, "EncryptionKeyArn"
    yield "DescribeBackupVault", none, UNKNOWN, "nowhere"
    yield "DescribeBackupVault", {**main, "BackupVaultAccountId": OTHER_ACCOUNT}, UNKNOWN, "account"
    yield "DeleteBackupVault", none, UNKNOWN, "nowhere"
    yield "DeleteBackupVault", main, REQUEST, "recovery point"
    for low, high in ((9, 7), (0, 7), (1, 36501)):
        wanted = {**main, "MinRetentionDays": low, "MaxRetentionDays": high}
        yield "PutBackupVaultLockConfiguration", wanted, INVALID, "RetentionDays"
    short = {**main, "MinRetentionDays": 7, "ChangeableForDays": 2}
    yield "PutBackupVaultLockConfiguration", short, INVALID, "ChangeableForDays"
    yield "PutBackupVaultLockConfiguration", {**none, "MinRetentionDays": 7}, UNKNOWN, "nowhere"
    for operation in ("GetBackupVaultAccessPolicy", "GetBackupVaultNotifications"):
        yield operation, main, UNKNOWN, "proof-main"
        yield operation, none, UNKNOWN, "nowhere"
    yield "PutBackupVaultAccessPolicy", {**none, "Policy": POLICY}, UNKNOWN, "nowhere"
    yield "PutBackupVaultAccessPolicy", {**main, "Policy": "{"}, INVALID, "Policy"
    odd = json.loads(POLICY)
    odd["Statement"][0]["Condition"] = {"DateLessThan": {"aws:CurrentTime": "2020-01-01"}}
    yield "PutBackupVaultAccessPolicy", {**main, "Policy": json.dumps(odd)}, INVALID, "Policy"
    topic = {"SNSTopicArn": f"arn:aws:sns:{HOME}:{ACCOUNT}:t", "BackupVaultEvents": ["BACKUP_JOB_COMPLETED"]}
    yield "PutBackupVaultNotifications", {**none, **topic}, UNKNOWN, "nowhere"
    yield "PutBackupVaultNotifications", {**main, **topic, "SNSTopicArn": "arn:aws:s3"}, INVALID, "SNSTopicArn"
    # A lock forbids, whoever asks.
    point = {**locked, "RecoveryPointArn": made["proof-locked"]}
    yield "DeleteRecoveryPoint", point, REQUEST, "lock"
    yield "UpdateRecoveryPointLifecycle", {**point, "Lifecycle": {"DeleteAfterDays": 40}}, REQUEST, "lock"


def of_plans(made):
    """Plans and selections."""
    plan, none = {"BackupPlanId": made["plan"]}, {"BackupPlanId": NEVER}
    yield "CreateBackupPlan", {"BackupPlan": plan_document("proof-plan")}, EXISTS, ""
    yield "CreateBackupPlan", rule(TargetBackupVaultName="nowhere"), INVALID, "TargetBackupVaultName"
    yield "CreateBackupPlan", rule(ScheduleExpression="cron(61 5 ? * * *)"), INVALID, "ScheduleExpression"
    yield "CreateBackupPlan", rule(ScheduleExpression="rate(1 day)"), INVALID, "ScheduleExpression"
    yield "CreateBackupPlan", rule(ScheduleExpressionTimezone="Mars/Olympus"), INVALID, "ScheduleExpressionTimezone"
    yield "CreateBackupPlan", rule(StartWindowMinutes=600), INVALID, "WindowMinutes"
    yield "CreateBackupPlan", rule(Lifecycle={"DeleteAfterDays": 0}), INVALID, "DeleteAfterDays"
    yield "CreateBackupPlan", rule(Lifecycle={"DeleteAfterDays": 36501}), INVALID, "DeleteAfterDays"
    yield "CreateBackupPlan", rule(RuleName=""), INVALID, "RuleName"
    copies = [{"DestinationBackupVaultArn": vault("nowhere", AWAY)}]
    yield "CreateBackupPlan", rule(CopyActions=copies), INVALID, "DestinationBackupVaultArn"
    copies = [{"DestinationBackupVaultArn": vault("proof-main")}]
    yield "CreateBackupPlan", rule(CopyActions=copies), INVALID, "DestinationBackupVaultArn"
    copies = [{"DestinationBackupVaultArn": "arn:aws:s3"}]
    yield "CreateBackupPlan", rule(CopyActions=copies), INVALID, "BackupPlan.Rules[0].CopyActions[0].DestinationBackupVaultArn"
    yield "CreateBackupPlan", {"BackupPlan": {"BackupPlanName": "empty", "Rules": []}}, MISSING, "BackupPlan.Rules"
    twice = plan_document("twice")
    twice["Rules"].append(twice["Rules"][0])
    yield "CreateBackupPlan", {"BackupPlan": twice}, INVALID, "RuleName"
    tags = {**rule(), "BackupPlanTags": {"aws:mine": "x"}}
    yield "CreateBackupPlan", tags, INVALID, "aws:mine"
    yield "CreateBackupPlan", rule(IndexActions=[{"ResourceTypes": ["S3"]}]), INVALID, "IndexActions"
    yield "UpdateBackupPlan", {**none, "BackupPlan": plan_document("other")}, UNKNOWN, NEVER
    yield "UpdateBackupPlan", {**plan, **rule(TargetBackupVaultName="nowhere")}, INVALID, "TargetBackupVaultName"
    for operation in ("GetBackupPlan", "DeleteBackupPlan", "ListBackupPlanVersions", "ExportBackupPlanTemplate"):
        yield operation, none, UNKNOWN, NEVER
        yield operation, {"BackupPlanId": "no-uuid"}, UNKNOWN, "no-uuid"
    yield "GetBackupPlan", {**plan, "VersionId": NEVER}, UNKNOWN, NEVER
    yield "DeleteBackupPlan", plan, REQUEST, "Related backup plan selections must be deleted prior to backup"
    for text in ("{", '{"Rules": []}', '{"BackupPlanName": "t", "Rules": [{"RuleName": "r"}], "NoSuch": 1}', "[]"):
        yield "GetBackupPlanFromJSON", {"BackupPlanTemplateJson": text}, (INVALID, MISSING), ""
    one = {"SelectionName": "two", "IamRoleArn": ROLE, "Resources": ["*"]}
    yield "CreateBackupSelection", {**none, "BackupSelection": one}, INVALID, "Cannot find Backup plan"
    yield "CreateBackupSelection", {**plan, "BackupSelection": {**one, "SelectionName": "one"}}, EXISTS, "one"
    wrong = {**one, "Resources": ["not an arn"]}
    yield "CreateBackupSelection", {**plan, "BackupSelection": wrong}, INVALID, "Resources"
    yield "GetBackupSelection", {**none, "SelectionId": made["selection"]}, INVALID, "Cannot find Backup plan"
    for operation in ("GetBackupSelection", "DeleteBackupSelection"):
        yield operation, {**plan, "SelectionId": NEVER}, (UNKNOWN, INVALID), NEVER
        yield operation, {**plan, "SelectionId": "no-uuid"}, (UNKNOWN, INVALID), "no-uuid"
    yield "DeleteBackupSelection", {**none, "SelectionId": made["selection"]}, INVALID, ""
    yield "ListBackupSelections", none, UNKNOWN, NEVER


def of_jobs(made):
    """Jobs and recovery points."""
    start = {"BackupVaultName": "proof-main", "ResourceArn": made["resource"], "IamRoleArn": ROLE}
    yield "StartBackupJob", {**start, "BackupVaultName": "nowhere"}, (UNKNOWN, INVALID), "nowhere"
    yield "StartBackupJob", {**start, "ResourceArn": made["resource"] + "-none"}, (UNKNOWN, INVALID), "ResourceArn"
    yield "StartBackupJob", {**start, "ResourceArn": "arn:aws:s3"}, INVALID, "ResourceArn"
    yield "StartBackupJob", {**start, "BackupOptions": {"WindowsVSS": "enabled"}}, INVALID, "BackupOptions"
    yield "StartBackupJob", {**start, "StartWindowMinutes": -1}, INVALID, "StartWindowMinutes"
    yield "StartBackupJob", {**start, "CompleteWindowMinutes": -1}, INVALID, "CompleteWindowMinutes"
    windows = {"StartWindowMinutes": 100, "CompleteWindowMinutes": 50}
    yield "StartBackupJob", {**start, **windows}, INVALID, "CompleteWindowMinutes"
    yield "StartBackupJob", {**start, "Lifecycle": {"DeleteAfterDays": 0}}, INVALID, "Lifecycle.DeleteAfterDays"
    yield "StartBackupJob", {**start, "RecoveryPointTags": {"aws:mine": "x"}}, INVALID, "RecoveryPointTags"
    yield "StopBackupJob", {"BackupJobId": made["job"]}, REQUEST, "BackupJobId"
    for operation, member in (
        ("DescribeBackupJob", "BackupJobId"), ("StopBackupJob", "BackupJobId"), ("DescribeCopyJob", "CopyJobId"),
        ("DescribeRestoreJob", "RestoreJobId"), ("GetRestoreJobMetadata", "RestoreJobId"),
    ):  # fmt: skip
        for name in (NEVER, "no-uuid"):
            yield operation, {member: name}, UNKNOWN, name
    yield "DescribeCopyJob", {"CopyJobId": made["job"]}, UNKNOWN, made["job"]
    copy = {
        "RecoveryPointArn": made["proof-main"],
        "SourceBackupVaultName": "proof-main",
        "DestinationBackupVaultArn": vault("proof-copies", AWAY),
        "IamRoleArn": ROLE,
    }
    yield "StartCopyJob", {**copy, "DestinationBackupVaultArn": vault("nowhere", AWAY)}, (UNKNOWN, INVALID), "nowhere"
    yield "StartCopyJob", {**copy, "DestinationBackupVaultArn": vault("proof-main")}, INVALID, "DestinationBackupVaultArn"
    yield "StartCopyJob", {**copy, "SourceBackupVaultName": "proof-locked"}, UNKNOWN, made["proof-main"]
    yield "StartCopyJob", {**copy, "RecoveryPointArn": "arn:aws:s3"}, INVALID, "RecoveryPointArn"
    gone = made["proof-main"].rpartition(":")[0] + ":" + NEVER
    yield "StartCopyJob", {**copy, "RecoveryPointArn": gone}, UNKNOWN, gone
    target = {"TargetLocation": f"file://{SETTING['dir']}/never"}
    restore = {"RecoveryPointArn": made["proof-main"], "Metadata": target}
    yield "StartRestoreJob", {**restore, "RecoveryPointArn": gone}, UNKNOWN, gone
    yield "StartRestoreJob", {**restore, "Metadata": {}}, INVALID, "TargetLocation"
    yield "StartRestoreJob", {**restore, "Metadata": {"TargetLocation": "s3://x"}}, INVALID, "TargetLocation"
    yield "StartRestoreJob", {**restore, "Metadata": {"TargetLocation": "file://relative"}}, INVALID, "TargetLocation"
    yield "StartRestoreJob", {**restore, "Metadata": {**target, "OverwritePolicy": "x"}}, INVALID, "OverwritePolicy"
    yield "StartRestoreJob", {**restore, "Metadata": {**target, "ItemsToRestore": "x"}}, INVALID, "ItemsToRestore"
    climb = {**target, "ItemsToRestore": '["../x"]'}
    yield "StartRestoreJob", {**restore, "Metadata": climb}, INVALID, "ItemsToRestore"
    yield "StartRestoreJob", {**restore, "ResourceType": "EBS"}, INVALID, "ResourceType"
    point = {"BackupVaultName": "proof-main", "RecoveryPointArn": made["proof-main"]}
    yield "DeleteRecoveryPoint", point, REQUEST, "hold"
    for operation in (
        "DescribeRecoveryPoint", "DeleteRecoveryPoint", "GetRecoveryPointRestoreMetadata", "DisassociateRecoveryPoint",
        "UpdateRecoveryPointLifecycle", "GetRestoreTestingInferredMetadata",
    ):  # fmt: skip
        yield operation, {**point, "RecoveryPointArn": gone}, UNKNOWN, gone
        yield operation, {**point, "RecoveryPointArn": "arn:aws:s3"}, INVALID, "RecoveryPointArn"
        yield operation, {**point, "BackupVaultName": "proof-locked"}, UNKNOWN, made["proof-main"]
    yield "DisassociateRecoveryPoint", point, REQUEST, "snapshot"
    yield "UpdateRecoveryPointLifecycle", {**point, "Lifecycle": {"DeleteAfterDays": 0}}, INVALID, "Lifecycle.DeleteAfterDays"
    for operation in ("ListRecoveryPointsByBackupVault", "ListProtectedResourcesByBackupVault"):
        yield operation, {"BackupVaultName": "nowhere"}, UNKNOWN, "nowhere"
    yield "DescribeProtectedResource", {"ResourceArn": made["resource"] + "-none"}, UNKNOWN, "-none"
    yield "ListRecoveryPointsByResource", {"ResourceArn": "x"}, INVALID, "ResourceArn"
    verdict = {"RestoreJobId": made["job"], "ValidationStatus": "SUCCESSFUL"}
    yield "PutRestoreValidationResult", verdict, UNKNOWN, made["job"]


def of_others(made):
    """Restore testing, tags, holds, settings, reports, pages."""
    test, one = made["test"], made["one"]
    name, none = {"RestoreTestingPlanName": "tests"}, {"RestoreTestingPlanName": "nowhere"}
    yield "CreateRestoreTestingPlan", {"RestoreTestingPlan": test}, EXISTS, "tests"
    other = {**test, "RestoreTestingPlanName": "other"}
    for changes, member in (
        ({"ScheduleExpression": "cron(x)"}, "ScheduleExpression"),
        ({"ScheduleExpressionTimezone": "Mars/Olympus"}, "ScheduleExpressionTimezone"),
        ({"StartWindowHours": 169}, "StartWindowHours"),
        ({"StartWindowHours": -1}, "StartWindowHours"),
        ({"RecoveryPointSelection": {**test["RecoveryPointSelection"], "SelectionWindowDays": 366}}, "SelectionWindowDays"),
        ({"RecoveryPointSelection": {**test["RecoveryPointSelection"], "IncludeVaults": ["x"]}}, "IncludeVaults"),
        ({"RecoveryPointSelection": {**test["RecoveryPointSelection"], "RecoveryPointTypes": []}}, "RecoveryPointTypes"),
    ):  # fmt: skip
        yield "CreateRestoreTestingPlan", {"RestoreTestingPlan": {**other, **changes}}, (INVALID, MISSING), member
    yield "CreateRestoreTestingPlan", {
        "RestoreTestingPlan": {**other, "RecoveryPointSelection": {"Algorithm": "LATEST_WITHIN_WINDOW"}}
    }, MISSING, "RestoreTestingPlan.RecoveryPointSelection."
    for operation in ("GetRestoreTestingPlan", "DeleteRestoreTestingPlan", "ListRestoreTestingSelections"):
        yield operation, none, UNKNOWN, "nowhere"
    yield "UpdateRestoreTestingPlan", {**none, "RestoreTestingPlan": {"StartWindowHours": 2}}, UNKNOWN, "nowhere"
    yield "UpdateRestoreTestingPlan", {**name, "RestoreTestingPlan": {"StartWindowHours": 169}}, INVALID, "StartWindowHours"
    yield "DeleteRestoreTestingPlan", name, REQUEST, "selection"
    create = "CreateRestoreTestingSelection"
    yield create, {**none, "RestoreTestingSelection": one}, UNKNOWN, "nowhere"
    yield create, {**name, "RestoreTestingSelection": one}, EXISTS, "one"
    two = {**one, "RestoreTestingSelectionName": "two"}
    for changes, member in (
        ({"ProtectedResourceType": "EBS"}, "ProtectedResourceType"),
        ({"ProtectedResourceArns": []}, "ProtectedResourceArns"),
        ({"ProtectedResourceArns": ["x"]}, "ProtectedResourceArns"),
        ({"ValidationWindowHours": 169}, "ValidationWindowHours"),
        ({"RestoreMetadataOverrides": {"TargetLocation": "file:///etc"}}, "TargetLocation"),
    ):  # fmt: skip
        yield create, {**name, "RestoreTestingSelection": {**two, **changes}}, INVALID, member
    both = {**name, "RestoreTestingSelectionName": "two"}
    for operation in ("GetRestoreTestingSelection", "DeleteRestoreTestingSelection"):
        yield operation, both, UNKNOWN, "two"
    change = {"RestoreTestingSelection": {"ValidationWindowHours": 1}}
    yield "UpdateRestoreTestingSelection", {**both, **change}, UNKNOWN, "two"
    for operation, more in (("ListTags", {}), ("TagResource", {"Tags": {"a": "b"}}), ("UntagResource", {"TagKeyList": ["a"]})):
        yield operation, {"ResourceArn": vault("nowhere"), **more}, UNKNOWN, "nowhere"
        yield operation, {"ResourceArn": vault("proof-main", account=OTHER_ACCOUNT), **more}, UNKNOWN, "proof-main"
        yield operation, {"ResourceArn": "x", **more}, INVALID, "ResourceArn"
    yield "TagResource", {"ResourceArn": vault("proof-main"), "Tags": {"aws:mine": "x"}}, INVALID, "aws:mine"
    yield "TagResource", {"ResourceArn": vault("proof-main"), "Tags": {"k" * 129: "x"}}, INVALID, "Tags"
    many = {str(number): "x" for number in range(51)}
    yield "TagResource", {"ResourceArn": vault("proof-main"), "Tags": many}, (INVALID, "LimitExceededException"), "50"
    for operation in ("GetLegalHold", "ListRecoveryPointsByLegalHold"):
        yield operation, {"LegalHoldId": NEVER}, UNKNOWN, NEVER
    yield "CancelLegalHold", {"LegalHoldId": NEVER, "CancelDescription": "x"}, UNKNOWN, NEVER
    backwards = {"DateRange": {"FromDate": "2026-02-01T00:00:00Z", "ToDate": "2026-01-01T00:00:00Z"}}
    hold = {"Title": "t", "Description": "d", "RecoveryPointSelection": backwards}
    yield "CreateLegalHold", hold, INVALID, "DateRange"
    unknown = {"ResourceTypeOptInPreference": {"NoSuchType": True}}
    yield "UpdateRegionSettings", unknown, INVALID, "NoSuchType"
    for settings in ({"isCrossAccountBackupEnabled": "perhaps"}, {"noSuchSetting": "true"}):
        yield "UpdateGlobalSettings", {"GlobalSettings": settings}, INVALID, next(iter(settings))
    report = {"ReportPlanName": "report", "ReportDeliveryChannel": {"S3BucketName": "reports"}}
    jobs = {"ReportSetting": {"ReportTemplate": "BACKUP_JOB_REPORT"}}
    nowhere = {**report, **jobs, "ReportDeliveryChannel": {"S3BucketName": "nowhere"}}
    yield "CreateReportPlan", nowhere, INVALID, "ReportDeliveryChannel.S3BucketName"
    odd = {**report, **jobs, "ReportDeliveryChannel": {"S3BucketName": "reports", "Formats": ["PDF"]}}
    yield "CreateReportPlan", odd, INVALID, "ReportDeliveryChannel.Formats"
    for template in ("CONTROL_COMPLIANCE_REPORT", "NO_SUCH_REPORT"):
        wanted = {**report, "ReportSetting": {"ReportTemplate": template}}
        yield "CreateReportPlan", wanted, INVALID, "ReportSetting.ReportTemplate"
    far = {**report, "ReportSetting": {"ReportTemplate": "BACKUP_JOB_REPORT", "Regions": ["eu-nowhere-9"]}}
    yield "CreateReportPlan", far, INVALID, "ReportSetting.Regions[0]"
    for operation in ("DescribeReportPlan", "UpdateReportPlan", "DeleteReportPlan", "StartReportJob"):
        yield operation, {"ReportPlanName": "nowhere"}, UNKNOWN, "nowhere"
    yield "DescribeReportJob", {"ReportJobId": NEVER}, UNKNOWN, NEVER
    for operation in ("ListBackupVaults", "ListBackupJobs", "ListRestoreTestingPlans", "ListLegalHolds"):
        yield operation, {"NextToken": "made up"}, INVALID, "NextToken"


def tokens():
    """A page's token opens for its own list only, and not when it was changed."""
    page = caller.list_backup_vaults(MaxResults=1)
    token = page["NextToken"]
    changed = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    for what, asked, params in (
        ("a changed token", caller, {"NextToken": changed}),
        ("another filter", caller, {"NextToken": token, "ByVaultType": "BACKUP_VAULT"}),
        ("another region", away, {"NextToken": token}),
        ("another role of the account is the account", client("auditor"), {"NextToken": token}),
    ):
        if what.startswith("another role"):
            findings.check(asked.list_backup_vaults(MaxResults=1, **params)["BackupVaultList"], what)
        else:
            act = lambda a=asked, p=params: a.list_backup_vaults(MaxResults=1, **p)  # noqa: E731
            findings.refused(what, INVALID, act, "NextToken")


def deleted_plan(made):
    """A deleted plan: gone, but for its versions."""
    selections = caller.list_backup_selections(BackupPlanId=made["plan"])["BackupSelectionsList"]
    findings.check([one["SelectionId"] for one in selections] == [made["selection"]], f"selections: {selections}")
    for one in selections:
        caller.delete_backup_selection(BackupPlanId=made["plan"], SelectionId=one["SelectionId"])
    caller.delete_backup_plan(BackupPlanId=made["plan"])
    findings.refused("a deleted plan", UNKNOWN, lambda: caller.get_backup_plan(BackupPlanId=made["plan"]))
    old = caller.get_backup_plan(BackupPlanId=made["plan"], VersionId=made["version"])
    findings.check("DeletionDate" in old and old["BackupPlan"]["Rules"], f"a version of a deleted plan: {old}")
    change = {"BackupPlanId": made["plan"], "BackupPlan": plan_document("proof-plan")}
    findings.refused("an update of a deleted plan", UNKNOWN, lambda: caller.update_backup_plan(**change))
    # The same bytes in the same second, as another call: the client has to sign again, which it does by itself.
    findings.refused("a second deletion", UNKNOWN, lambda: caller.delete_backup_plan(BackupPlanId=made["plan"]))


def main():
    """All of it."""
    made = prepare()
    unchecked = client(parameter_validation=False)
    told_of = []
    for part in (of_vaults, of_plans, of_jobs, of_others):
        for operation, params, code, words in part(made):
            what = f"{operation} {json.dumps(params, default=str)[:160]}"
            seen = {}

            def act():
                try:
                    return unchecked._make_api_call(operation, json.loads(json.dumps(params)))
                except unchecked.exceptions.ClientError as error:
                    seen.update(error.response)
                    raise

            findings.refused(what, code, act, words)
            # The member it is about is one that the caller knows.
            context = seen.get("Context")
            if context and operation != "GetBackupPlanFromJSON":
                first = context.replace("[", ".").split(".")[0]
                known = MODEL.operation_model(operation).input_shape.members
                findings.check(first in known, f"{what}: is about `{context}`, which is no member: {seen.get('Error')}")
            told_of.append(operation)
    tokens()
    vaults = [v["BackupVaultName"] for v in caller.list_backup_vaults()["BackupVaultList"]]
    findings.check(sorted(vaults) == ["proof-locked", "proof-main"], f"vaults: {vaults}")
    plans = [p["BackupPlanName"] for p in caller.list_backup_plans()["BackupPlansList"]]
    findings.check(plans == ["proof-plan"], f"plans: {plans}")
    tests = [p["RestoreTestingPlanName"] for p in caller.list_restore_testing_plans()["RestoreTestingPlans"]]
    findings.check(tests == ["tests"], f"restore testing plans: {tests}")
    jobs = [len(caller.list_backup_jobs()["BackupJobs"]), len(caller.list_copy_jobs()["CopyJobs"])]
    jobs.append(len(caller.list_restore_jobs()["RestoreJobs"]))
    findings.check(jobs == [2, 0, 0], f"jobs: {jobs}")
    deleted_plan(made)
    print(f"{len(told_of)} refusals of {len(set(told_of))} operations")


main()
findings.end("refusals")
