import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from riskd._proto.riskd.v1 import attempt_pb2 as _attempt_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetSubjectSummaryRequest(_message.Message):
    __slots__ = ("tenant", "domain", "subject")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    domain: _attempt_pb2.IdentityDomain
    subject: str
    def __init__(self, tenant: _Optional[str] = ..., domain: _Optional[_Union[_attempt_pb2.IdentityDomain, str]] = ..., subject: _Optional[str] = ...) -> None: ...

class GetSubjectSummaryResponse(_message.Message):
    __slots__ = ("known_since_time", "last_sign_in_time", "taught_units", "attempt_count", "failure_count", "seen_values", "sensitive_steps", "open_receipts")
    KNOWN_SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_SIGN_IN_TIME_FIELD_NUMBER: _ClassVar[int]
    TAUGHT_UNITS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SEEN_VALUES_FIELD_NUMBER: _ClassVar[int]
    SENSITIVE_STEPS_FIELD_NUMBER: _ClassVar[int]
    OPEN_RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    known_since_time: _timestamp_pb2.Timestamp
    last_sign_in_time: _timestamp_pb2.Timestamp
    taught_units: int
    attempt_count: float
    failure_count: float
    seen_values: _containers.RepeatedCompositeFieldContainer[SeenValue]
    sensitive_steps: _containers.RepeatedCompositeFieldContainer[SensitiveStep]
    open_receipts: _containers.RepeatedCompositeFieldContainer[OpenReceipt]
    def __init__(self, known_since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_sign_in_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., taught_units: _Optional[int] = ..., attempt_count: _Optional[float] = ..., failure_count: _Optional[float] = ..., seen_values: _Optional[_Iterable[_Union[SeenValue, _Mapping]]] = ..., sensitive_steps: _Optional[_Iterable[_Union[SensitiveStep, _Mapping]]] = ..., open_receipts: _Optional[_Iterable[_Union[OpenReceipt, _Mapping]]] = ...) -> None: ...

class SeenValue(_message.Message):
    __slots__ = ("table", "value", "first_week_time", "last_week_time", "taught_units", "trust")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FIRST_WEEK_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_WEEK_TIME_FIELD_NUMBER: _ClassVar[int]
    TAUGHT_UNITS_FIELD_NUMBER: _ClassVar[int]
    TRUST_FIELD_NUMBER: _ClassVar[int]
    table: str
    value: str
    first_week_time: _timestamp_pb2.Timestamp
    last_week_time: _timestamp_pb2.Timestamp
    taught_units: int
    trust: float
    def __init__(self, table: _Optional[str] = ..., value: _Optional[str] = ..., first_week_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_week_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., taught_units: _Optional[int] = ..., trust: _Optional[float] = ...) -> None: ...

class SensitiveStep(_message.Message):
    __slots__ = ("kind", "event_time")
    KIND_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    event_time: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class OpenReceipt(_message.Message):
    __slots__ = ("event_time", "journey", "tier", "taught_units", "outcomes", "expire_time", "assessment_id")
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    TAUGHT_UNITS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    ASSESSMENT_ID_FIELD_NUMBER: _ClassVar[int]
    event_time: _timestamp_pb2.Timestamp
    journey: str
    tier: str
    taught_units: int
    outcomes: _containers.RepeatedScalarFieldContainer[str]
    expire_time: _timestamp_pb2.Timestamp
    assessment_id: str
    def __init__(self, event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., journey: _Optional[str] = ..., tier: _Optional[str] = ..., taught_units: _Optional[int] = ..., outcomes: _Optional[_Iterable[str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., assessment_id: _Optional[str] = ...) -> None: ...

class ExportSubjectRequest(_message.Message):
    __slots__ = ("tenant", "domain", "subject", "page_size", "page_token")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    domain: _attempt_pb2.IdentityDomain
    subject: str
    page_size: int
    page_token: str
    def __init__(self, tenant: _Optional[str] = ..., domain: _Optional[_Union[_attempt_pb2.IdentityDomain, str]] = ..., subject: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ExportSubjectResponse(_message.Message):
    __slots__ = ("records", "next_page_token")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[SubjectRecord]
    next_page_token: str
    def __init__(self, records: _Optional[_Iterable[_Union[SubjectRecord, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class SubjectRecord(_message.Message):
    __slots__ = ("kind", "key", "expire_time", "json")
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    kind: str
    key: str
    expire_time: _timestamp_pb2.Timestamp
    json: str
    def __init__(self, kind: _Optional[str] = ..., key: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., json: _Optional[str] = ...) -> None: ...

class EraseSubjectRequest(_message.Message):
    __slots__ = ("tenant", "domain", "subject")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    domain: _attempt_pb2.IdentityDomain
    subject: str
    def __init__(self, tenant: _Optional[str] = ..., domain: _Optional[_Union[_attempt_pb2.IdentityDomain, str]] = ..., subject: _Optional[str] = ...) -> None: ...

class EraseSubjectResponse(_message.Message):
    __slots__ = ("erased_records", "log_erase_time")
    class ErasedRecordsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ERASED_RECORDS_FIELD_NUMBER: _ClassVar[int]
    LOG_ERASE_TIME_FIELD_NUMBER: _ClassVar[int]
    erased_records: _containers.ScalarMap[str, int]
    log_erase_time: _timestamp_pb2.Timestamp
    def __init__(self, erased_records: _Optional[_Mapping[str, int]] = ..., log_erase_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
