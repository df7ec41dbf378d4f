import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IdentityDomain(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IDENTITY_DOMAIN_UNSPECIFIED: _ClassVar[IdentityDomain]
    IDENTITY_DOMAIN_CUSTOMER: _ClassVar[IdentityDomain]
    IDENTITY_DOMAIN_WORKFORCE: _ClassVar[IdentityDomain]
    IDENTITY_DOMAIN_MACHINE: _ClassVar[IdentityDomain]

class Journey(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOURNEY_UNSPECIFIED: _ClassVar[Journey]
    JOURNEY_REGISTRATION: _ClassVar[Journey]
    JOURNEY_LOGIN: _ClassVar[Journey]
    JOURNEY_RECOVERY: _ClassVar[Journey]
    JOURNEY_PROFILE_UPDATE: _ClassVar[Journey]
    JOURNEY_PAYMENT: _ClassVar[Journey]
    JOURNEY_SESSION: _ClassVar[Journey]

class CredentialResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CREDENTIAL_RESULT_UNSPECIFIED: _ClassVar[CredentialResult]
    CREDENTIAL_RESULT_NOT_CHECKED: _ClassVar[CredentialResult]
    CREDENTIAL_RESULT_SUCCEEDED: _ClassVar[CredentialResult]
    CREDENTIAL_RESULT_FAILED: _ClassVar[CredentialResult]

class Attestation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ATTESTATION_UNSPECIFIED: _ClassVar[Attestation]
    ATTESTATION_FAILED: _ClassVar[Attestation]
    ATTESTATION_SOFTWARE: _ClassVar[Attestation]
    ATTESTATION_HARDWARE: _ClassVar[Attestation]

class SessionBinding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_BINDING_UNSPECIFIED: _ClassVar[SessionBinding]
    SESSION_BINDING_FAILED: _ClassVar[SessionBinding]
    SESSION_BINDING_PROVEN: _ClassVar[SessionBinding]

class RiskLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RISK_LEVEL_UNSPECIFIED: _ClassVar[RiskLevel]
    RISK_LEVEL_LOW: _ClassVar[RiskLevel]
    RISK_LEVEL_MEDIUM: _ClassVar[RiskLevel]
    RISK_LEVEL_HIGH: _ClassVar[RiskLevel]

class FederationProtocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEDERATION_PROTOCOL_UNSPECIFIED: _ClassVar[FederationProtocol]
    FEDERATION_PROTOCOL_OIDC: _ClassVar[FederationProtocol]
    FEDERATION_PROTOCOL_SAML: _ClassVar[FederationProtocol]
    FEDERATION_PROTOCOL_OAUTH2: _ClassVar[FederationProtocol]
    FEDERATION_PROTOCOL_SOCIAL: _ClassVar[FederationProtocol]
IDENTITY_DOMAIN_UNSPECIFIED: IdentityDomain
IDENTITY_DOMAIN_CUSTOMER: IdentityDomain
IDENTITY_DOMAIN_WORKFORCE: IdentityDomain
IDENTITY_DOMAIN_MACHINE: IdentityDomain
JOURNEY_UNSPECIFIED: Journey
JOURNEY_REGISTRATION: Journey
JOURNEY_LOGIN: Journey
JOURNEY_RECOVERY: Journey
JOURNEY_PROFILE_UPDATE: Journey
JOURNEY_PAYMENT: Journey
JOURNEY_SESSION: Journey
CREDENTIAL_RESULT_UNSPECIFIED: CredentialResult
CREDENTIAL_RESULT_NOT_CHECKED: CredentialResult
CREDENTIAL_RESULT_SUCCEEDED: CredentialResult
CREDENTIAL_RESULT_FAILED: CredentialResult
ATTESTATION_UNSPECIFIED: Attestation
ATTESTATION_FAILED: Attestation
ATTESTATION_SOFTWARE: Attestation
ATTESTATION_HARDWARE: Attestation
SESSION_BINDING_UNSPECIFIED: SessionBinding
SESSION_BINDING_FAILED: SessionBinding
SESSION_BINDING_PROVEN: SessionBinding
RISK_LEVEL_UNSPECIFIED: RiskLevel
RISK_LEVEL_LOW: RiskLevel
RISK_LEVEL_MEDIUM: RiskLevel
RISK_LEVEL_HIGH: RiskLevel
FEDERATION_PROTOCOL_UNSPECIFIED: FederationProtocol
FEDERATION_PROTOCOL_OIDC: FederationProtocol
FEDERATION_PROTOCOL_SAML: FederationProtocol
FEDERATION_PROTOCOL_OAUTH2: FederationProtocol
FEDERATION_PROTOCOL_SOCIAL: FederationProtocol

class Device(_message.Message):
    __slots__ = ("user_agent", "platform", "mobile", "device_id", "fingerprint", "screen", "languages", "timezone", "attestation")
    USER_AGENT_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    MOBILE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SCREEN_FIELD_NUMBER: _ClassVar[int]
    LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    TIMEZONE_FIELD_NUMBER: _ClassVar[int]
    ATTESTATION_FIELD_NUMBER: _ClassVar[int]
    user_agent: str
    platform: str
    mobile: bool
    device_id: str
    fingerprint: str
    screen: str
    languages: _containers.RepeatedScalarFieldContainer[str]
    timezone: str
    attestation: Attestation
    def __init__(self, user_agent: _Optional[str] = ..., platform: _Optional[str] = ..., mobile: _Optional[bool] = ..., device_id: _Optional[str] = ..., fingerprint: _Optional[str] = ..., screen: _Optional[str] = ..., languages: _Optional[_Iterable[str]] = ..., timezone: _Optional[str] = ..., attestation: _Optional[_Union[Attestation, str]] = ...) -> None: ...

class Network(_message.Message):
    __slots__ = ("client_ip", "forwarded", "ja4", "rtt")
    CLIENT_IP_FIELD_NUMBER: _ClassVar[int]
    FORWARDED_FIELD_NUMBER: _ClassVar[int]
    JA4_FIELD_NUMBER: _ClassVar[int]
    RTT_FIELD_NUMBER: _ClassVar[int]
    client_ip: str
    forwarded: _containers.RepeatedScalarFieldContainer[str]
    ja4: str
    rtt: _duration_pb2.Duration
    def __init__(self, client_ip: _Optional[str] = ..., forwarded: _Optional[_Iterable[str]] = ..., ja4: _Optional[str] = ..., rtt: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReportedPlace(_message.Message):
    __slots__ = ("latitude", "longitude", "accuracy_m")
    LATITUDE_FIELD_NUMBER: _ClassVar[int]
    LONGITUDE_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_M_FIELD_NUMBER: _ClassVar[int]
    latitude: float
    longitude: float
    accuracy_m: float
    def __init__(self, latitude: _Optional[float] = ..., longitude: _Optional[float] = ..., accuracy_m: _Optional[float] = ...) -> None: ...

class Behaviour(_message.Message):
    __slots__ = ("typing_intervals_ms", "pointer_events", "pasted", "form_duration", "form_failures")
    TYPING_INTERVALS_MS_FIELD_NUMBER: _ClassVar[int]
    POINTER_EVENTS_FIELD_NUMBER: _ClassVar[int]
    PASTED_FIELD_NUMBER: _ClassVar[int]
    FORM_DURATION_FIELD_NUMBER: _ClassVar[int]
    FORM_FAILURES_FIELD_NUMBER: _ClassVar[int]
    typing_intervals_ms: _containers.RepeatedScalarFieldContainer[float]
    pointer_events: int
    pasted: bool
    form_duration: _duration_pb2.Duration
    form_failures: int
    def __init__(self, typing_intervals_ms: _Optional[_Iterable[float]] = ..., pointer_events: _Optional[int] = ..., pasted: _Optional[bool] = ..., form_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., form_failures: _Optional[int] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("id", "start_time", "authentication_time", "acr", "amr", "binding")
    ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATION_TIME_FIELD_NUMBER: _ClassVar[int]
    ACR_FIELD_NUMBER: _ClassVar[int]
    AMR_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    id: str
    start_time: _timestamp_pb2.Timestamp
    authentication_time: _timestamp_pb2.Timestamp
    acr: str
    amr: _containers.RepeatedScalarFieldContainer[str]
    binding: SessionBinding
    def __init__(self, id: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., authentication_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., acr: _Optional[str] = ..., amr: _Optional[_Iterable[str]] = ..., binding: _Optional[_Union[SessionBinding, str]] = ...) -> None: ...

class Federation(_message.Message):
    __slots__ = ("issuer", "protocol", "acr", "amr", "authentication_time", "issue_time")
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    ACR_FIELD_NUMBER: _ClassVar[int]
    AMR_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATION_TIME_FIELD_NUMBER: _ClassVar[int]
    ISSUE_TIME_FIELD_NUMBER: _ClassVar[int]
    issuer: str
    protocol: FederationProtocol
    acr: str
    amr: _containers.RepeatedScalarFieldContainer[str]
    authentication_time: _timestamp_pb2.Timestamp
    issue_time: _timestamp_pb2.Timestamp
    def __init__(self, issuer: _Optional[str] = ..., protocol: _Optional[_Union[FederationProtocol, str]] = ..., acr: _Optional[str] = ..., amr: _Optional[_Iterable[str]] = ..., authentication_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., issue_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Outside(_message.Message):
    __slots__ = ("credential_breached", "risk_level")
    CREDENTIAL_BREACHED_FIELD_NUMBER: _ClassVar[int]
    RISK_LEVEL_FIELD_NUMBER: _ClassVar[int]
    credential_breached: bool
    risk_level: RiskLevel
    def __init__(self, credential_breached: _Optional[bool] = ..., risk_level: _Optional[_Union[RiskLevel, str]] = ...) -> None: ...

class Consent(_message.Message):
    __slots__ = ("purposes",)
    PURPOSES_FIELD_NUMBER: _ClassVar[int]
    purposes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, purposes: _Optional[_Iterable[str]] = ...) -> None: ...
