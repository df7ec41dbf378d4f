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
_FIX: Final = "Fix every field named in `BadRequest`. Do not retry the call as it is."
FAULTS: Final = {
    "INVALID_ATTEMPT": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The attempt violates the rules of its fields. Nothing was counted.",
        f"{_FIX} Do not let the sign-in through because of it: a client can spoil the values that it sends. You may "
        "leave out the invalid fields of device, place or behaviour; the attempt is then judged as one without them.",
        "If they rise after a release of the caller, look for a bug there.",
    ),
    "INVALID_OUTCOME": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The outcome violates the rules of its fields. Nothing was learned.",
        _FIX,
        "As for `INVALID_ATTEMPT`.",
    ),
    "INVALID_EVENT": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The security event violates the rules of its fields. Nothing was recorded.",
        _FIX,
        "As for `INVALID_ATTEMPT`.",
    ),
    "INVALID_SUBJECT": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The request names no subject, or its page token is not one that riskd gave. Nothing was changed.",
        _FIX,
        "Nothing.",
    ),
    "INVALID_RELEASE": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The request about releases violates the rules of its fields. Nothing was changed.",
        _FIX,
        "Nothing.",
    ),
    "UNKNOWN_RELEASE": Fault(
        StatusCode.NOT_FOUND,
        "This host keeps no release with this id.",
        "List the releases.",
        "Create it with `riskd release create`. Beyond `release.keep`, the oldest releases without a role are removed.",
    ),
    "REFUSED_RELEASE": Fault(
        _REFUSED,
        "A worker rejected the release, or did not answer in time. No worker changed anything.",
        "Nothing: the releases that were active stay active.",
        "Look at what the message names. A worker that is being replaced votes when it is back.",
    ),
    "INVALID_REQUEST": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The message does not parse, is too large for its method, or is a batch with no attempts or too many.",
        "Check that the message was built from `riskd.v1`. Split batches.",
        "Compare the caller's version of the protos with this one.",
    ),
    "UNKNOWN_ASSESSMENT": Fault(
        StatusCode.NOT_FOUND,
        "This tenant has no such assessment, its receipt has expired (after 90 days, unless the policy says "
        "otherwise), or its subject was erased.",
        "Send the `assessment_id` and the tenant of the answer. Do not retry.",
        "If the ids are right, the store was lost, or could not be written at the time of the answer, whose `causes` "
        "then said so.",
    ),
    "UNKNOWN_CALLER": Fault(
        StatusCode.UNAUTHENTICATED,
        "The call has neither a token nor a certificate of a known caller. riskd did not read the request.",
        "Send `authorization: Bearer TOKEN`, or use the client certificate. Do not retry the call as it is.",
        "`riskd caller list` lists the known callers. `turned_away` in the log counts the rejected ones.",
    ),
    "NOT_ALLOWED": Fault(
        StatusCode.PERMISSION_DENIED,
        "The caller may not use this method, or not for this tenant. Nothing was done or counted.",
        "Use the methods and tenants that you were given. Do not retry.",
        "If the caller should have them, add them in the callers file.",
    ),
    "DEADLINE_PASSED": Fault(
        StatusCode.DEADLINE_EXCEEDED,
        "The deadline passed before the work began.",
        "Do what your flow does without an answer. A repeat with the same `request_id` counts once.",
        "Requests queue: add workers, or shed load earlier with a shorter `server.queue_ms`.",
    ),
    "OVERLOADED": Fault(
        StatusCode.RESOURCE_EXHAUSTED,
        "The worker has more calls than it can handle. It did not begin this one, which waited longer than "
        "`server.queue_ms` (or `server.standing_queue_ms`, while more calls arrive than it can handle), or found "
        "`server.max_concurrent_rpcs` waiting or `server.max_streams` open.",
        "Do what your flow does without an answer. Retry after `RetryInfo`, with exponential backoff.",
        "Add workers or machines; `riskd_refused_total` and `riskd_queue_seconds` show how many calls are affected. "
        "Look for callers that retry without backoff.",
    ),
    "STREAM_OVER": Fault(
        StatusCode.ABORTED,
        "riskd ended the stream because of its age, because no attempt arrived for a while, or because it is "
        "stopping. It answered every attempt that it had received, unless it has to stop at once.",
        "Open another stream, and send the unanswered attempts again. With a `request_id` each counts once.",
        "Nothing: riskd ends every stream after a minute.",
    ),
    "UNAVAILABLE": Fault(
        StatusCode.UNAVAILABLE,
        "The history store could not write the outcome, the event or the erasure, or log the erasure, in time; or "
        "another activation of a release is in progress. Assessments never fail for this reason.",
        "Retry after `RetryInfo`, with exponential backoff. Outcomes, events and erasures may be sent twice.",
        "Check the store: its disk, latency and memory.",
    ),
    "INVALID_FILE": Fault(
        _REFUSED,
        "A file was rejected. The message names every problem, its place and its remedy.",
        "Nothing: the last valid release stays active.",
        "Fix what the message names.",
    ),
    "INVALID_POLICY": Fault(
        _REFUSED,
        "A policy file was rejected as a whole.",
        "As above.",
        "Fix it; `riskd policy check` lists all problems.",
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
        "The history store cannot be opened: it is not a store of riskd, has another format, or is damaged.",
        "Nothing.",
        "Check the path in the settings. Restore a copy, or start with an empty store.",
    ),
    "INVALID_CALLERS": Fault(
        _REFUSED,
        "The callers file was rejected as a whole.",
        "Nothing: the callers that were known before still are.",
        "Fix it.",
    ),
    "INVALID_SETTINGS": Fault(
        _REFUSED,
        "The settings have mistakes; the message lists all of them. The service does not start.",
        "Nothing.",
        "Fix the settings that the message names.",
    ),
    "INTERNAL": Fault(
        StatusCode.INTERNAL,
        "A bug in riskd.",
        "Do what your flow does without an answer, and report the `error_id`. Do not retry.",
        "Find the `error_id` in the log, which has the place in the code beside it.",
    ),
}
"""Every reason that riskd gives. The reasons are stable; new ones may come."""

