#!/usr/bin/env python3
"""Derives backup.json from botocore's service model: routes, members and their places, what is required, patterns, enums,
ranges and error shapes of the AWS Backup API, without any documentation text.

usage: model/derive.py > model/backup.json
The version of botocore it was derived from stands in the file; botocore is Apache-2.0 (https://github.com/boto/botocore).
"""

import gzip
import json
import os
import sys

import botocore

# How the AWS Backup API was first described; the directory's name in botocore.
API_VERSION = "2018-11-15"


def service_model():
    base = os.path.join(os.path.dirname(botocore.__file__), "data", "backup", API_VERSION, "service-2.json")
    if os.path.exists(base):
        with open(base, encoding="utf-8") as file:
            return json.load(file)
    with gzip.open(base + ".gz", "rt", encoding="utf-8") as file:
        return json.load(file)


def operation(model):
    http = model["http"]
    derived = {"method": http["method"], "uri": http["requestUri"], "status": http.get("responseCode", 200)}
    for part in ("input", "output"):
        if part in model:
            derived[part] = model[part]["shape"]
    derived["errors"] = sorted(error["shape"] for error in model.get("errors", []))
    return derived


def member(model):
    derived = {"shape": model["shape"]}
    if "location" in model:
        derived["location"] = model["location"]
    if "locationName" in model:
        derived["name"] = model["locationName"]
    if model.get("idempotencyToken"):
        derived["token"] = True
    return derived


def shape(model):
    derived = {"type": model["type"]}
    for key in ("required", "enum", "pattern", "min", "max"):
        if key in model:
            derived[key] = model[key]
    if "members" in model:
        derived["members"] = {name: member(inner) for name, inner in model["members"].items()}
    for key in ("member", "key", "value"):
        if key in model:
            derived[key] = model[key]["shape"]
    if model.get("exception"):
        derived["exception"] = 500 if model.get("fault") else 400
    return derived


def main():
    model = service_model()
    derived = {
        "botocore": botocore.__version__,
        "service": model["metadata"]["endpointPrefix"],
        "operations": {name: operation(inner) for name, inner in model["operations"].items()},
        "shapes": {name: shape(inner) for name, inner in model["shapes"].items()},
    }
    # One operation or shape per line: small, and a change of the model shows as lines.
    out = ["{"]
    out.append('"botocore":%s,"service":%s,' % (json.dumps(derived["botocore"]), json.dumps(derived["service"])))
    for index, part in enumerate(("operations", "shapes")):
        out.append('"%s":{' % part)
        items = sorted(derived[part].items())
        for place, (name, inner) in enumerate(items):
            line = "%s:%s" % (json.dumps(name), json.dumps(inner, separators=(",", ":"), sort_keys=True))
            out.append(line + ("," if place + 1 < len(items) else ""))
        out.append("}" if index else "},")
    out.append("}")
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
