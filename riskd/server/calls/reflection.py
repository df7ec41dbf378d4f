"""grpc.reflection.v1alpha, so that tools such as grpcurl need no proto files. Few streams, each with a time limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import sleep
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_status.rpc_status import to_status

from riskd.server.calls.admission import Pooled, opening
from riskd.server.calls.inbox import Inbox
from riskd.server.calls.streams import Streams
from riskd.server.faults import StreamOver
from riskd.server.status import status

STREAMS: Final = 4
"""Most streams open at the same time. A developer needs one, for the length of a command."""
SILENT_SECONDS: Final = 10.0
"""A stream ends when no request arrives for this long."""
AGE_SECONDS: Final = 60.0
"""A stream accepts no further requests after this time."""
REST_SECONDS: Final = 0.005
"""Pause after each answer. Without it, four busy reflection streams make sign-ins take three times as long."""


def reflection_of(services: Sequence[str]) -> grpc.GenericRpcHandler:
    """A handler that describes these services and itself."""
    servicer = reflection.ReflectionServicer((*services, reflection.SERVICE_NAME))
    streams = Streams(STREAMS, silent_s=SILENT_SECONDS, age_s=AGE_SECONDS)

    def describe(inbox: Inbox, context: grpc.ServicerContext) -> Iterator[bytes]:
        asked = (
            reflection_pb2.ServerReflectionRequest.FromString(message)
            for messages in streams.groups(inbox)
            for message in messages
        )
        try:
            for answer in servicer.ServerReflectionInfo(asked, context):
                yield answer.SerializeToString()
                sleep(REST_SECONDS)
        except StreamOver as error:
            context.abort_with_status(to_status(status(error)))
        except DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a ServerReflectionRequest")

    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(Pooled(opening(streams), describe))
    }
    return grpc.method_handlers_generic_handler(reflection.SERVICE_NAME, methods)
