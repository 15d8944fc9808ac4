"""A valid call of every operation that is served, in an order in which each finds what it needs."""

import datetime
import time

from api import ACCOUNT, AWAY, HOME, ROLE, SETTING, completed, wait

NOW = datetime.datetime.now(datetime.timezone.utc)
TOPIC = f"arn:aws:sns:{HOME}:{ACCOUNT}:backups"
NEVER = "11111111-2222-4333-8444-555555555555"
# Refused, though the call is valid.
REFUSED = {
    # Of a snapshot there is nothing to disassociate.
    "DisassociateRecoveryPoint": "InvalidRequestException",
}
POLICY = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", '
    '"Action": "backup:DeleteRecoveryPoint", "Resource": "*"}]}'
)


def plan_document(name, vault="proof-main"):
    """A document with everything a plan can say here."""
    copy = f"arn:aws:backup:{AWAY}:{ACCOUNT}:backup-vault:proof-copies"
    return {
        "BackupPlanName": name,
        "Rules": [
            {
                "RuleName": "daily",
                "TargetBackupVaultName": vault,
                "ScheduleExpression": "cron(0 5 1 1 ? *)",
                "ScheduleExpressionTimezone": "Asia/Tokyo",
                "StartWindowMinutes": 60,
                "CompletionWindowMinutes": 180,
                "Lifecycle": {"DeleteAfterDays": 35},
                "RecoveryPointTags": {"made-by": "plan"},
                "CopyActions": [{"DestinationBackupVaultArn": copy, "Lifecycle": {"DeleteAfterDays": 90}}],
                "EnableContinuousBackup": False,
            }
        ],
        "AdvancedBackupSettings": [],
    }


