"""grpc.reflection.v1alpha: tools such as grpcurl need no proto files. Its streams are few, and end by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import sleep
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_status.rpc_status import to_status

from riskd.server.calls.admission import TOO_MANY, By, admitted
from riskd.server.calls.inbox import Inbox
from riskd.server.calls.streams import Streams
from riskd.server.faults import StreamOver
from riskd.server.status import status

STREAMS: Final = 4
"""Open at a time: a developer has one, for as long as a command takes."""
SILENT_SECONDS: Final = 10.0
AGE_SECONDS: Final = 60.0
REST_SECONDS: Final = 0.005
"""After each answer, for sign-ins: four threads that compute without a pause make them take three times as long."""


def reflection_of(services: Sequence[str]) -> grpc.GenericRpcHandler:
    """A handler that describes these services, and itself."""
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

    reception = admitted(streams, streams.submit, lambda: TOO_MANY)
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(By(reception, describe))
    }
    return grpc.method_handlers_generic_handler(reflection.SERVICE_NAME, methods)
