"""Who may do what: every role with every operation. What a role may not do is AccessDeniedException, whatever it asks for,
and nothing changes; what it may do is answered, if only with the news that there is no such thing.
"""

import json

from api import ACCOUNT, HOME, MODEL, Findings, Raw, client, encoded
from members import LEFT_OUT
from world import NEVER, World

findings = Findings()
ADMINISTRATOR, OPERATOR, RESTORE, AUDITOR = "default", "operator", "restore-only", "auditor"
# Those that change least come first, so that what is there is seen by none of them.
ROLES = (AUDITOR, RESTORE, OPERATOR, ADMINISTRATOR)
ALL = {ADMINISTRATOR, OPERATOR, RESTORE, AUDITOR}

# The expectation, apart from the gateway's own: a class of operations and who may call it.
CLASSES = {
    "reading": ALL,
    "reading what guards a vault, and plans as templates": {ADMINISTRATOR, OPERATOR, AUDITOR},
    "daily work": {ADMINISTRATOR, OPERATOR},
    "restoring": {ADMINISTRATOR, OPERATOR, RESTORE},
    "reporting": {ADMINISTRATOR, OPERATOR, AUDITOR},
    "asking on the bus": {ADMINISTRATOR, OPERATOR, AUDITOR},
    "weakening protection": {ADMINISTRATOR},
}
OF_CLASS = {
    "reading what guards a vault, and plans as templates": {
        "GetBackupVaultAccessPolicy", "GetBackupVaultNotifications", "ExportBackupPlanTemplate",
    },
    "daily work": {
        "CreateBackupVault", "CreateBackupPlan", "UpdateBackupPlan", "DeleteBackupPlan", "CreateBackupSelection",
        "DeleteBackupSelection", "StartBackupJob", "StopBackupJob", "StartCopyJob", "CreateRestoreTestingPlan",
        "UpdateRestoreTestingPlan", "DeleteRestoreTestingPlan", "CreateRestoreTestingSelection",
        "UpdateRestoreTestingSelection", "DeleteRestoreTestingSelection", "PutRestoreValidationResult",
        "CreateReportPlan", "UpdateReportPlan", "DeleteReportPlan", "PutBackupVaultNotifications",
        "DeleteBackupVaultNotifications", "TagResource", "UntagResource",
        "PUT resources", "POST restore-testing-plans/{}/run", "POST copy-jobs/{}/stop", "POST vaults/{}/check",
    },
    "restoring": {"StartRestoreJob", "POST restore-jobs/{}/stop"},
    "reporting": {"StartReportJob"},
    "asking on the bus": {"POST queries"},
    "weakening protection": {
        "CreateLogicallyAirGappedBackupVault", "DeleteBackupVault", "PutBackupVaultLockConfiguration",
        "DeleteBackupVaultLockConfiguration", "PutBackupVaultAccessPolicy", "DeleteBackupVaultAccessPolicy",
        "DeleteRecoveryPoint", "UpdateRecoveryPointLifecycle", "DisassociateRecoveryPoint", "UpdateRegionSettings",
        "UpdateGlobalSettings", "CreateLegalHold", "CancelLegalHold", "DELETE resources/{}", "POST requests",
    },
}  # fmt: skip
NATIVE = [
    "GET resources", "PUT resources", "GET resources/{}", "DELETE resources/{}", "GET unprotected-resources",
    "GET coverage", "GET forecast", "POST restore-testing-plans/{}/run", "GET test-runs", "GET test-runs/{}",
    "POST restore-jobs/{}/stop", "POST copy-jobs/{}/stop", "POST vaults/{}/check", "POST queries", "POST requests",
]  # fmt: skip


def class_of(operation):
    """The class that an operation is in; the rest only reads."""
    found = [name for name, members in OF_CLASS.items() if operation in members]
    reads = operation.startswith(("Get", "List", "Describe", "GET "))
    return found[0] if found else ("reading" if reads else None)


def check(role, operation, answer):
    """Holds an answer against the expectation."""
    expected = class_of(operation)
    if not findings.check(expected is not None, f"{operation} is in no class"):
        return
    if role in CLASSES[expected]:
        good = answer.status not in (401, 403, 429) and answer.status < 500
        findings.check(
            good and answer.code != "UnknownOperationException", f"{role} may do {operation} ({expected}): {answer}"
        )
        return
    denied = answer.code == "AccessDeniedException" and answer.status == 403
    findings.check(denied, f"{role} may not do {operation} ({expected}): {answer}")
    findings.check(
        f"role/{role} " in answer.message or not denied, f"{operation}: the refusal does not name the role: {answer}"
    )


def asked(role, world):
    """Calls everything as a role."""
    raw = Raw(role)
    called = set()
    for operation, params, _ in world.calls():
        method, path, query, flag, body = raw.wire(operation, params)
        texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in query.items()}
        query = "&".join([flag] * bool(flag) + [f"{encoded(k)}={encoded(v)}" for k, v in sorted(texts.items())])
        check(role, operation, raw.send(method, path, query, body, operation=operation))
        called.add(operation)
    for operation in NATIVE:
        method, path = operation.split()
        body = b""
        if operation == "PUT resources":
            body = json.dumps({
                "arn": world.resource, "resource_type": "Files", "region": HOME, "location": "file:///srv",
            }).encode()  # fmt: skip
        name = encoded(world.resource) if "resources" in path else NEVER
        check(role, operation, raw.send(method, "/holdfast/v1/" + path.replace("{}", name), body=body))
    return called


def main():
    """All roles."""
    caller = client()
    world = World(f"arn:aws:files:{HOME}:{ACCOUNT}:tree/roles", caller, caller, None)
    served = set(MODEL.operation_names) - LEFT_OUT
    for role in ROLES:
        called = asked(role, world)
        findings.check(called == served, f"not called: {served ^ called}")
        if role in (AUDITOR, RESTORE):
            left = [caller.list_backup_vaults()["BackupVaultList"], caller.list_backup_plans()["BackupPlansList"]]
            left += [caller.list_legal_holds()["LegalHolds"], Raw().native("GET", "resources")["resources"]]
            findings.check(not any(left), f"a {role} made something: {left}")


main()
findings.end("roles")