class World:
    """What exists, as the calls made it."""

    def __init__(self, resource, caller, away, raw):
        self.resource, self.caller, self.away, self.raw = resource, caller, away, raw
        # What has to happen right before a valid call, and gives its parameters.
        self.before = {"StopBackupJob": self.running_backup, "PutRestoreValidationResult": self.restore_test}
        self.plan_id = self.selection_id = self.version = self.hold = self.report = NEVER
        self.backup = self.copy = self.restore = self.point = self.second = self.slow = NEVER

    def vault_arn(self, name="proof-main", region=HOME):
        """The ARN of one of its vaults."""
        return f"arn:aws:backup:{region}:{ACCOUNT}:backup-vault:{name}"

    def calls(self):
        """Operation, parameters, and what to do with the answer."""
        yield "CreateBackupVault", {
            "BackupVaultName": "proof-main",
            "BackupVaultTags": {"team": "a"},
            "EncryptionKeyArn": f"arn:aws:kms:{HOME}:{ACCOUNT}:key/{SETTING['key_profile']}",
        }, lambda _: self.available("proof-main")
        yield "CreateLogicallyAirGappedBackupVault", {
            "BackupVaultName": "proof-gapped",
            "MinRetentionDays": 7,
            "MaxRetentionDays": 90,
            "BackupVaultTags": {"team": "a"},
        }, lambda _: self.available("proof-gapped")
        yield "DescribeBackupVault", {"BackupVaultName": "proof-main", "BackupVaultAccountId": ACCOUNT}, None
        yield "ListBackupVaults", {"ByVaultType": "BACKUP_VAULT", "ByShared": False, "MaxResults": 10}, None
        yield from self.settings_of_vaults()
        yield from self.plans()
        yield from self.jobs()
        yield from self.points()
        yield from self.testing()
        yield from self.others()
        yield "DeleteBackupSelection", {"BackupPlanId": self.plan_id, "SelectionId": self.selection_id}, None
        yield "DeleteBackupPlan", {"BackupPlanId": self.plan_id}, None
        yield "DeleteBackupVault", {"BackupVaultName": "proof-gapped"}, None

    def available(self, name, region=HOME):
        """Waits until a vault that was made can be used."""
        asked = self.caller if region == HOME else self.away
        describe = lambda: asked.describe_backup_vault(BackupVaultName=name)["VaultState"]  # noqa: E731
        wait(f"vault {name} to be available", lambda: describe() == "AVAILABLE")

    def settings_of_vaults(self):
        """Lock, policy, notifications."""
        vault = {"BackupVaultName": "proof-main"}
        lock = {**vault, "MinRetentionDays": 1, "MaxRetentionDays": 365}
        yield "PutBackupVaultLockConfiguration", lock, None
        yield "DeleteBackupVaultLockConfiguration", vault, None
        yield "PutBackupVaultAccessPolicy", {**vault, "Policy": POLICY}, None
        yield "GetBackupVaultAccessPolicy", vault, None
        yield "DeleteBackupVaultAccessPolicy", vault, None
        events = {**vault, "SNSTopicArn": TOPIC, "BackupVaultEvents": ["BACKUP_JOB_COMPLETED", "COPY_JOB_FAILED"]}
        yield "PutBackupVaultNotifications", events, None
        yield "GetBackupVaultNotifications", vault, None
        yield "DeleteBackupVaultNotifications", vault, None

    def plans(self):
        """Plans and selections."""

        def made(answer):
            self.plan_id, self.version = answer["BackupPlanId"], answer["VersionId"]

        def selected(answer):
            self.selection_id = answer["SelectionId"]

        document = plan_document("proof-plan")
        yield "CreateBackupPlan", {"BackupPlan": document, "BackupPlanTags": {"team": "a"}}, made
        plan = {"BackupPlanId": self.plan_id}
        document["Rules"][0]["CompletionWindowMinutes"] = 240
        yield "UpdateBackupPlan", {**plan, "BackupPlan": document}, None
        yield "GetBackupPlan", {**plan, "VersionId": self.version, "MaxScheduledRunsPreview": 3}, None
        yield "ListBackupPlans", {"IncludeDeleted": True, "MaxResults": 10}, None
        yield "ListBackupPlanVersions", {**plan, "MaxResults": 10}, None
        yield "ExportBackupPlanTemplate", plan, None
        template = '{"BackupPlanName": "t", "Rules": [{"RuleName": "r", "TargetBackupVaultName": "proof-main"}]}'
        yield "GetBackupPlanFromJSON", {"BackupPlanTemplateJson": template}, None
        condition = [{"ConditionKey": "aws:ResourceTag/stage", "ConditionValue": "prod"}]
        selection = {
            "SelectionName": "proof-selection",
            "IamRoleArn": ROLE,
            "Resources": [self.resource],
            "NotResources": [self.resource + "-not"],
            "ListOfTags": [{"ConditionType": "STRINGEQUALS", "ConditionKey": "backup", "ConditionValue": "daily"}],
            "Conditions": {
                "StringEquals": condition,
                "StringNotEquals": condition,
                "StringLike": condition,
                "StringNotLike": condition,
            },
        }
        yield "CreateBackupSelection", {**plan, "BackupSelection": selection}, selected
        yield "GetBackupSelection", {**plan, "SelectionId": self.selection_id}, None
        yield "ListBackupSelections", {**plan, "MaxResults": 10}, None

    def start(self):
        """Parameters of a backup."""
        return {
            "BackupVaultName": "proof-main",
            "ResourceArn": self.resource,
            "IamRoleArn": ROLE,
            "StartWindowMinutes": 60,
            "CompleteWindowMinutes": 120,
            "Lifecycle": {"DeleteAfterDays": 35},
            "RecoveryPointTags": {"made-by": "hand"},
        }

    def backed_up(self, answer):
        """Waits for a backup that was started."""
        self.backup, self.point = answer["BackupJobId"], answer["RecoveryPointArn"]
        completed(lambda: self.caller.describe_backup_job(BackupJobId=self.backup))
        # The lists are made of what was told, which may take a moment.
        listed = lambda: self.caller.list_recovery_points_by_backup_vault(BackupVaultName="proof-main")  # noqa: E731
        wait("the recovery point to be listed", lambda: listed()["RecoveryPoints"])

    def jobs(self):
        """Backup, copy and restore jobs."""

        def copied(answer):
            self.copy = answer["CopyJobId"]
            completed(lambda: self.caller.describe_copy_job(CopyJobId=self.copy)["CopyJob"])
            listed = lambda: self.away.list_recovery_points_by_backup_vault(BackupVaultName="proof-copies")  # noqa: E731
            wait("the copy to be listed", lambda: listed()["RecoveryPoints"])

        def restored(answer):
            self.restore = answer["RestoreJobId"]
            completed(lambda: self.caller.describe_restore_job(RestoreJobId=self.restore), "Status")

        dates = {"ByCreatedBefore": NOW + datetime.timedelta(days=1), "ByCreatedAfter": NOW - datetime.timedelta(days=1)}
        ended = {"ByCompleteBefore": dates["ByCreatedBefore"], "ByCompleteAfter": dates["ByCreatedAfter"]}
        filters = {**dates, **ended, "ByResourceType": "Files", "ByAccountId": ACCOUNT, "MaxResults": 10}
        yield "StartBackupJob", self.start(), self.backed_up
        yield "DescribeBackupJob", {"BackupJobId": self.backup}, None
        yield "ListBackupJobs", {
            **filters,
            "ByResourceArn": self.resource,
            "ByState": "COMPLETED",
            "ByBackupVaultName": "proof-main",
            "ByMessageCategory": "SUCCESS",
        }, None
        yield "StartCopyJob", {
            "RecoveryPointArn": self.point,
            "SourceBackupVaultName": "proof-main",
            "DestinationBackupVaultArn": self.vault_arn("proof-copies", AWAY),
            "IamRoleArn": ROLE,
            "Lifecycle": {"DeleteAfterDays": 90},
        }, copied
        yield "DescribeCopyJob", {"CopyJobId": self.copy}, None
        yield "ListCopyJobs", {
            **filters,
            "ByResourceArn": self.resource,
            "ByState": "COMPLETED",
            "ByDestinationVaultArn": self.vault_arn("proof-copies", AWAY),
            "BySourceRecoveryPointArn": self.point,
            "ByMessageCategory": "SUCCESS",
        }, None
        target = f"file://{SETTING['dir']}/restored-{time.time_ns()}"
        yield "StartRestoreJob", {
            "RecoveryPointArn": self.point,
            "Metadata": {"TargetLocation": target, "OverwritePolicy": "refuse", "CreationToken": "kept"},
            "IamRoleArn": ROLE,
            "ResourceType": "Files",
        }, restored
        yield "DescribeRestoreJob", {"RestoreJobId": self.restore}, None
        yield "GetRestoreJobMetadata", {"RestoreJobId": self.restore}, None
        yield "ListRestoreJobs", {**filters, "ByStatus": "COMPLETED"}, None
        by_point = {
            "ByRecoveryPointCreationDateAfter": dates["ByCreatedAfter"],
            "ByRecoveryPointCreationDateBefore": dates["ByCreatedBefore"],
        }
        yield "ListRestoreJobsByProtectedResource", {
            "ResourceArn": self.resource,
            "ByStatus": "COMPLETED",
            "MaxResults": 10,
            **by_point,
        }, None
        yield "StopBackupJob", {"BackupJobId": self.backup}, self.until_stopped
        summary = {"AccountId": ACCOUNT, "State": "COMPLETED", "ResourceType": "Files", "MaxResults": 10}
        for kind in ("Backup", "Copy", "Restore"):
            wanted = {**summary, "AggregationPeriod": "ONE_DAY"}
            if kind != "Restore":
                wanted["MessageCategory"] = "SUCCESS"
            yield f"List{kind}JobSummaries", wanted, None

    def running_backup(self):
        """A backup that has just begun."""
        self.stopped = self.caller.start_backup_job(**self.start())["BackupJobId"]
        return {"BackupJobId": self.stopped}

    def until_stopped(self, _answer):
        """Waits until the backup that was stopped has ended; nearly done, it may complete all the same."""
        state = lambda: self.caller.describe_backup_job(BackupJobId=self.stopped)["State"]  # noqa: E731
        wait("a stopped job to end", lambda: state() in ("ABORTED", "COMPLETED"))

    def restore_test(self):
        """The restore of a restore test, which waits for the verdict of its owner."""
        self.raw.native("POST", "restore-testing-plans/proof_tests/run")
        arn = self.caller.get_restore_testing_plan(RestoreTestingPlanName="proof_tests")["RestoreTestingPlan"]
        of_plan = {"ByRestoreTestingPlanArn": arn["RestoreTestingPlanArn"]}

        def restored():
            jobs = self.caller.list_restore_jobs(**of_plan)["RestoreJobs"]
            return next((job["RestoreJobId"] for job in jobs if job["Status"] == "COMPLETED"), None)

        job = wait("the restore of a restore test", restored)
        valid = {"ValidationStatus": "SUCCESSFUL", "ValidationStatusMessage": "rows counted"}
        return {"RestoreJobId": job, **valid}

    def points(self):
        """Recovery points and what they protect."""
        point = {"BackupVaultName": "proof-main", "RecoveryPointArn": self.point}
        yield "DescribeRecoveryPoint", {**point, "BackupVaultAccountId": ACCOUNT}, None
        yield "GetRecoveryPointRestoreMetadata", {**point, "BackupVaultAccountId": ACCOUNT}, None
        yield "GetRestoreTestingInferredMetadata", {**point, "BackupVaultAccountId": ACCOUNT}, None
        yield "ListRecoveryPointsByBackupVault", {
            "BackupVaultName": "proof-main",
            "BackupVaultAccountId": ACCOUNT,
            "ByResourceArn": self.resource,
            "ByResourceType": "Files",
            "ByCreatedBefore": NOW + datetime.timedelta(days=1),
            "ByCreatedAfter": NOW - datetime.timedelta(days=1),
            "MaxResults": 10,
        }, None
        yield "ListRecoveryPointsByResource", {"ResourceArn": self.resource, "MaxResults": 10}, None
        yield "UpdateRecoveryPointLifecycle", {**point, "Lifecycle": {"DeleteAfterDays": 50}}, None
        yield "ListProtectedResources", {"MaxResults": 10}, None
        yield "DescribeProtectedResource", {"ResourceArn": self.resource}, None
        yield "ListProtectedResourcesByBackupVault", {
            "BackupVaultName": "proof-main",
            "BackupVaultAccountId": ACCOUNT,
            "MaxResults": 10,
        }, None
        yield "GetSupportedResourceTypes", {}, None
        yield "TagResource", {"ResourceArn": self.vault_arn(), "Tags": {"stage": "prod"}}, None
        yield "ListTags", {"ResourceArn": self.vault_arn(), "MaxResults": 10}, None
        yield "UntagResource", {"ResourceArn": self.vault_arn(), "TagKeyList": ["stage"]}, None
        yield "DisassociateRecoveryPoint", point, None

    def testing(self):
        """Restore testing plans, selections, results."""
        plan = {
            "RestoreTestingPlanName": "proof_tests",
            "ScheduleExpression": "cron(0 5 1 1 ? *)",
            "ScheduleExpressionTimezone": "Asia/Tokyo",
            "StartWindowHours": 2,
            "RecoveryPointSelection": {
                "Algorithm": "LATEST_WITHIN_WINDOW",
                "RecoveryPointTypes": ["SNAPSHOT"],
                "IncludeVaults": ["*"],
                "ExcludeVaults": [],
                "SelectionWindowDays": 7,
            },
        }
        name = {"RestoreTestingPlanName": "proof_tests"}
        yield "CreateRestoreTestingPlan", {"RestoreTestingPlan": plan, "Tags": {"team": "a"}}, None
        change = {"ScheduleExpression": "cron(0 6 1 1 ? *)", "StartWindowHours": 3}
        yield "UpdateRestoreTestingPlan", {**name, "RestoreTestingPlan": change}, None
        yield "GetRestoreTestingPlan", name, None
        yield "ListRestoreTestingPlans", {"MaxResults": 10}, None
        tag = [{"Key": "aws:ResourceTag/stage", "Value": "test"}]
        selection = {
            "RestoreTestingSelectionName": "proof_selection",
            "ProtectedResourceType": "Files",
            "IamRoleArn": ROLE,
            "ProtectedResourceArns": ["*"],
            "ProtectedResourceConditions": {"StringEquals": [], "StringNotEquals": tag},
            "RestoreMetadataOverrides": {"owner": "proof"},
            "ValidationWindowHours": 1,
        }
        both = {**name, "RestoreTestingSelectionName": "proof_selection"}
        yield "CreateRestoreTestingSelection", {**name, "RestoreTestingSelection": selection}, None
        change = {"ValidationWindowHours": 2, "IamRoleArn": ROLE}
        yield "UpdateRestoreTestingSelection", {**both, "RestoreTestingSelection": change}, None
        yield "GetRestoreTestingSelection", both, None
        yield "ListRestoreTestingSelections", {**name, "MaxResults": 10}, None
        yield "PutRestoreValidationResult", {
            "RestoreJobId": self.restore,
            "ValidationStatus": "SUCCESSFUL",
            "ValidationStatusMessage": "rows counted",
        }, None
        yield "DeleteRestoreTestingSelection", both, None
        yield "DeleteRestoreTestingPlan", name, None

    def gone(self, _answer):
        """Waits until the recovery point that was deleted is listed no more."""

        def listed():
            found = self.caller.list_recovery_points_by_backup_vault(BackupVaultName="proof-main")["RecoveryPoints"]
            return [point["RecoveryPointArn"] for point in found]

        wait("the recovery point to be gone", lambda: self.point not in listed())

    def others(self):
        """Settings, legal holds, reports; at last a recovery point is deleted."""

        def held(answer):
            self.hold = answer["LegalHoldId"]

        def reported(answer):
            self.report = answer["ReportJobId"]
            describe = lambda: self.caller.describe_report_job(ReportJobId=self.report)["ReportJob"]["Status"]  # noqa: E731
            wait("the report", lambda: describe() == "COMPLETED")

        yield "UpdateRegionSettings", {"ResourceTypeOptInPreference": {"Files": True}}, None
        yield "DescribeRegionSettings", {}, None
        yield "UpdateGlobalSettings", {"GlobalSettings": {"isCrossAccountBackupEnabled": "false"}}, None
        yield "DescribeGlobalSettings", {}, None
        until = NOW + datetime.timedelta(days=1)
        yield "CreateLegalHold", {
            "Title": "proof",
            "Description": "a hold",
            "RecoveryPointSelection": {
                "VaultNames": ["proof-main"],
                "ResourceIdentifiers": [self.resource],
                "DateRange": {"FromDate": NOW - datetime.timedelta(days=1), "ToDate": until},
            },
            "Tags": {"case": "1"},
        }, held
        hold = {"LegalHoldId": self.hold}
        yield "GetLegalHold", hold, None
        yield "ListLegalHolds", {"MaxResults": 10}, None
        yield "ListRecoveryPointsByLegalHold", {**hold, "MaxResults": 10}, None
        yield "CancelLegalHold", {**hold, "CancelDescription": "over", "RetainRecordInDays": 1}, None
        report = {"ReportPlanName": "proof_report"}
        channel = {"S3BucketName": "reports", "S3KeyPrefix": "daily", "Formats": ["CSV", "JSON"]}
        wanted = {"ReportDeliveryChannel": channel, "ReportSetting": {"ReportTemplate": "BACKUP_JOB_REPORT"}}
        described = {**report, "ReportPlanDescription": "all jobs"}
        yield "CreateReportPlan", {**described, **wanted, "ReportPlanTags": {"team": "a"}}, None
        yield "DescribeReportPlan", report, None
        yield "ListReportPlans", {"MaxResults": 10}, None
        yield "UpdateReportPlan", {**described, **wanted}, None
        yield "StartReportJob", report, reported
        yield "DescribeReportJob", {"ReportJobId": self.report}, None
        yield "ListReportJobs", {"ByReportPlanName": "proof_report", "ByStatus": "COMPLETED", "MaxResults": 10}, None
        yield "DeleteReportPlan", report, None
        yield "DeleteRecoveryPoint", {"BackupVaultName": "proof-main", "RecoveryPointArn": self.point}, self.gone
