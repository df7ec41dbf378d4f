"""Every reason that riskd gives, its gRPC code, and what to do about it: one table.

The table is also the reference page `docs/errors.md`, which `page` writes.
"""

from __future__ import annotations

from typing import Final

from grpc import StatusCode
from msgspec import Struct

from riskd.core.errors import RiskdError

DOMAIN: Final = "riskd.dev"
"""The domain of google.rpc.ErrorInfo: whose reasons these are."""


class InvalidRequest(RiskdError):
    """A message that is unusable before its contents matter: unparsable, too large, a batch too long."""

    reason = "INVALID_REQUEST"


class DeadlinePassed(RiskdError):
    """The caller's deadline passed before the work was begun, or between the attempts of a batch."""

    reason = "DEADLINE_PASSED"


class CallerGone(RiskdError):
    """Whoever sent a batch has cancelled it, or its connection is lost: nobody waits for the rest."""

    reason = "CALLER_GONE"


class Overloaded(RiskdError):
    """More calls than can be done: this one waited too long, or found too many waiting. It was not begun."""

    reason = "OVERLOADED"


class StreamOver(RiskdError):
    """A stream that riskd ends by itself: for its age, a long silence, or because the service stops."""

    reason = "STREAM_OVER"


class Fault(Struct, frozen=True):
    """How a reason crosses the wire, and what to do about it."""

    code: StatusCode
    meaning: str
    caller: str
    operator: str


_REFUSED: Final = StatusCode.FAILED_PRECONDITION
FAULTS: Final = {
    "INVALID_ATTEMPT": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The attempt breaks the rules that its fields state. Nothing was counted.",
        "Mend every field in `BadRequest`. Do not retry as it is, and let nobody in for it: a client can spoil its own "
        "word. Without a field of device, place or behaviour the attempt is judged as one that left it out.",
        "A rise after a release of the caller is a bug there.",
    ),
    "INVALID_OUTCOME": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The outcome breaks the rules that its fields state. Nothing was learned.",
        "Mend every field in `BadRequest`. Do not retry as it is.",
        "As for `INVALID_ATTEMPT`.",
    ),
    "INVALID_EVENT": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The security event breaks the rules that its fields state. Nothing was remembered.",
        "Mend every field in `BadRequest`. Do not retry as it is.",
        "As for `INVALID_ATTEMPT`.",
    ),
    "INVALID_SUBJECT": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The request names no subject, or goes on from a page that there is not. Nothing was changed.",
        "Mend every field in `BadRequest`. Do not retry as it is.",
        "Nothing.",
    ),
    "INVALID_RELEASE": Fault(
        StatusCode.INVALID_ARGUMENT,
        "What was asked of releases cannot be done as it was put. Nothing was changed.",
        "Mend every field in `BadRequest`. Do not retry as it is.",
        "Nothing.",
    ),
    "UNKNOWN_RELEASE": Fault(
        StatusCode.NOT_FOUND,
        "No release of this id is kept on this host.",
        "List the releases.",
        "Create it: `riskd release create`. The oldest that have no role go, beyond `release.keep`.",
    ),
    "REFUSED_RELEASE": Fault(
        _REFUSED,
        "A worker would not take the release, or did not say so in time. Nothing was changed in any of them.",
        "Nothing: the releases that were active go on answering.",
        "Look at what the message names; a worker that is being replaced votes when it is back.",
    ),
    "INVALID_REQUEST": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The message does not parse, is too large for its method, or is a batch of none or too many.",
        "Check that it was built from `riskd.v1`; split batches.",
        "Compare the caller's version of the protos with this one.",
    ),
    "UNKNOWN_ASSESSMENT": Fault(
        StatusCode.NOT_FOUND,
        "No such assessment in this tenant, its receipt has expired (after 90 days, unless the policy says otherwise), "
        "or its subject was erased.",
        "Send the `assessment_id` and the tenant of the answer. Do not retry.",
        "If ids are right, the store was lost, or could not be written when it answered (`causes` said so).",
    ),
    "UNKNOWN_CALLER": Fault(
        StatusCode.UNAUTHENTICATED,
        "The call shows neither a token nor a certificate of a known caller. Nothing was read of it.",
        "Send `authorization: Bearer TOKEN`, or use the client's certificate. Do not retry as it is.",
        "`riskd caller list` says who is known; `turned_away` in the log, who is refused how often.",
    ),
    "NOT_ALLOWED": Fault(
        StatusCode.PERMISSION_DENIED,
        "The caller may not use this method, or not for this tenant. Nothing was done or counted.",
        "Use what you were given. Do not retry.",
        "Give it to them in the callers file, if they should have it.",
    ),
    "DEADLINE_PASSED": Fault(
        StatusCode.DEADLINE_EXCEEDED,
        "The deadline passed before the work was begun.",
        "Do what your flow does without an answer. A repeat with the same `request_id` counts once.",
        "Requests queue: add workers, or shed load with a shorter `server.queue_ms`.",
    ),
    "OVERLOADED": Fault(
        StatusCode.RESOURCE_EXHAUSTED,
        "More calls came than the worker can do. This one was not begun: it waited longer than `server.queue_ms` (or "
        "`server.standing_queue_ms`, where more came than can be done), or found `server.max_concurrent_rpcs` waiting, "
        "or `server.max_streams` open.",
        "Do what your flow does without an answer; retry after `RetryInfo`, with growing pauses.",
        "Add workers or machines; `riskd_refused_total` and `riskd_queue_seconds` say how many. Look for callers that "
        "retry without pauses.",
    ),
    "STREAM_OVER": Fault(
        StatusCode.ABORTED,
        "riskd ends the stream: for its age, because no attempt came for a while, or because it stops. What it had "
        "received was answered, unless it stops at once.",
        "Open another stream, and send again what has no answer; with a `request_id` it counts once.",
        "Nothing: streams end so every minute.",
    ),
    "UNAVAILABLE": Fault(
        StatusCode.UNAVAILABLE,
        "The history store could not take the outcome or the event, or store or log the erasure, in time; or another "
        "activation of a release is under way. Assessments never fail for this.",
        "Retry after `RetryInfo`, with growing pauses; outcomes, events and erasures may be sent twice.",
        "Look at the store: its disk, its latency, its memory.",
    ),
    "INVALID_FILE": Fault(
        _REFUSED,
        "A file was refused. Every problem is named with its place and its remedy.",
        "Nothing: the last good release goes on answering.",
        "Mend what the message names.",
    ),
    "INVALID_POLICY": Fault(
        _REFUSED, "A policy file was refused, whole.", "As above.", "Mend it; `riskd policy check` tells all."
    ),
    "INVALID_MODEL": Fault(
        _REFUSED,
        "A model bundle is corrupt, or was made for other features.",
        "As above.",
        "Install the bundle again, or train it for this version.",
    ),
    "INVALID_GEO": Fault(
        _REFUSED,
        "A geo database is corrupt, or of an unknown kind.",
        "As above.",
        "Install it again.",
    ),
    "INVALID_STORE": Fault(
        _REFUSED,
        "The history store cannot be opened: not one of riskd's, of another format, or damaged.",
        "Nothing.",
        "Check the path in the settings; restore a copy, or start with an empty store.",
    ),
    "INVALID_CALLERS": Fault(
        _REFUSED, "The callers file was refused, whole.", "Nothing: whoever was known before still is.", "Mend it."
    ),
    "CALLER_GONE": Fault(
        StatusCode.CANCELLED,
        "The caller cancelled a batch, or its connection was lost, in the middle of it. What came before is counted.",
        "Send it again if it is still wanted: a repeat with the same `request_id` counts once.",
        "Often: the callers' batches take longer than they wait; have them split.",
    ),
    "INVALID_SETTINGS": Fault(
        _REFUSED,
        "The settings have mistakes; all are listed. The service does not start.",
        "Nothing.",
        "Mend the settings that the message names.",
    ),
    "INTERNAL": Fault(
        StatusCode.INTERNAL,
        "A bug in riskd.",
        "Do what your flow does without an answer; report `error_id`. Do not retry.",
        "Find `error_id` in the log: it stands beside the place in the code.",
    ),
}
"""Every reason that riskd gives. The reasons are stable; new ones may come."""

