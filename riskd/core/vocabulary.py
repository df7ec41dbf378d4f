"""The vocabularies of log records, as types. Other words show that a record is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from riskd.core import attempt
from riskd.core.history import PROFILE_TABLES
from riskd.core.requirement import Tier

if TYPE_CHECKING:
    Attestation = str
    Binding = str
    Domain = str
    Event = str
    Journey = str
    Level = str
    Outcome = str
    Purpose = str
    Result = str
    Table = str
    TierName = str
    Withheld = str
else:  # a pattern for each would cost half a microsecond per line
    Attestation = Literal[attempt.ATTESTATIONS]
    Binding = Literal[attempt.BINDINGS]
    Domain = Literal[attempt.DOMAINS]
    Event = Literal[attempt.EVENTS]
    Journey = Literal[attempt.JOURNEYS]
    Level = Literal[attempt.RISK_LEVELS[1:]]
    Outcome = Literal[attempt.OUTCOMES]
    Purpose = Literal[attempt.PURPOSES]
    Result = Literal[attempt.CREDENTIAL_RESULTS]
    Table = Literal[tuple(PROFILE_TABLES.keys() - {"sign_in", "typing"})]
    TierName = Literal[tuple(Tier.__members__)]
    Withheld = Literal["", *Tier.__members__]
