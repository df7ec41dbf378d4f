"""The table of all error reasons: the gRPC code of each, its meaning, and what the caller and the operator should do.

`page` renders it as the reference page `docs/errors.md`.
"""

from __future__ import annotations

from typing import Final

from grpc import StatusCode
from msgspec import Struct

from riskd.core.errors import RiskdError

DOMAIN: Final = "riskd.dev"
"""The domain of google.rpc.ErrorInfo, in which the reasons are unique."""


class InvalidRequest(RiskdError):
    """A message that cannot be parsed, is too large, or is a batch of the wrong length. Its contents were not read."""

    reason = "INVALID_REQUEST"


class DeadlinePassed(RiskdError):
    """The caller's deadline passed before the work started, or between the attempts of a batch."""

    reason = "DEADLINE_PASSED"


class CallerGone(RiskdError):
    """The caller cancelled the batch, or its connection was lost. The remaining attempts are not assessed."""

    reason = "CALLER_GONE"


class Overloaded(RiskdError):
    """The worker is overloaded. The call waited too long, or too many were waiting already; it was not started."""

    reason = "OVERLOADED"


class StreamOver(RiskdError):
    """The server ends a stream: it is too old, no attempt came for too long, or the service is stopping."""

    reason = "STREAM_OVER"


class Fault(Struct, frozen=True):
    """A row of the table: the gRPC code of a reason, its meaning, and what the caller and the operator do."""

    code: StatusCode
    meaning: str
    caller: str
    operator: str


_REFUSED: Final = StatusCode.FAILED_PRECONDITION
FAULTS: Final = {
    "INVALID_ATTEMPT": Fault(
        StatusCode.INVALID_ARGUMENT,
        "A field of the attempt is invalid. Nothing was counted.",
        "Fix every field in `BadRequest`. Do not retry the same request, and do not let the user in because of the "
        "error: an attacker can send bad signals on purpose. You may remove an invalid device, place or behaviour "
        "field and send the attempt again; it is then judged as left out.",
        "If the rate rises after a release of the caller, look for a bug there.",
    ),
    "INVALID_OUTCOME": Fault(
        StatusCode.INVALID_ARGUMENT,
        "A field of the outcome is invalid. Nothing was learned.",
        "Fix every field in `BadRequest`. Do not retry the same request.",
        "As for `INVALID_ATTEMPT`.",
    ),
    "INVALID_EVENT": Fault(
        StatusCode.INVALID_ARGUMENT,
        "A field of the security event is invalid. Nothing was stored.",
        "Fix every field in `BadRequest`. Do not retry the same request.",
        "As for `INVALID_ATTEMPT`.",
    ),
    "INVALID_SUBJECT": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The request names no subject, or its page token is invalid. Nothing was changed.",
        "Fix every field in `BadRequest`. Do not retry the same request.",
        "Nothing.",
    ),
    "INVALID_RELEASE": Fault(
        StatusCode.INVALID_ARGUMENT,
        "A request about releases is invalid. Nothing was changed.",
        "Fix every field in `BadRequest`. Do not retry the same request.",
        "Nothing.",
    ),
    "UNKNOWN_RELEASE": Fault(
        StatusCode.NOT_FOUND,
        "This host has no release with this id.",
        "List the releases.",
        "Create it: `riskd release create`. The oldest releases without a role are removed beyond `release.keep`.",
    ),
    "REFUSED_RELEASE": Fault(
        _REFUSED,
        "A worker refused the release, or did not accept it in time. No worker uses it.",
        "Nothing: the active releases stay in use.",
        "Fix what the message names. If a worker was being replaced, try again once it is back.",
    ),
    "INVALID_REQUEST": Fault(
        StatusCode.INVALID_ARGUMENT,
        "The message cannot be parsed, is too large for its method, or is a batch that is empty or too long.",
        "Build it from the `riskd.v1` protos; split batches.",
        "Compare the caller's version of the protos with this one.",
    ),
    "UNKNOWN_ASSESSMENT": Fault(
        StatusCode.NOT_FOUND,
        "The tenant has no such assessment, its receipt has expired (after 90 days, unless the policy says otherwise), "
        "or its subject was erased.",
        "Send the `assessment_id` and the tenant of the answer. Do not retry.",
        "If the ids are right, the store was lost, or could not be written when riskd answered (`store:not_written` "
        "among the causes of that answer).",
    ),
    "UNKNOWN_CALLER": Fault(
        StatusCode.UNAUTHENTICATED,
        "The call has neither a token nor a certificate of a known caller. The request was not read.",
        "Send `authorization: Bearer TOKEN`, or use the client's certificate. Do not retry the same call.",
        "`riskd caller list` prints the known callers; `turned_away` in the log counts the refused calls.",
    ),
    "NOT_ALLOWED": Fault(
        StatusCode.PERMISSION_DENIED,
        "The caller may not use this method, or not for this tenant. Nothing was done or counted.",
        "Use a method and a tenant that you were given. Do not retry.",
        "If the caller should have it, add it in the callers file.",
    ),
    "DEADLINE_PASSED": Fault(
        StatusCode.DEADLINE_EXCEEDED,
        "The deadline passed before the work started.",
        "Apply your fallback. You may repeat the request with the same `request_id`: it counts once.",
        "Requests are queueing: add workers, or shed load with a shorter `server.queue_ms`.",
    ),
    "OVERLOADED": Fault(
        StatusCode.RESOURCE_EXHAUSTED,
        "The worker is overloaded and did not start the call. The call waited longer than `server.queue_ms` (a "
        "sign-in under sustained overload: `server.standing_queue_ms`), or `server.max_concurrent_rpcs` calls were "
        "waiting, or `server.max_streams` streams were open.",
        "Apply your fallback; retry after the delay in `RetryInfo`, with growing pauses.",
        "Add workers or machines; `riskd_refused_total` and `riskd_queue_seconds` show how many. `turned_away` in the "
        "log names the callers that were refused most: look for those that retry without pauses.",
    ),
    "STREAM_OVER": Fault(
        StatusCode.ABORTED,
        "riskd ended the stream: it was too old, no attempt came for too long, or the service is stopping. Every "
        "attempt received was answered, unless the service stops at once.",
        "Open another stream, and send again every attempt that has no answer; with its `request_id` it counts once.",
        "Nothing: streams end like this every minute.",
    ),
    "CALLER_GONE": Fault(
        StatusCode.CANCELLED,
        "The caller cancelled a batch, or its connection was lost. The attempts assessed before are counted.",
        "Send the batch again if you still need it: attempts with the same `request_id` count once.",
        "If it happens often, batches take longer than their callers wait: have them split.",
    ),
    "UNAVAILABLE": Fault(
        StatusCode.UNAVAILABLE,
        "The store did not take the outcome, event or erasure in time; or the decision log could not schedule the "
        "erasure; or another activation of a release is in progress. Assessments never fail with this reason.",
        "Retry after the delay in `RetryInfo`, with growing pauses; outcomes, events and erasures are idempotent.",
        "Check the store: its disk, its latency, its memory; in a cluster, every master.",
    ),
    "INVALID_FILE": Fault(
        _REFUSED,
        "A file was refused. The message lists every problem with its place and its remedy.",
        "Nothing: the last good release stays in use.",
        "Fix what the message names.",
    ),
    "INVALID_POLICY": Fault(
        _REFUSED,
        "A policy file was refused as a whole.",
        "As above.",
        "Fix it; `riskd policy check` lists every problem.",
    ),
    "INVALID_MODEL": Fault(
        _REFUSED,
        "A model bundle is corrupt, or was made for other features.",
        "As above.",
        "Install the bundle again, or train one for this version.",
    ),
    "INVALID_GEO": Fault(
        _REFUSED,
        "A geo database is corrupt or of an unknown type.",
        "As above.",
        "Install it again.",
    ),
    "INVALID_STORE": Fault(
        _REFUSED,
        "The history store cannot be opened: it is not riskd's, has another format, or is damaged.",
        "Nothing.",
        "Check the path in the settings; restore a copy, or start with an empty store.",
    ),
    "INVALID_CALLERS": Fault(
        _REFUSED,
        "The callers file was refused as a whole.",
        "Nothing: the previous callers stay in use.",
        "Fix what the message names.",
    ),
    "INVALID_SETTINGS": Fault(
        _REFUSED,
        "The settings have mistakes, and all are listed. The service does not start.",
        "Nothing.",
        "Fix the settings that the message names.",
    ),
    "INTERNAL": Fault(
        StatusCode.INTERNAL,
        "A bug in riskd.",
        "Apply your fallback; report `error_id`. Do not retry.",
        "Search the log for `error_id`: its line names the place in the code.",
    ),
}
"""All reasons by name. Released reasons do not change; new ones may be added."""

