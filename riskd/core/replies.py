"""Replies: the first answer to each request id, stored so that a repeated request gets it again (decision 0040)."""

from __future__ import annotations

from typing import Final

import msgspec

from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt
from riskd.core.errors import UNDECODABLE
from riskd.core.pseudonym import SEAL_BYTES

_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
_DECODER: Final = msgspec.msgpack.Decoder(Assessment)


def content(attempt: Attempt) -> bytes:
    """The part of an attempt that must be the same when its request id is repeated, encoded.

    It has what is attempted, from where, with which device and authentication. It does not have what a caller may
    measure again for the repeat: times, places, round-trip times, behaviour.
    """
    return _ENCODER.encode(
        (
            attempt.journey,
            attempt.credential_result,
            attempt.network.client_ip,
            attempt.device,
            attempt.session,
            attempt.federation,
            attempt.attributes,
        )
    )


def encode(answer: Assessment, seal: bytes) -> bytes:
    """The stored form of an answer: the seal of the attempt's `content`, then the answer."""
    return seal + _ENCODER.encode(answer)


def decode(stored: bytes) -> Assessment:
    """The answer in the bytes of `encode`. Raises msgspec.DecodeError."""
    try:
        return _DECODER.decode(stored[SEAL_BYTES:])
    except UNDECODABLE as error:
        raise msgspec.DecodeError(str(error)) from error
