import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIER_UNSPECIFIED: _ClassVar[Tier]
    TIER_BASELINE: _ClassVar[Tier]
    TIER_STEP_UP: _ClassVar[Tier]
    TIER_PHISHING_RESISTANT: _ClassVar[Tier]
    TIER_HARDWARE_BOUND: _ClassVar[Tier]
    TIER_IDENTITY_PROOF: _ClassVar[Tier]
    TIER_DENY: _ClassVar[Tier]
TIER_UNSPECIFIED: Tier
TIER_BASELINE: Tier
TIER_STEP_UP: Tier
TIER_PHISHING_RESISTANT: Tier
TIER_HARDWARE_BOUND: Tier
TIER_IDENTITY_PROOF: Tier
TIER_DENY: Tier

class Requirement(_message.Message):
    __slots__ = ("tier", "aal", "acr_values", "max_age", "amr", "satisfied")
    TIER_FIELD_NUMBER: _ClassVar[int]
    AAL_FIELD_NUMBER: _ClassVar[int]
    ACR_VALUES_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    AMR_FIELD_NUMBER: _ClassVar[int]
    SATISFIED_FIELD_NUMBER: _ClassVar[int]
    tier: Tier
    aal: int
    acr_values: _containers.RepeatedScalarFieldContainer[str]
    max_age: _duration_pb2.Duration
    amr: _containers.RepeatedCompositeFieldContainer[AmrCombination]
    satisfied: bool
    def __init__(self, tier: _Optional[_Union[Tier, str]] = ..., aal: _Optional[int] = ..., acr_values: _Optional[_Iterable[str]] = ..., max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., amr: _Optional[_Iterable[_Union[AmrCombination, _Mapping]]] = ..., satisfied: _Optional[bool] = ...) -> None: ...

class AmrCombination(_message.Message):
    __slots__ = ("methods",)
    METHODS_FIELD_NUMBER: _ClassVar[int]
    methods: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, methods: _Optional[_Iterable[str]] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("code", "contribution", "text")
    CODE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    code: str
    contribution: float
    text: str
    def __init__(self, code: _Optional[str] = ..., contribution: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("source", "why")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    source: str
    why: str
    def __init__(self, source: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...
