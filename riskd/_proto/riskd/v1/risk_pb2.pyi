import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from riskd._proto.riskd.v1 import assessment_pb2 as _assessment_pb2
from riskd._proto.riskd.v1 import attempt_pb2 as _attempt_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AssessRequest(_message.Message):
    __slots__ = ("request_id", "tenant", "domain", "subject", "journey", "event_time", "credential_result", "device", "network", "place", "behaviour", "session", "federation", "outside", "consent", "attributes", "registration_time")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_RESULT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    BEHAVIOUR_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_FIELD_NUMBER: _ClassVar[int]
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_TIME_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    tenant: str
    domain: _attempt_pb2.IdentityDomain
    subject: str
    journey: _attempt_pb2.Journey
    event_time: _timestamp_pb2.Timestamp
    credential_result: _attempt_pb2.CredentialResult
    device: _attempt_pb2.Device
    network: _attempt_pb2.Network
    place: _attempt_pb2.ReportedPlace
    behaviour: _attempt_pb2.Behaviour
    session: _attempt_pb2.Session
    federation: _attempt_pb2.Federation
    outside: _attempt_pb2.Outside
    consent: _attempt_pb2.Consent
    attributes: _containers.ScalarMap[str, str]
    registration_time: _timestamp_pb2.Timestamp
    def __init__(self, request_id: _Optional[str] = ..., tenant: _Optional[str] = ..., domain: _Optional[_Union[_attempt_pb2.IdentityDomain, str]] = ..., subject: _Optional[str] = ..., journey: _Optional[_Union[_attempt_pb2.Journey, str]] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., credential_result: _Optional[_Union[_attempt_pb2.CredentialResult, str]] = ..., device: _Optional[_Union[_attempt_pb2.Device, _Mapping]] = ..., network: _Optional[_Union[_attempt_pb2.Network, _Mapping]] = ..., place: _Optional[_Union[_attempt_pb2.ReportedPlace, _Mapping]] = ..., behaviour: _Optional[_Union[_attempt_pb2.Behaviour, _Mapping]] = ..., session: _Optional[_Union[_attempt_pb2.Session, _Mapping]] = ..., federation: _Optional[_Union[_attempt_pb2.Federation, _Mapping]] = ..., outside: _Optional[_Union[_attempt_pb2.Outside, _Mapping]] = ..., consent: _Optional[_Union[_attempt_pb2.Consent, _Mapping]] = ..., attributes: _Optional[_Mapping[str, str]] = ..., registration_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AssessResponse(_message.Message):
    __slots__ = ("assessment_id", "score", "level", "requirement", "reasons", "gaps", "coverage", "degraded", "causes", "next_signals", "release", "model", "valid_until_time")
    ASSESSMENT_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    CAUSES_FIELD_NUMBER: _ClassVar[int]
    NEXT_SIGNALS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VALID_UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    assessment_id: str
    score: float
    level: _attempt_pb2.RiskLevel
    requirement: _assessment_pb2.Requirement
    reasons: _containers.RepeatedCompositeFieldContainer[_assessment_pb2.Reason]
    gaps: _containers.RepeatedCompositeFieldContainer[_assessment_pb2.Gap]
    coverage: float
    degraded: bool
    causes: _containers.RepeatedScalarFieldContainer[str]
    next_signals: _containers.RepeatedScalarFieldContainer[str]
    release: str
    model: str
    valid_until_time: _timestamp_pb2.Timestamp
    def __init__(self, assessment_id: _Optional[str] = ..., score: _Optional[float] = ..., level: _Optional[_Union[_attempt_pb2.RiskLevel, str]] = ..., requirement: _Optional[_Union[_assessment_pb2.Requirement, _Mapping]] = ..., reasons: _Optional[_Iterable[_Union[_assessment_pb2.Reason, _Mapping]]] = ..., gaps: _Optional[_Iterable[_Union[_assessment_pb2.Gap, _Mapping]]] = ..., coverage: _Optional[float] = ..., degraded: _Optional[bool] = ..., causes: _Optional[_Iterable[str]] = ..., next_signals: _Optional[_Iterable[str]] = ..., release: _Optional[str] = ..., model: _Optional[str] = ..., valid_until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BatchAssessRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[AssessRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[AssessRequest, _Mapping]]] = ...) -> None: ...

class BatchAssessResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchAssessResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchAssessResult, _Mapping]]] = ...) -> None: ...

