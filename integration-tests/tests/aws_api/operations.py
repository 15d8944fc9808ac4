"""Every operation that is served, with boto3's own parser: a valid call, each required member missing, wrong types, values
out of their rules, members that do not exist. What is refused changes nothing.
"""

import datetime
import json
import urllib.parse

from api import ACCOUNT, AWAY, HOME, MODEL, Findings, Raw, client, encoded, make_resource
from members import LEFT_OUT, MISSING, of_input, shown
from world import REFUSED, World

findings = Findings()
raw = Raw()
caller, away = client(), client(region=AWAY)
# An empty label of these leaves the path of another operation of the same method: a list, or a create.
LEADS_ELSEWHERE = {
    "DescribeBackupVault", "DescribeBackupJob", "DescribeCopyJob", "DescribeRestoreJob", "DescribeProtectedResource",
    "GetBackupPlan", "GetBackupSelection", "GetRestoreTestingPlan", "GetRestoreTestingSelection", "GetLegalHold",
    "DescribeReportPlan", "DescribeReportJob", "DescribeRecoveryPoint", "ListTags", "UpdateRestoreTestingPlan",
    "UpdateRestoreTestingSelection",
}  # fmt: skip


def fingerprint():
    """Everything that can be listed, but for what moves by itself."""
    found = {}
    for region, asked in ((HOME, caller), (AWAY, away)):
        for vault in asked.list_backup_vaults()["BackupVaultList"]:
            name = vault["BackupVaultName"]
            found[region, name] = asked.describe_backup_vault(BackupVaultName=name)
            points = asked.list_recovery_points_by_backup_vault(BackupVaultName=name)["RecoveryPoints"]
            found[region, name, "points"] = points
            found[region, name, "tags"] = asked.list_tags(ResourceArn=vault["BackupVaultArn"])["Tags"]
        for plan in asked.list_backup_plans()["BackupPlansList"]:
            found[region, plan["BackupPlanId"]] = (plan["VersionId"], plan.get("DeletionDate"))
            selections = asked.list_backup_selections(BackupPlanId=plan["BackupPlanId"])
            found[region, plan["BackupPlanId"], "selections"] = selections["BackupSelectionsList"]
        for job in asked.list_backup_jobs()["BackupJobs"]:
            found[region, job["BackupJobId"]] = job["State"]
        found[region, "copies"] = [job["CopyJobId"] for job in asked.list_copy_jobs()["CopyJobs"]]
        found[region, "restores"] = [job["RestoreJobId"] for job in asked.list_restore_jobs()["RestoreJobs"]]
        for plan in asked.list_restore_testing_plans()["RestoreTestingPlans"]:
            name = plan["RestoreTestingPlanName"]
            found[region, "test", name] = asked.get_restore_testing_plan(RestoreTestingPlanName=name)
            selections = asked.list_restore_testing_selections(RestoreTestingPlanName=name)
            found[region, "test", name, "selections"] = selections["RestoreTestingSelections"]
        found[region, "holds"] = asked.list_legal_holds()["LegalHolds"]
        found[region, "settings"] = asked.describe_region_settings()
        found[region, "global"] = asked.describe_global_settings()
        found[region, "reports"] = asked.list_report_plans()["ReportPlans"]
    text = json.dumps({str(key): value for key, value in found.items()}, default=str, sort_keys=True)
    return text if '"ResponseMetadata"' not in text else strip(json.loads(text))


def strip(value):
    """Without what names an answer."""
    if isinstance(value, dict):
        return {key: strip(inner) for key, inner in value.items() if key != "ResponseMetadata"}
    return [strip(inner) for inner in value] if isinstance(value, list) else value


def query_text(query, flag):
    """The query as boto3 writes it."""
    texts = [flag] if flag else []
    return "&".join(texts + [f"{encoded(key)}={encoded(str(value))}" for key, value in sorted(query.items())])


def refused(operation, params):
    """Sends every wrong input of an operation."""
    model = MODEL.operation_model(operation)
    method, path, query, flag, body = raw.wire(operation, params)
    query = {key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()}
    count = 0
    for wrong in of_input(model, query, body):
        if wrong.label:
            label, text = wrong.label
            name = next(n for n, m in model.input_shape.members.items() if m.serialization.get("name", n) == label)
            _, path_now, _, _, _ = raw.wire(operation, {**params, name: "SENTINEL"})
            path_now = path_now.replace("SENTINEL", encoded(text))
            if not text and operation in LEADS_ELSEWHERE:
                continue
        else:
            path_now = path
        sent_query = query if wrong.query is None else wrong.query
        sent_body = body if wrong.body is None else json.dumps(wrong.body).encode()
        answer = raw.send(method, path_now, query_text(sent_query, flag), sent_body, operation=operation)
        count += 1
        if not findings.check(answer.code, f"{operation}: {wrong.what}: accepted: {answer}"):
            continue
        findings.check(
            answer.status == 400 and answer.code == wrong.code and shown(wrong.path) in answer.message,
            f"{operation}: {wrong.what}: {answer}; expected {wrong.code} that names {shown(wrong.path)}",
        )
        known = type(caller.exceptions.from_code(answer.code))
        findings.check(known is not None, f"{operation}: boto3 knows no {answer.code}")
    return count