_TRANSPORT: Final = (
    (
        "RESOURCE_EXHAUSTED",
        "The message is over `max_message_kb`.",
        "Do what your flow does without an answer; split batches.",
        "Compare the caller's batches with `server.max_message_kb`.",
    ),
    (
        "DEADLINE_EXCEEDED",
        "The client's own clock ran out.",
        "Do what your flow does without an answer.",
        "Compare the latency histogram with the callers' deadlines.",
    ),
    (
        "UNAVAILABLE",
        "No connection, or the server is draining; or a worker lacks CPU to take what comes, and streams are reset.",
        "Retry: gRPC clients do it by themselves, on another server.",
        "Expected while a server drains; else look at the network.",
    ),
    (
        "CANCELLED",
        "The call arrived at the moment in which the server stopped; nothing was counted.",
        "As for `UNAVAILABLE`, but gRPC clients do not do it by themselves. Who heeds health hardly meets it.",
        "Set `lame_duck_s` to longer than balancers and clients take to notice.",
    ),
    (
        "UNIMPLEMENTED",
        "This version has no such method.",
        "Use a method of the version that runs there.",
        "Upgrade.",
    ),
)

_PAGE: Final = """\
# Errors

To deny is an answer, not an error: its status is `OK`. So is an answer with gaps, or a degraded one.

An error of riskd carries a `google.rpc.Status`, whose `ErrorInfo` has the domain `{domain}` and one of
the reasons below. Match on the reason; texts may change. `INVALID_ARGUMENT` lists the violations in
`BadRequest.field_violations`, up to 3 KiB of them; `violations` in the metadata says how many there
are. `UNAVAILABLE` and `RESOURCE_EXHAUSTED` say in `RetryInfo` when to try again.

| code | reason | meaning | what the caller does | what the operator does |
|---|---|---|---|---|
{ours}

Reasons with `FAILED_PRECONDITION` are met at start and at reload: in the log and on the command line.

gRPC itself answers these, without an `ErrorInfo`:

| code | meaning | what the caller does | what the operator does |
|---|---|---|---|
{transport}
"""


def page() -> str:
    """The text of `docs/errors.md`."""
    ours = (
        f"| `{fault.code.name}` | `{reason}` | {fault.meaning} | {fault.caller} | {fault.operator} |"
        for reason, fault in FAULTS.items()
    )
    transport = (f"| `{code}` | {' | '.join(rest)} |" for code, *rest in _TRANSPORT)
    return _PAGE.format(domain=DOMAIN, ours="\n".join(ours), transport="\n".join(transport))
