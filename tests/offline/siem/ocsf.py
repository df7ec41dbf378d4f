"""The published schema of OCSF (from the package ocsf-json-schema, Apache-2.0), and a check of events against it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from riskd.offline.siem.schema import OTHER, VERSION

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

Json = Any
SCHEMA: Final[Json] = get_ocsf_schema(version=VERSION)
BY_UID: Final[dict[int, str]] = {one["uid"]: name for name, one in SCHEMA["classes"].items()}


def violations(event: Json) -> list[str]:
    """Every violation of the schema by an event: required, unknown, deprecated or mistyped attributes, numbers outside
    their enumeration, texts that are not the caption of their number, and observables that are not in the event."""
    name = BY_UID[event["class_uid"]]
    attributes = SCHEMA["classes"][name]["attributes"]
    found = [error.message for error in _validator(name, *event["metadata"].get("profiles", ())).iter_errors(event)]
    found += _told(event, attributes, "")
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        found.append(f"type_uid {event['type_uid']}")
    return [*found, *_observed(event)]


@cache
def _validator(name: str, *profiles: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # takes more than a second, which few test processes need

    document = OcsfJsonSchemaEmbedded(SCHEMA).get_class_schema(name, list(profiles))
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


def _told(value: Json, attributes: Json, path: str) -> Iterator[str]:
    """Violations that a JSON schema cannot express: sibling attributes and deprecations at any depth."""
    for name, inner in value.items():
        if (attribute := attributes.get(name)) is None:
            continue
        if "@deprecated" in attribute:
            yield f"{path}{name} is deprecated"
        caption = attribute.get("enum", {}).get(str(inner), {}).get("caption")
        if caption and (sibling := attribute.get("sibling")) in attributes:
            text = value.get(sibling)
            if (not text or text == "Other") if inner == OTHER else text not in (None, caption):
                yield f"{path}{sibling} is {text!r} beside {inner}, {caption}"
        if "object_type" in attribute and attribute["object_type"] != "object":
            below = SCHEMA["objects"][attribute["object_type"]]["attributes"]
            for one in inner if attribute.get("is_array") else [inner]:
                yield from _told(one, below, f"{path}{name}.")


def _observed(event: Json) -> Iterator[str]:
    kinds = SCHEMA["objects"]["observable"]["attributes"]["type_id"]["enum"]
    for one in event["observables"]:
        value = event
        for step in re.findall(r"\w+", one["name"]):
            value = value[int(step) if step.isdecimal() else step]
        if value != one["value"] or kinds[str(one["type_id"])]["caption"] != one["type"]:
            yield f"observable {one}"


def paths(value: Json, path: str = "") -> Iterator[str]:
    """Every attribute of an event by its path; attributes in `unmapped` are one level deeper."""
    for name, inner in value.items():
        below = [one for one in (inner if isinstance(inner, list) else [inner]) if isinstance(one, dict)]
        if below and path != "unmapped." and name != "data":
            for one in below:
                yield from paths(one, f"{path}{name}.")
        else:
            yield f"{path}{name}"
