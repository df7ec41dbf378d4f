import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Release(_message.Message):
    __slots__ = ("release_id", "create_time", "actor", "reason", "models")
    class ModelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    create_time: _timestamp_pb2.Timestamp
    actor: str
    reason: str
    models: _containers.ScalarMap[str, str]
    def __init__(self, release_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., models: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Activation(_message.Message):
    __slots__ = ("number", "active_release_id", "candidate_release_id", "percent", "shadow_release_id", "actor", "reason", "activate_time", "restored_number")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    SHADOW_RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTIVATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RESTORED_NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    active_release_id: str
    candidate_release_id: str
    percent: float
    shadow_release_id: str
    actor: str
    reason: str
    activate_time: _timestamp_pb2.Timestamp
    restored_number: int
    def __init__(self, number: _Optional[int] = ..., active_release_id: _Optional[str] = ..., candidate_release_id: _Optional[str] = ..., percent: _Optional[float] = ..., shadow_release_id: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., activate_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., restored_number: _Optional[int] = ...) -> None: ...

class GetReleaseRequest(_message.Message):
    __slots__ = ("release_id",)
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    def __init__(self, release_id: _Optional[str] = ...) -> None: ...

class GetReleaseResponse(_message.Message):
    __slots__ = ("release",)
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    release: Release
    def __init__(self, release: _Optional[_Union[Release, _Mapping]] = ...) -> None: ...

class ListReleasesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListReleasesResponse(_message.Message):
    __slots__ = ("releases", "next_page_token", "activation")
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    releases: _containers.RepeatedCompositeFieldContainer[Release]
    next_page_token: str
    activation: Activation
    def __init__(self, releases: _Optional[_Iterable[_Union[Release, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., activation: _Optional[_Union[Activation, _Mapping]] = ...) -> None: ...

class ActivateReleaseRequest(_message.Message):
    __slots__ = ("release_id", "percent", "shadow", "actor", "reason")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    percent: float
    shadow: bool
    actor: str
    reason: str
    def __init__(self, release_id: _Optional[str] = ..., percent: _Optional[float] = ..., shadow: _Optional[bool] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ActivateReleaseResponse(_message.Message):
    __slots__ = ("activation", "late_processes")
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    LATE_PROCESSES_FIELD_NUMBER: _ClassVar[int]
    activation: Activation
    late_processes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, activation: _Optional[_Union[Activation, _Mapping]] = ..., late_processes: _Optional[_Iterable[str]] = ...) -> None: ...

class RollbackReleaseRequest(_message.Message):
    __slots__ = ("actor", "reason")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    actor: str
    reason: str
    def __init__(self, actor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RollbackReleaseResponse(_message.Message):
    __slots__ = ("activation", "late_processes")
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    LATE_PROCESSES_FIELD_NUMBER: _ClassVar[int]
    activation: Activation
    late_processes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, activation: _Optional[_Union[Activation, _Mapping]] = ..., late_processes: _Optional[_Iterable[str]] = ...) -> None: ...
