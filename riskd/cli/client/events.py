"""The client half of `riskd events receive` and `check`: reports to a service what transmitters say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import grpc

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.cli.client.assess import event_request
from riskd.cli.client.status import details_of
from riskd.core.attempt import SecurityEvent
from riskd.core.errors import InvalidEvent
from riskd.shared_signals.stream import CALLER, INVALID_REQUEST, RISKD, Away, Refused, Stream

RECONNECT: Final = (("grpc.max_reconnect_backoff_ms", 5000),)
"""Channel options with which gRPC reconnects within seconds after the service is back."""
_CALLER: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def sender(
    channel: grpc.Channel, seconds: float, metadata: tuple[tuple[str, str], ...]
) -> Callable[[SecurityEvent], None]:
    """A function that reports one event, and returns once it is recorded. `seconds`: the deadline of the call.

    It raises Refused if the service will never accept the event, and Away while the service accepts nothing.
    """
    stub = risk_pb2_grpc.RiskServiceStub(channel)

    def send(event: SecurityEvent) -> None:
        try:
            stub.RecordSecurityEvent(event_request(event), timeout=seconds, metadata=metadata)
        except InvalidEvent as error:
            raise _refused(problem.where for problem in error.problems) from None
        except grpc.RpcError as error:
            raise _meant(error) from None

    return send


def checker(
    channel: grpc.Channel, seconds: float, metadata: tuple[tuple[str, str], ...]
) -> Callable[[Stream], str | None]:
    """A function that asks whether the caller may report events of a stream. It returns None if so, else why not.

    It sends an empty event: the service answers a permitted caller that the event is invalid, and records nothing.
    """
    stub = risk_pb2_grpc.RiskServiceStub(channel)

    def check(stream: Stream) -> str | None:
        nothing = risk_pb2.RecordSecurityEventRequest(tenant=stream.tenant)
        try:
            stub.RecordSecurityEvent(nothing, timeout=seconds, metadata=metadata)
        except grpc.RpcError as error:
            return None if isinstance(failure := _meant(error), Refused) else failure.why
        return None

    return check


def _meant(error: grpc.RpcError) -> Away | Refused:
    """Translate the status of a failed call for the receiver."""
    code = error.code()
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        fields = [violation.field for violation in details_of(error)[1].field_violations]
        if fields == ["event_time"]:  # the receiver never sends a time later than this machine's clock
            return Away(RISKD, "its clock is more than five minutes behind this machine's")
        return _refused(fields)
    if code in _CALLER:
        return Away(CALLER, f"riskd answers {code.name}: this caller may not report events (--token-file, --cert)")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Away(RISKD, "it does not know events: it is older than this receiver")
    return Away(RISKD, f"it answers {code.name}")


def _refused(fields: Iterable[str]) -> Refused:
    """Name only the invalid fields: the service's texts may quote what was sent."""
    return Refused(INVALID_REQUEST, f"the service refuses the event: {', '.join(fields) or 'it does not say why'}")