_TRANSPORT: Final = (
    (
        "RESOURCE_EXHAUSTED",
        "The message is larger than `server.max_message_kb`.",
        "Do what your flow does without an answer. Split batches.",
        "Compare the size of the callers' batches with the setting.",
    ),
    (
        "DEADLINE_EXCEEDED",
        "The client's deadline passed.",
        "Do what your flow does without an answer.",
        "Compare the latency histogram with the callers' deadlines.",
    ),
    (
        "UNAVAILABLE",
        "There is no connection, or the server is draining, or a worker lacks CPU and resets streams.",
        "Retry. gRPC clients can do so by themselves, on another server.",
        "Expected while a server drains. Otherwise check the network.",
    ),
    (
        "CANCELLED",
        "The call arrived at the moment in which the server stopped. Nothing was counted.",
        "As for `UNAVAILABLE`, but gRPC clients do not retry it by themselves. With health checks it is rare.",
        "Set `server.lame_duck_s` to longer than balancers and clients take to notice.",
    ),
    (
        "UNIMPLEMENTED",
        "This version has no such method.",
        "Use a method of the running version.",
        "Upgrade.",
    ),
)

_PAGE: Final = """\
# Errors

The errors that a caller of riskd can get, and what caller and operator do about each. `riskd errors` prints the same.

`DENY` is an answer, not an error: its status is `OK`. So is that of an answer with gaps, or of a degraded one.

An error of riskd carries a `google.rpc.Status` with an `ErrorInfo`, whose `domain` is `{domain}` and whose `reason` is
one of those below. Match on the reason; texts may change. `INVALID_ARGUMENT` lists the violations in
`BadRequest.field_violations`, up to 3 KiB of them; `violations` in the metadata of `ErrorInfo` has their number.
`UNAVAILABLE` and `RESOURCE_EXHAUSTED` say in `RetryInfo` when to retry.

| code | reason | meaning | what the caller does | what the operator does |
|---|---|---|---|---|
{ours}

Reasons with `FAILED_PRECONDITION`, except `REFUSED_RELEASE`, occur when files are read, at start and on reload. They
are in the log and on the command line.

gRPC itself returns these, without an `ErrorInfo`:

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
