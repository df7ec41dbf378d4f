"""Translates riskd's terms to OCSF's: for each, the enumeration's number and its caption."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from riskd.offline.siem.schema import OTHER, Attack, Technique

Word = tuple[int, str]
"""A number of an enumeration, and its caption."""

AUTHENTICATION: Final = 3002
FINDING: Final = 2004
STEP: Final[Word] = (6, "Preauth")
END: Final[Word] = (1, "Logon")
JOURNEYS: Final = {
    "registration": "Registration",
    "recovery": "Recovery",
    "profile_update": "Profile Update",
    "payment": "Payment",
    "session": "Session",
}
"""Activities without a number in OCSF. A login is `STEP` until its sign-in reaches its `END`."""
SUCCESS: Final[Word] = (1, "Success")
FAILURE: Final[Word] = (2, "Failure")
CHALLENGED: Final[Word] = (OTHER, "Challenged")
ABANDONED: Final[Word] = (OTHER, "Abandoned")


class Level(Struct, frozen=True):
    """The OCSF risk level and severity for a risk level."""

    risk: Word
    severity: Word


LEVELS: Final = {
    "low": Level((1, "Low"), (1, "Informational")),
    "medium": Level((2, "Medium"), (2, "Low")),
    "high": Level((3, "High"), (3, "Medium")),
}


class Control(Struct, frozen=True):
    """What riskd did: action and disposition."""

    action: Word
    disposition: Word


ALLOWED: Final = Control((1, "Allowed"), (1, "Allowed"))
DENIED: Final = Control((2, "Denied"), (2, "Blocked"))
OBSERVED: Final = Control((3, "Observed"), (15, "Detected"))
REFUSED: Final = Control((3, "Observed"), (16, "No Action"))
"""A wrong credential: the caller refuses it, and nobody is challenged."""
EXONERATED: Final[Word] = (10, "Exonerated")


_BRUTE_FORCE: Final = Technique("T1110", "Brute Force")
_GUESSING: Final = Attack(_BRUTE_FORCE, Technique("T1110.001", "Password Guessing"))
_SPRAYING: Final = Attack(_BRUTE_FORCE, Technique("T1110.003", "Password Spraying"))
_STUFFING: Final = Attack(_BRUTE_FORCE, Technique("T1110.004", "Credential Stuffing"))
_PROMPTS: Final = Attack(Technique("T1621", "Multi-Factor Authentication Request Generation"))
_SESSION: Final = Attack(Technique("T1550", "Use Alternate Authentication Material"))
_COOKIE: Final = Attack(_SESSION.technique, Technique("T1550.004", "Web Session Cookie"))
TAKEN_OVER: Final = Attack(Technique("T1078", "Valid Accounts"))
ATTACKS: Final[dict[str, tuple[Attack, ...]]] = {
    "CREDENTIAL_STUFFING": (_STUFFING, _SPRAYING),
    "PASSWORD_GUESSING": (_GUESSING,),
    "SECRET_GUESSING": (_GUESSING,),
    "PUSH_HARASSMENT": (_PROMPTS,),
    "CHALLENGES_UNMET": (_PROMPTS,),
    "SESSION_MOVED": (_COOKIE,),
    "SESSION_BINDING_FAILED": (_SESSION,),
    "SENSITIVE_SEQUENCE": (Attack(Technique("T1098", "Account Manipulation")),),
    "MACHINE_MOVED": (TAKEN_OVER,),
}
"""By reason, the techniques of MITRE ATT&CK for Enterprise that it is a sign of. Other reasons only say that something
is unusual."""


class Meaning(Struct, frozen=True):
    """The OCSF status for an outcome. `end`: it ends a sign-in; others are steps of it."""

    status: Word
    end: bool = False


OUTCOMES: Final = {
    "challenge_passed": Meaning(SUCCESS),
    "challenge_failed": Meaning(FAILURE),
    "challenge_abandoned": Meaning(ABANDONED),
    "session_established": Meaning(SUCCESS, end=True),
    "sign_in_abandoned": Meaning(ABANDONED, end=True),
    "confirmed_legitimate": Meaning((OTHER, "Confirmed Legitimate")),
    "recovery_completed": Meaning(SUCCESS),
    "recovery_failed": Meaning(FAILURE),
}
"""Every outcome except `confirmed_fraud`, which is a finding."""
FRAUD: Final = "confirmed_fraud"
LEGITIMATE: Final = "confirmed_legitimate"
FACTORS: Final[dict[str, Word]] = {
    "sms": (1, "SMS"),
    "kba": (2, "Security Question"),
    "tel": (3, "Phone Call"),
    **dict.fromkeys(("face", "fpt", "iris", "retina", "vbm"), (4, "Biometric")),
    "otp": (7, "OTP"),
    "pwd": (11, "Password"),
    **{method: (OTHER, method) for method in ("hwk", "pin", "pop", "sc", "swk", "wia")},
}
"""Methods of RFC 8176. A key (`hwk`, `swk`) may be a WebAuthn key or another. Methods that are not listed name no
factor: they say only that there were several (`mfa`, `mca`), or are none (`geo`, `rba`, `user`)."""
PROTOCOLS: Final[dict[str, Word]] = {"oidc": (4, "OpenID"), "saml": (5, "SAML"), "oauth2": (6, "OAUTH 2.0")}
DEVICES: Final = {"desktop": (2, "Desktop"), "tablet": (4, "Tablet"), "mobile": (5, "Mobile")}
SYSTEMS: Final[dict[str, Word]] = {
    "Windows": (100, "Windows"),
    **dict.fromkeys(("Linux", "Ubuntu", "Debian", "Fedora", "Red Hat", "CentOS", "SUSE", "Gentoo"), (200, "Linux")),
    "Windows Phone": (101, "Windows Mobile"),
    "Android": (201, "Android"),
    "Mac OS X": (300, "macOS"),
    "iOS": (301, "iOS"),
    "Solaris": (400, "Solaris"),
}
"""By the names that parsed user agents use."""
