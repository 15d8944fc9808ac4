"""The aws command line, unchanged but for its endpoint, from empty vaults in two regions to restored bytes."""

import filecmp
import json
import os
import subprocess
import sys

from api import ACCOUNT, AWAY, HOME, ROLE, SETTING, URL, Findings, Raw, client, completed, make_resource, wait

findings = Findings()
raw = Raw()
DIR = SETTING["dir"]
AWS = os.path.join(os.path.dirname(sys.executable), "aws")


def aws(*arguments, region=HOME, refused=None):
    """Runs `aws backup …`; gives its JSON."""
    command = [AWS, "--endpoint-url", URL, "--region", region, "--output", "json", "backup", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    print("aws backup", " ".join(arguments)[:150], "->", done.returncode)
    if refused:
        findings.check(done.returncode > 0 and refused in done.stderr, f"{arguments}: {done.returncode} {done.stderr}")
        return None
    if done.returncode:
        raise AssertionError(f"{arguments}: {done.returncode}: {done.stderr}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def document(name, value):
    """A file that the command line reads."""
    path = os.path.join(DIR, name)
    with open(path, "w") as file:
        json.dump(value, file)
    return f"file://{path}"


def same(source, restored):
    """The bytes of two trees are the same."""
    names = sorted(os.path.relpath(os.path.join(at, name), source) for at, _, all in os.walk(source) for name in all)
    found = sorted(os.path.relpath(os.path.join(at, name), restored) for at, _, all in os.walk(restored) for name in all)
    findings.check(names and names == found, f"{restored}: {found} instead of {names}")
    _, wrong, unread = filecmp.cmpfiles(source, restored, names, shallow=False)
    findings.check(not wrong and not unread, f"{restored}: {wrong} {unread}")


def plan():
    """A plan with two rules that soon run: one with everything, one that wants continuous backup."""
    copies = f"arn:aws:backup:{AWAY}:{ACCOUNT}:backup-vault:cli-copies"
    rule = {
        "RuleName": "every-minute",
        "TargetBackupVaultName": "cli-main",
        "ScheduleExpression": "cron(* * * * ? *)",
        "ScheduleExpressionTimezone": "Asia/Tokyo",
        "StartWindowMinutes": 60,
        "CompletionWindowMinutes": 180,
        "Lifecycle": {"DeleteAfterDays": 35},
        "RecoveryPointTags": {"made-by": "plan"},
        "CopyActions": [{"DestinationBackupVaultArn": copies, "Lifecycle": {"DeleteAfterDays": 90}}],
        "EnableContinuousBackup": True,
    }
    yearly = {"RuleName": "yearly", "TargetBackupVaultName": "cli-main", "ScheduleExpression": "cron(0 5 1 1 ? *)"}
    return {"BackupPlanName": "cli-plan", "Rules": [rule, yearly]}


def by_plan(resources):
    """Waits for what the plan does by itself: a backup of each resource, and its copy."""
    here, away = client(), client(region=AWAY)

    def backups():
        jobs = here.list_backup_jobs(ByBackupVaultName="cli-main", ByState="COMPLETED")["BackupJobs"]
        found = {job["ResourceArn"]: job for job in jobs if "CreatedBy" in job}
        return found if set(resources) <= set(found) else None

    jobs = wait("the plan to back up", backups, 240)
    findings.check(set(jobs) == set(resources), f"the plan backs up what is selected: {set(jobs)}")
    for job in jobs.values():
        findings.check(job["CreatedBy"]["BackupPlanId"] == SETTING["plan"], f"made by the plan: {job['CreatedBy']}")
        findings.check(job["CreatedBy"]["BackupRuleId"], f"made by a rule: {job['CreatedBy']}")
        said = job.get("StatusMessage", "")
        findings.check("Enabling continuous backup failed" in said, f"continuous backup: {said!r}")
        point = here.describe_recovery_point(BackupVaultName="cli-main", RecoveryPointArn=job["RecoveryPointArn"])
        life = point["CalculatedLifecycle"]["DeleteAt"] - point["CreationDate"]
        findings.check(life.days == 35, f"kept for {life}")
        tags = here.list_tags(ResourceArn=job["RecoveryPointArn"])["Tags"]
        findings.check(tags.get("made-by") == "plan", f"tags of the recovery point: {tags}")

    def copied():
        points = away.list_recovery_points_by_backup_vault(BackupVaultName="cli-copies")["RecoveryPoints"]
        found = {point["ResourceArn"]: point for point in points if point.get("Lifecycle", {}).get("DeleteAfterDays") == 90}
        return found if set(resources) <= set(found) else None

    wait("the copies of the plan", copied)


def main():
    """From nothing to restored bytes, and back to nothing."""
    tagged, _ = make_resource(raw, "cli-tagged", ACCOUNT, tags={"backup": "daily"})
    named, _ = make_resource(raw, "cli-named", ACCOUNT)
    single, source = make_resource(raw, "cli-single", ACCOUNT)
    aws("create-backup-vault", "--backup-vault-name", "cli-main", "--backup-vault-tags", "team=a,stage=prod")
    aws("create-backup-vault", "--backup-vault-name", "cli-copies", region=AWAY)
    made = aws("create-backup-plan", "--backup-plan", document("plan.json", plan()), "--backup-plan-tags", "team=a")
    SETTING["plan"] = made["BackupPlanId"]
    of_plan = ("--backup-plan-id", made["BackupPlanId"])
    tag = {"ConditionType": "STRINGEQUALS", "ConditionKey": "backup", "ConditionValue": "daily"}
    selection = {"SelectionName": "by-tag", "IamRoleArn": ROLE, "ListOfTags": [tag]}
    by_tag = aws("create-backup-selection", *of_plan, "--backup-selection", document("tag.json", selection))
    selection = {"SelectionName": "by-arn", "IamRoleArn": ROLE, "Resources": [named]}
    by_arn = aws("create-backup-selection", *of_plan, "--backup-selection", document("arn.json", selection))
    shown = aws("get-backup-plan", *of_plan, "--max-scheduled-runs-preview", "3")
    rules = {rule["RuleName"]: rule for rule in shown["BackupPlan"]["Rules"]}
    findings.check(rules["every-minute"]["EnableContinuousBackup"] is True, f"the plan: {shown}")
    findings.check(rules["yearly"]["StartWindowMinutes"] == 480, f"defaults are filled in: {rules['yearly']}")
    findings.check(len(shown["ScheduledRunsPreview"]) == 3, f"the next runs: {shown.get('ScheduledRunsPreview')}")

    here, away = client(), client(region=AWAY)
    start = ("--resource-arn", single, "--iam-role-arn", ROLE, "--lifecycle", "DeleteAfterDays=30")
    job = aws("start-backup-job", "--backup-vault-name", "cli-main", *start, "--recovery-point-tags", "by=hand")
    completed(lambda: here.describe_backup_job(BackupJobId=job["BackupJobId"]))
    shown = aws("describe-backup-job", "--backup-job-id", job["BackupJobId"])
    findings.check(shown["State"] == "COMPLETED" and shown["PercentDone"] == "100.0", f"the job: {shown}")
    of_vault = ("--backup-vault-name", "cli-main")
    listed = lambda: aws("list-recovery-points-by-backup-vault", *of_vault, "--by-resource-arn", single)  # noqa: E731
    points = wait("the recovery point to be listed", lambda: listed()["RecoveryPoints"])
    findings.check([p["RecoveryPointArn"] for p in points] == [job["RecoveryPointArn"]], f"recovery points: {points}")
    of_point = (*of_vault, "--recovery-point-arn", job["RecoveryPointArn"])
    shown = aws("describe-recovery-point", *of_point)
    findings.check(shown["Status"] == "COMPLETED" and shown["ResourceArn"] == single, f"the recovery point: {shown}")

    copies = f"arn:aws:backup:{AWAY}:{ACCOUNT}:backup-vault:cli-copies"
    to = ("--source-backup-vault-name", "cli-main", "--destination-backup-vault-arn", copies, "--iam-role-arn", ROLE)
    copy = aws("start-copy-job", "--recovery-point-arn", job["RecoveryPointArn"], *to)["CopyJobId"]
    completed(lambda: here.describe_copy_job(CopyJobId=copy)["CopyJob"])
    shown = aws("describe-copy-job", "--copy-job-id", copy)["CopyJob"]
    copied = shown["DestinationRecoveryPointArn"]
    of_copies = {"BackupVaultName": "cli-copies"}
    wait("the copy to be listed", lambda: copied in [
        p["RecoveryPointArn"] for p in away.list_recovery_points_by_backup_vault(**of_copies)["RecoveryPoints"]
    ])  # fmt: skip

    # What the API says of a restore can be sent back as it is.
    metadata = aws("get-recovery-point-restore-metadata", *of_point)["RestoreMetadata"]
    metadata_file = document("metadata.json", metadata)
    started = ("start-restore-job", "--recovery-point-arn", job["RecoveryPointArn"], "--metadata", metadata_file)
    restore = aws(*started, "--iam-role-arn", ROLE)["RestoreJobId"]
    completed(lambda: here.describe_restore_job(RestoreJobId=restore), "Status")
    same(source, metadata["TargetLocation"].removeprefix("file://"))
    # And from the copy, in its region, to a place of one's own.
    target = os.path.join(DIR, "from-the-copy")
    started = ("start-restore-job", "--recovery-point-arn", copied, "--metadata", f"TargetLocation=file://{target}")
    restore = aws(*started, region=AWAY)["RestoreJobId"]
    completed(lambda: away.describe_restore_job(RestoreJobId=restore), "Status")
    same(source, target)
    shown = aws("describe-restore-job", "--restore-job-id", restore, region=AWAY)
    findings.check(shown["CreatedResourceArn"] and shown["RecoveryPointArn"] == copied, f"the restore: {shown}")
    jobs = aws("list-restore-jobs", "--by-status", "COMPLETED", region=AWAY)["RestoreJobs"]
    findings.check([j["RestoreJobId"] for j in jobs] == [restore], f"restores of the region: {jobs}")

    by_plan([tagged, named])
    aws("delete-backup-plan", *of_plan, refused="Related backup plan selections must be deleted prior to backup")
    for one in (by_tag, by_arn):
        aws("delete-backup-selection", *of_plan, "--selection-id", one["SelectionId"])
    aws("delete-backup-plan", *of_plan)
    aws("get-backup-plan", *of_plan, refused="ResourceNotFoundException")
    aws("delete-backup-vault", *of_vault, refused="InvalidRequestException")
    aws("delete-recovery-point", *of_point)
    aws("describe-backup-vault", "--backup-vault-name", "cli-nowhere", refused="ResourceNotFoundException")


main()
findings.end("command line")