def check_output(path, shape, value):
    """Every member of an answer is one of the model, in the model's type."""
    kinds = {
        "structure": dict, "map": dict, "list": list, "string": str, "boolean": bool, "integer": int, "long": int,
        "timestamp": (int, float),
    }  # fmt: skip
    good = isinstance(value, kinds[shape.type_name])
    if shape.type_name in ("integer", "long", "timestamp"):
        good = good and not isinstance(value, bool)
    if not findings.check(good, f"{path} is {value!r:.80} where the model has a {shape.type_name}"):
        return
    if shape.type_name == "structure":
        for name, inner in value.items():
            wires = {member.serialization.get("name", key): member for key, member in shape.members.items()}
            if findings.check(name in wires, f"{path}.{name} is no member of the model"):
                check_output(f"{path}.{name}", wires[name], inner)
        for name in shape.required_members:
            findings.check(name in value, f"{path}.{name} is required and not there")
    elif shape.type_name == "list":
        for inner in value:
            check_output(path + "[]", shape.member, inner)
    elif shape.type_name == "map":
        for key, inner in value.items():
            check_output(f"{path}[{key}]", shape.value, inner)
    elif shape.metadata.get("enum"):
        allowed = shape.metadata["enum"]
        findings.check(value in allowed, f"{path} is {value!r}, none of {allowed}")


def call(operation, params):
    """The valid call, by boto3; its answer is held against the model before boto3 drops what it does not know."""
    model = MODEL.operation_model(operation)
    seen = {}

    def note(http_response, **_):
        seen["answer"] = http_response

    caller.meta.events.register(f"after-call.backup.{operation}", note, unique_id="note")
    try:
        answer = caller._make_api_call(operation, dict(params))
    except caller.exceptions.ClientError as error:
        expected = REFUSED.get(operation)
        findings.check(error.response["Error"]["Code"] == expected, f"{operation}: valid, and answered {error}")
        return None
    finally:
        caller.meta.events.unregister(f"after-call.backup.{operation}", unique_id="note")
    findings.check(operation not in REFUSED, f"{operation} is done where REFUSED says that it is not")
    wanted = model.http.get("responseCode", 200)
    findings.check(seen["answer"].status_code == wanted, f"{operation}: {seen['answer'].status_code}, not {wanted}")
    if model.output_shape is not None:
        check_output(operation, model.output_shape, json.loads(seen["answer"].content or b"{}"))
    return answer


def left_out():
    """What is not served says so, with an error that no client tries again."""
    for operation in sorted(LEFT_OUT & set(MODEL.operation_names)):
        model = MODEL.operation_model(operation)
        path = urllib.parse.urlsplit(model.http["requestUri"])
        parts = ["x" if part.startswith("{") else part for part in path.path.split("/")]
        answer = raw.send(model.http["method"], "/".join(parts), path.query, operation=operation)
        findings.check(
            answer.status == 404 and answer.code == "UnknownOperationException", f"{operation}, not served: {answer}"
        )


def main():
    """All of it."""
    left_out()
    away.create_backup_vault(BackupVaultName="proof-copies")
    resource, _ = make_resource(raw, "operations", ACCOUNT, tags={"stage": "prod"})
    world = World(resource, caller, away, raw)
    world.available("proof-copies", AWAY)
    called, wrong = [], 0
    for operation, params, after in world.calls():
        reads = MODEL.operation_model(operation).http["method"] == "GET"
        before = None if reads else fingerprint()
        sent = refused(operation, params)
        wrong += sent
        if before is not None:
            now = fingerprint()
            findings.check(before == now, f"{operation}: what was refused changed something: {before} -> {now}")
        prepare = world.before.get(operation)
        answer = call(operation, prepare() if prepare else params)
        called.append(operation)
        if after and answer is not None:
            after(answer)
    served = set(MODEL.operation_names) - LEFT_OUT
    findings.check(len(served) == 83, f"{len(served)} operations are served, not 83")
    findings.check(set(called) == served, f"not called: {served - set(called)}; called twice: {len(called)}")
    print(f"{len(called)} operations called, {wrong} wrong inputs refused at {datetime.datetime.now():%H:%M:%S}")


main()
findings.end("operations")
