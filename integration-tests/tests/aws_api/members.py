"""Wrong inputs, drawn from botocore's service model: for each member of an operation's input what may not stand there."""

import json
import re

# Operations that are not served: frameworks, search indexes, malware scans, tiering, access points, shared restore access,
# approval teams, AWS's own plan templates.
LEFT_OUT = {
    "GetBackupPlanFromTemplate", "ListBackupPlanTemplates", "CreateRestoreAccessBackupVault",
    "ListRestoreAccessBackupVaults", "RevokeRestoreAccessBackupVault", "AssociateBackupVaultMpaApprovalTeam",
    "DisassociateBackupVaultMpaApprovalTeam", "DisassociateRecoveryPointFromParent", "CreateFramework",
    "DescribeFramework", "UpdateFramework", "DeleteFramework", "ListFrameworks", "GetRecoveryPointIndexDetails",
    "UpdateRecoveryPointIndexSettings", "ListIndexedRecoveryPoints", "StartScanJob", "DescribeScanJob", "ListScanJobs",
    "ListScanJobSummaries", "GetPITRMalwareScanResults", "CreateTieringConfiguration", "GetTieringConfiguration",
    "UpdateTieringConfiguration", "DeleteTieringConfiguration", "ListTieringConfigurations",
    "CreateBackupAccessPoint", "DescribeBackupAccessPoint", "DeleteBackupAccessPoint", "ListBackupAccessPoints",
    "ListBackupAccessPointsByRecoveryPoint", "ListBackupAccessPointsByResource",
}  # fmt: skip

MISSING, INVALID = "MissingParameterValueException", "InvalidParameterValueException"
WRONG_TYPE = {
    "string": [7, {"a": "b"}, ["a"], True],
    "structure": ["text", 7, ["a"]],
    "list": ["text", 7, {"a": "b"}],
    "map": ["text", 7, ["a"]],
    "integer": ["seven", 1.5, True, {}, 2**31],
    "long": ["seven", 1.5, True, {}],
    "boolean": ["yes", 1, {}],
    "timestamp": ["not an instant", {}, True],
}


class Wrong:
    """One wrong input: what is changed, and the error that has to come."""

    def __init__(self, what, code, path, body=None, query=None, label=None):
        self.what, self.code, self.path = what, code, path
        self.body, self.query, self.label = body, query, label


def shown(path):
    """`BackupPlan.Rules[0].RuleName`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) or part.startswith("@") else f".{part}"
    return text.replace("@", "").lstrip(".")


def unfit(shape, in_path=False):
    """A text that the shape's rules forbid, if there is one."""
    if shape.enum:
        return "NO_SUCH_VALUE"
    pattern, least = shape.metadata.get("pattern"), shape.metadata.get("min")
    if pattern:
        for text in ("!% &", "é", "x" * 600, ""):
            if not re.fullmatch(pattern, text) and (text or not in_path):
                return text
    if least and not in_path:
        return "x" * (least - 1)
    most = shape.metadata.get("max")
    return "x" * (most + 1) if most and most < 5000 else None


def out_of_range(shape):
    """Numbers that the model forbids."""
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    return ([least - 1] if least is not None else []) + ([most + 1] if most is not None and most < 2**31 - 1 else [])


def put(document, path, value):
    """The document with a value at a path, whose containers are made where they are missing."""
    document = json.loads(json.dumps(document))
    place = document
    for part, following in zip(path, path[1:] + [None]):
        key = part.lstrip("@") if isinstance(part, str) else part
        if isinstance(place, list):
            place.extend([None] * (key + 1 - len(place)))
        known = place[key] if isinstance(place, list) else place.get(key)
        empty = [] if isinstance(following, int) else {}
        place[key] = value if following is None else (known if known is not None else empty)
        place = place[key]
    return document


def without(document, path):
    """The document without a member."""
    document = json.loads(json.dumps(document))
    place = document
    for part in path[:-1]:
        place = place[part.lstrip("@") if isinstance(part, str) else part]
    place.pop(path[-1])
    return document


def has(document, path):
    """Whether there is something at a path."""
    for part in path:
        part = part.lstrip("@") if isinstance(part, str) else part
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def of_value(shape, path, document, seen):
    """Wrong values at a path of the body, and below it."""
    for value in WRONG_TYPE[shape.type_name]:
        yield Wrong(f"{shown(path)} is {json.dumps(value)}", INVALID, path, body=put(document, path, value))
    if shape.type_name == "string" and (text := unfit(shape)) is not None:
        yield Wrong(f"{shown(path)} is {text!r:.40}", INVALID, path, body=put(document, path, text))
    if shape.type_name in ("integer", "long"):
        for number in out_of_range(shape):
            yield Wrong(f"{shown(path)} is {number}", INVALID, path, body=put(document, path, number))
    if shape.name in seen:
        return
    seen = seen | {shape.name}
    if shape.type_name == "structure":
        unknown = path + ["NoSuchMember"]
        yield Wrong(f"{shown(unknown)} is there", INVALID, unknown, body=put(document, unknown, 1))
        for name, member in shape.members.items():
            yield from of_value(member, path + [name], document, seen)
        for name in shape.required_members:
            if has(document, path + [name]):
                body = without(document, path + [name])
                yield Wrong(f"{shown(path + [name])} is missing", MISSING, path + [name], body=body)
    elif shape.type_name == "list":
        yield from of_value(shape.member, path + [0], document, seen)
    elif shape.type_name == "map":
        yield from of_value(shape.value, path + ["@key"], document, seen)


def of_input(operation, query, body):
    """Every wrong input of an operation, beside a valid one."""
    shape = operation.input_shape
    if shape is None:
        return
    document = json.loads(body or b"{}")
    in_body = False
    for name, member in shape.members.items():
        location = member.serialization.get("location")
        wire = member.serialization.get("name", name)
        required = name in shape.required_members
        if location == "uri":
            if (text := unfit(member, in_path=True)) is not None:
                yield Wrong(f"{name} is {text!r:.40}", INVALID, [name], label=(wire, text))
            yield Wrong(f"{name} is empty", MISSING, [name], label=(wire, ""))
        elif location == "querystring":
            wrong = {"integer": ["seven", "1.5"], "long": ["seven"], "boolean": ["yes"], "timestamp": ["not an instant"]}
            texts = wrong.get(member.type_name, []) + [str(number) for number in out_of_range(member)]
            if member.type_name == "string" and (text := unfit(member)):
                texts.append(text)
            for text in texts:
                yield Wrong(f"{name} is {text!r:.40}", INVALID, [name], query={**query, wire: text})
            if required:
                left = {key: value for key, value in query.items() if key != wire}
                yield Wrong(f"{name} is missing", MISSING, [name], query=left)
        else:
            in_body = True
            yield from of_value(member, [name], document, frozenset())
            if required:
                yield Wrong(f"{name} is missing", MISSING, [name], body=without(document, [name]))
                yield Wrong(f"{name} is null", MISSING, [name], body=put(document, [name], None))
    yield Wrong("NoSuchParameter is there", INVALID, ["NoSuchParameter"], query={**query, "NoSuchParameter": "1"})
    if in_body:
        yield Wrong("NoSuchMember is there", INVALID, ["NoSuchMember"], body={**document, "NoSuchMember": 1})
