"""The client half of `riskd events receive`: tells a service what transmitters say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import grpc
from google.rpc.error_details_pb2 import BadRequest
from grpc_status.rpc_status import from_call

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.shared_signals.stream import INVALID_REQUEST, Away, Refused, Report

RECONNECT: Final = (("grpc.max_reconnect_backoff_ms", 5000),)
"""Options of a channel that finds a service soon after it is back."""
_CALLER: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def request(report: Report) -> risk_pb2.RecordSecurityEventRequest:
    """The request that says a report."""
    made = risk_pb2.RecordSecurityEventRequest(
        tenant=report.tenant,
        domain=f"IDENTITY_DOMAIN_{report.domain.upper()}",
        subject=report.subject,
        issuer=report.issuer,
    )
    made.event_time.FromNanoseconds(round(report.at * 1e9))
    event = getattr(made, report.kind)
    event.SetInParent()
    if report.level:
        event.current_level = f"RISK_LEVEL_{report.level}"
    if report.credential_type:
        event.credential_type = report.credential_type
    if report.hijacked:
        event.hijacked = True
    return made


def teller(channel: grpc.Channel, seconds: float, metadata: tuple[tuple[str, str], ...]) -> Callable[[Report], None]:
    """What tells a report, and returns once it is recorded. `seconds`: its deadline.

    It raises Refused for what the service never takes, and Away while it takes nothing.
    """
    stub = risk_pb2_grpc.RiskServiceStub(channel)

    def tell(report: Report) -> None:
        try:
            stub.RecordSecurityEvent(request(report), timeout=seconds, metadata=metadata)
        except grpc.RpcError as error:
            raise _meant(error) from None

    return tell


def _meant(error: grpc.RpcError) -> Away | Refused:
    """A status as the receiver takes it. Its texts may quote what was sent, so only names of fields are told."""
    code = error.code()
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        status, bad = from_call(error), BadRequest()
        for detail in status.details if status is not None else ():
            detail.Unpack(bad)
        fields = ", ".join(violation.field for violation in bad.field_violations)
        return Refused(INVALID_REQUEST, f"the service refuses the event: {fields or 'it does not say why'}")
    if code in _CALLER:
        return Away("caller", f"riskd answers {code.name}: this caller may not tell it events (--token-file, --cert)")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Away("riskd", "it does not know events: it is older than this receiver")
    return Away("riskd", f"it answers {code.name}")
