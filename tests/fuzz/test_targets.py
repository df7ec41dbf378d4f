"""For any bytes, riskd reads them or raises a declared error; `make fuzz` tries millions."""

from __future__ import annotations

import time
from itertools import islice
from random import Random

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from riskd._proto.riskd.v1 import risk_pb2
from tests.fuzz.__main__ import NAMES
from tests.fuzz.mutate import mutants
from tests.fuzz.targets import TARGETS, Target

COUNT = 400
SLOWEST = 2.0
"""The most CPU seconds for one input."""


def test_every_target_is_fuzzed() -> None:
    """`make fuzz` runs every target."""
    assert tuple(TARGETS) == NAMES


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_good_bytes_are_read(target: Target) -> None:
    """The first seed of each target is valid and raises nothing."""
    target.read(target.seeds()[0])


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_nearly_good_bytes_raise_what_is_said(target: Target) -> None:
    """Nearly valid bytes raise only the declared errors, and none takes long."""
    for data in islice(mutants(target.seeds(), Random(2)), COUNT):
        begun = time.thread_time()
        target(data)
        assert time.thread_time() - begun < SLOWEST, data[:100]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@settings(max_examples=60)
@given(data=st.binary(max_size=300))
def test_any_bytes_raise_what_is_said(target: Target, data: bytes) -> None:
    """Random bytes raise only the declared errors."""
    target(data)


NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(-1, 20),
}
TEXTS = st.sampled_from(["", "81.2.69.142", "::", "en-GB", "Europe/London", "0" * 32, "\0", "é" * 300]) | st.text(
    max_size=40
)


def filled(message: Message, data: st.DataObject) -> None:
    """Set a random subset of the fields to any value that the wire can carry."""
    for field in message.DESCRIPTOR.fields:
        if not data.draw(st.booleans(), label=field.name):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name).update(data.draw(st.dictionaries(TEXTS, TEXTS, max_size=3)))
        elif field.message_type is not None:
            if field.is_repeated:
                filled(getattr(message, field.name).add(), data)
            else:
                getattr(message, field.name).SetInParent()
                filled(getattr(message, field.name), data)
        else:
            kinds = {FieldDescriptor.TYPE_STRING: TEXTS, FieldDescriptor.TYPE_BYTES: st.binary(max_size=80)}
            values = kinds[field.type] if field.type in kinds else NUMBERS[field.cpp_type]
            if field.is_repeated:
                getattr(message, field.name).extend(data.draw(st.lists(values, max_size=5)))
            else:
                setattr(message, field.name, data.draw(values))


@settings(max_examples=200)
@given(data=st.data())
def test_any_request_is_answered_or_refused_with_an_error(data: st.DataObject) -> None:
    """A request with any field values is answered or refused with an error."""
    request = risk_pb2.AssessRequest()
    filled(request, data)
    TARGETS["requests"](request.SerializeToString())


@settings(max_examples=100)
@given(data=st.data())
def test_any_security_event_is_accepted_or_refused_with_an_error(data: st.DataObject) -> None:
    """A security event with any field values is accepted or refused with an error."""
    request = risk_pb2.RecordSecurityEventRequest()
    filled(request, data)
    TARGETS["events"](request.SerializeToString())


@settings(max_examples=100)
@given(data=st.data())
def test_any_outcome_is_accepted_or_refused_with_an_error(data: st.DataObject) -> None:
    """An outcome with any field values is accepted or refused with an error."""
    request = risk_pb2.RecordOutcomeRequest()
    filled(request, data)
    TARGETS["outcomes"](request.SerializeToString())