class BatchAssessResult(_message.Message):
    __slots__ = ("response", "error")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    response: AssessResponse
    error: _status_pb2.Status
    def __init__(self, response: _Optional[_Union[AssessResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class StreamAssessRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: AssessRequest
    def __init__(self, request: _Optional[_Union[AssessRequest, _Mapping]] = ...) -> None: ...

class StreamAssessResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[StreamAssessResult]
    def __init__(self, results: _Optional[_Iterable[_Union[StreamAssessResult, _Mapping]]] = ...) -> None: ...

class StreamAssessResult(_message.Message):
    __slots__ = ("request_id", "response", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: AssessResponse
    error: _status_pb2.Status
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[AssessResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class RecordOutcomeRequest(_message.Message):
    __slots__ = ("assessment_id", "tenant", "event_time", "challenge", "session_established", "sign_in_abandoned", "confirmed_fraud", "confirmed_legitimate", "recovery")
    ASSESSMENT_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ESTABLISHED_FIELD_NUMBER: _ClassVar[int]
    SIGN_IN_ABANDONED_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FRAUD_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_LEGITIMATE_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_FIELD_NUMBER: _ClassVar[int]
    assessment_id: str
    tenant: str
    event_time: _timestamp_pb2.Timestamp
    challenge: Challenge
    session_established: SessionEstablished
    sign_in_abandoned: SignInAbandoned
    confirmed_fraud: ConfirmedFraud
    confirmed_legitimate: ConfirmedLegitimate
    recovery: Recovery
    def __init__(self, assessment_id: _Optional[str] = ..., tenant: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., challenge: _Optional[_Union[Challenge, _Mapping]] = ..., session_established: _Optional[_Union[SessionEstablished, _Mapping]] = ..., sign_in_abandoned: _Optional[_Union[SignInAbandoned, _Mapping]] = ..., confirmed_fraud: _Optional[_Union[ConfirmedFraud, _Mapping]] = ..., confirmed_legitimate: _Optional[_Union[ConfirmedLegitimate, _Mapping]] = ..., recovery: _Optional[_Union[Recovery, _Mapping]] = ...) -> None: ...

class Challenge(_message.Message):
    __slots__ = ("result", "amr", "duration")
    class Result(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RESULT_UNSPECIFIED: _ClassVar[Challenge.Result]
        RESULT_PASSED: _ClassVar[Challenge.Result]
        RESULT_FAILED: _ClassVar[Challenge.Result]
        RESULT_ABANDONED: _ClassVar[Challenge.Result]
    RESULT_UNSPECIFIED: Challenge.Result
    RESULT_PASSED: Challenge.Result
    RESULT_FAILED: Challenge.Result
    RESULT_ABANDONED: Challenge.Result
    RESULT_FIELD_NUMBER: _ClassVar[int]
    AMR_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    result: Challenge.Result
    amr: _containers.RepeatedScalarFieldContainer[str]
    duration: _duration_pb2.Duration
    def __init__(self, result: _Optional[_Union[Challenge.Result, str]] = ..., amr: _Optional[_Iterable[str]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SessionEstablished(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SignInAbandoned(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConfirmedFraud(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConfirmedLegitimate(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Recovery(_message.Message):
    __slots__ = ("result",)
    class Result(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RESULT_UNSPECIFIED: _ClassVar[Recovery.Result]
        RESULT_COMPLETED: _ClassVar[Recovery.Result]
        RESULT_FAILED: _ClassVar[Recovery.Result]
    RESULT_UNSPECIFIED: Recovery.Result
    RESULT_COMPLETED: Recovery.Result
    RESULT_FAILED: Recovery.Result
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: Recovery.Result
    def __init__(self, result: _Optional[_Union[Recovery.Result, str]] = ...) -> None: ...

class RecordOutcomeResponse(_message.Message):
    __slots__ = ("taught_units",)
    TAUGHT_UNITS_FIELD_NUMBER: _ClassVar[int]
    taught_units: int
    def __init__(self, taught_units: _Optional[int] = ...) -> None: ...

class RecordSecurityEventRequest(_message.Message):
    __slots__ = ("tenant", "domain", "subject", "event_time", "issuer", "risk_level_change", "credential_compromise", "credential_change", "account_disabled", "account_enabled", "recovery_activated", "recovery_information_changed")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    RISK_LEVEL_CHANGE_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_COMPROMISE_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_CHANGE_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_DISABLED_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ENABLED_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_ACTIVATED_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_INFORMATION_CHANGED_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    domain: _attempt_pb2.IdentityDomain
    subject: str
    event_time: _timestamp_pb2.Timestamp
    issuer: str
    risk_level_change: RiskLevelChange
    credential_compromise: CredentialCompromise
    credential_change: CredentialChange
    account_disabled: AccountDisabled
    account_enabled: AccountEnabled
    recovery_activated: RecoveryActivated
    recovery_information_changed: RecoveryInformationChanged
    def __init__(self, tenant: _Optional[str] = ..., domain: _Optional[_Union[_attempt_pb2.IdentityDomain, str]] = ..., subject: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., issuer: _Optional[str] = ..., risk_level_change: _Optional[_Union[RiskLevelChange, _Mapping]] = ..., credential_compromise: _Optional[_Union[CredentialCompromise, _Mapping]] = ..., credential_change: _Optional[_Union[CredentialChange, _Mapping]] = ..., account_disabled: _Optional[_Union[AccountDisabled, _Mapping]] = ..., account_enabled: _Optional[_Union[AccountEnabled, _Mapping]] = ..., recovery_activated: _Optional[_Union[RecoveryActivated, _Mapping]] = ..., recovery_information_changed: _Optional[_Union[RecoveryInformationChanged, _Mapping]] = ...) -> None: ...

class RiskLevelChange(_message.Message):
    __slots__ = ("current_level",)
    CURRENT_LEVEL_FIELD_NUMBER: _ClassVar[int]
    current_level: _attempt_pb2.RiskLevel
    def __init__(self, current_level: _Optional[_Union[_attempt_pb2.RiskLevel, str]] = ...) -> None: ...

class CredentialCompromise(_message.Message):
    __slots__ = ("credential_type",)
    CREDENTIAL_TYPE_FIELD_NUMBER: _ClassVar[int]
    credential_type: str
    def __init__(self, credential_type: _Optional[str] = ...) -> None: ...

class CredentialChange(_message.Message):
    __slots__ = ("credential_type",)
    CREDENTIAL_TYPE_FIELD_NUMBER: _ClassVar[int]
    credential_type: str
    def __init__(self, credential_type: _Optional[str] = ...) -> None: ...

class AccountDisabled(_message.Message):
    __slots__ = ("hijacked",)
    HIJACKED_FIELD_NUMBER: _ClassVar[int]
    hijacked: bool
    def __init__(self, hijacked: _Optional[bool] = ...) -> None: ...

class AccountEnabled(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RecoveryActivated(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RecoveryInformationChanged(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RecordSecurityEventResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
