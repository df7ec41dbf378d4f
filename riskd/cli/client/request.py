"""Builds an AssessRequest from JSON and `PATH=VALUE` arguments."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.timestamp_pb2 import Timestamp

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core.errors import InvalidAttempt, Problem

ATTEMPT: Final = risk_pb2.DESCRIPTOR.message_types_by_name["AssessRequest"]
_FORM: Final = "write the JSON form of riskd.v1.AssessRequest"
_MOMENTS: Final[dict[str, tuple[type[Duration | Timestamp], str, str]]] = {
    "google.protobuf.Duration": (Duration, "not a duration", "write seconds, such as 0.04s"),
    "google.protobuf.Timestamp": (Timestamp, "not a time", "write it as 2026-01-31T12:00:00Z"),
}


class _Mistake(Exception):
    """What is wrong with a field, and how to fix it."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


def assess_request(document: str, fields: Iterable[tuple[str, str]], where: str = "file") -> risk_pb2.AssessRequest:
    """The request that a JSON document and (path, text) fields describe. The fields override the document.

    `where` is the document's name in errors. Enum values may be short: `login` for `JOURNEY_LOGIN`. Raises
    InvalidAttempt with all mistakes, each under the path of its field.
    """
    problems: list[Problem] = []
    parts: list[tuple[str, dict[str, Any]]] = []
    for path, value in [*_leaves(ATTEMPT, _document(document, where, problems), ""), *fields]:
        try:
            parts.append((path, _tree(ATTEMPT, path, value)))
        except _Mistake as mistake:
            problems.append(Problem(path, mistake.what, mistake.remedy))
    request = risk_pb2.AssessRequest()
    try:
        ParseDict(_merged(one for _, one in parts), request)
    except ParseError:
        problems += _refused(parts)
    if problems:
        raise InvalidAttempt(problems)
    return request


def _refused(fields: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[Problem]:
    """A problem for each field that protobuf refuses."""
    for path, one in fields:
        try:
            ParseDict(one, risk_pb2.AssessRequest())
        except ParseError as error:
            yield Problem(path, _plain(error))


def _document(text: str, where: str, problems: list[Problem]) -> dict[str, Any]:
    """The object in a JSON document. If there is none, returns {} and adds a problem."""
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else None
    except json.JSONDecodeError as error:
        problems.append(Problem(where, f"is not JSON: {error.msg}", _FORM, error.lineno, error.colno))
        return {}
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or nested as deep
        problems.append(Problem(where, f"is JSON that cannot be read: {error}", _FORM))
        return {}
    if isinstance(document, dict):
        return document
    problems.append(Problem(where, "is not a JSON object", _FORM))
    return {}


def _leaves(message: Descriptor, tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """The fields of a document that are not null, each with its path. Only riskd's own messages are taken apart."""
    for name, value in ((name, value) for name, value in tree.items() if value is not None):
        field = message.fields_by_name.get(name) or message.fields_by_camelcase_name.get(name)
        path = prefix + (field.name if field is not None else name)
        parts = _parts(field) if field is not None else None
        if parts is not None and isinstance(value, dict) and value:
            yield from _leaves(parts, value, f"{path}.")
        else:
            yield path, value


def _parts(field: FieldDescriptor) -> Descriptor | None:
    """The field's message type if it is one of riskd's own, whose fields have paths of their own; else None."""
    inner = field.message_type
    return inner if inner is not None and inner.file.package == ATTEMPT.file.package and not _maps(field) else None


def _maps(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _tree(message: Descriptor, path: str, value: object) -> dict[str, Any]:
    """The JSON document that sets one field. Raises _Mistake if there is no such field or the value is invalid."""
    name, _, rest = path.partition(".")
    field = message.fields_by_name.get(name)
    if field is None:
        near = get_close_matches(name, message.fields_by_name, 1)
        raise _Mistake(f"{message.full_name} has no field {name!r}", f"did you mean {near[0]}?" if near else "")
    parts = _parts(field)
    if rest and parts is not None:
        return {name: _tree(parts, rest, value)}
    if rest and not _maps(field):
        raise _Mistake(f"{name} has no fields of its own")
    if parts is not None and isinstance(value, str):
        raise _Mistake("is a group of fields", f"set one of them, such as {name}.{parts.fields[0].name}")
    return {name: {rest: value} if rest else _value(field, value)}


def _value(field: FieldDescriptor, value: object) -> object:
    """A field's value for JSON. In text, lists are separated by commas, and enum values may be short."""
    if field.is_repeated and isinstance(value, str):
        value = value.split(",")
    if field.enum_type is not None and isinstance(value, str):
        return _enum(field.enum_type, value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL and isinstance(value, str):
        return {"true": True, "false": False}.get(value, value)
    if field.message_type is not None and (moment := _MOMENTS.get(field.message_type.full_name)):
        kind, what, remedy = moment
        try:
            kind().FromJsonString(str(value))
        except ValueError:
            raise _Mistake(f"{value!r} is {what}", remedy) from None
    return value


def _enum(kind: EnumDescriptor, text: str) -> str:
    """The full name of an enum value, which may be given short. Raises _Mistake with all values if it is not one."""
    unspecified, *names = [value.name for value in kind.values]
    prefix = unspecified.removesuffix("UNSPECIFIED")
    if (wanted := prefix + text.upper().removeprefix(prefix)) in names:
        return wanted
    raise _Mistake(f"{text!r} is not one of {', '.join(name.removeprefix(prefix).lower() for name in names)}")


def _merged(documents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The documents merged into one, field by field; later values override earlier ones."""
    whole: dict[str, Any] = {}
    for one in documents:
        for name, value in one.items():
            both = isinstance(value, dict) and isinstance(whole.get(name), dict)
            whole[name] = _merged((whole[name], value)) if both else value
    return whole


def _plain(error: ParseError) -> str:
    """What protobuf says about a value, without the path, which our own message has."""
    words = str(error).rpartition("Failed to parse ")[2]
    return (words.partition(" field: ")[2] or words).partition(" at AssessRequest")[0].rstrip(". ")