_TRANSPORT: Final = (
    (
        "RESOURCE_EXHAUSTED",
        "The message is larger than `server.max_message_kb`.",
        "Apply your fallback; split batches.",
        "Compare the size of the caller's batches with `server.max_message_kb`.",
    ),
    (
        "DEADLINE_EXCEEDED",
        "The client stopped waiting at its deadline.",
        "Apply your fallback.",
        "Compare the latency histogram with the callers' deadlines.",
    ),
    (
        "UNAVAILABLE",
        "There is no connection, the server is draining, or a worker is short of CPU and resets streams.",
        "Retry: gRPC clients do so by themselves, on another server.",
        "Expected while a server drains; otherwise check the network and the worker's CPU.",
    ),
    (
        "CANCELLED",
        "The call arrived at the moment when the server stopped; nothing was counted.",
        "Retry. gRPC clients do so if their retry policy names the code, as on the pages [for clients](client.md).",
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

The gRPC errors of riskd, for those who write a client or operate the service. A decision to deny is not an error: its
status is `OK`. So is the status of an answer with gaps, and of a degraded answer.

An error carries a `google.rpc.Status` whose `ErrorInfo` has the domain `{domain}` and one of the reasons below. Match
on the reason; texts may change. `INVALID_ARGUMENT` lists up to 3 KiB of violations in `BadRequest.field_violations`;
`violations` in the metadata is their total number. `UNAVAILABLE` and `RESOURCE_EXHAUSTED` say in `RetryInfo` when to
try again. "Fallback" is what your flow does without an answer from riskd.

| code | reason | meaning | what the caller does | what the operator does |
|---|---|---|---|---|
{ours}

Reasons with `FAILED_PRECONDITION` occur at the start and at a reload, in the log and on the command line.

gRPC itself answers with these codes, without an `ErrorInfo`:

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
