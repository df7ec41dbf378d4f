"""The ranges and forms of values in riskd's own records, as types. Other values show that a record is damaged."""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta

Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
Radius = Annotated[float, Meta(ge=0, le=40_075)]
"""Kilometres, up to the circumference of the Earth."""
Metres = Annotated[float, Meta(ge=0, le=20_000_000)]
Milliseconds = Annotated[float, Meta(ge=0, le=600_000)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Offset = Annotated[int, Meta(ge=-1440, le=1440)]
"""Minutes east of UTC."""
Asn = Annotated[int, Meta(ge=0, lt=1 << 32)]
Moment = Annotated[float, Meta(ge=0, le=1e11)]
"""Epoch seconds. The limit excludes epoch milliseconds."""
Share = Annotated[float, Meta(ge=0, le=1)]
Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
"""A feature or a contribution; the limits are far beyond any of them."""
Counted = Annotated[float, Meta(ge=0, le=1e15)]
"""How often something was counted, or estimated."""
WORDS: Final = ("false", "in", "null", "true")
"""Words of the language of conditions (CEL) that cannot be part of a name there."""
ATTRIBUTE: Final = rf"(?!(?:{'|'.join(WORDS)})\b)[a-z][a-z0-9_]{{0,62}}"
"""Matches names of custom attributes."""
CountName = Annotated[str, Meta(pattern=rf"^{ATTRIBUTE}\.[a-z0-9_]{{1,20}}\Z")]
"""A count of a counter, `COUNTER.COUNT`."""
Units = Annotated[int, Meta(ge=0, le=100)]
"""Units that an assessment has taught."""
ID: Final = "[0-9a-f]{32}"
"""An assessment id."""
PSEUDONYM: Final = "[0-9a-f]{32}(?:[0-9a-f]{2})?"
"""A subject's pseudonym, which is one byte longer under an odd number of layers."""
SHORT: Final = "[A-Za-z0-9+/]{8}"
"""A short pseudonym."""
NETWORK: Final = (
    r"(?:(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}0/24"
    "|(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,2})?::/48)"
)
"""A /24 or /48 as `address` writes it."""
Id = Annotated[str, Meta(pattern=rf"^{ID}\Z")]
Pseudonym = Annotated[str, Meta(pattern=rf"^{PSEUDONYM}\Z")]
Short = Annotated[str, Meta(pattern=rf"^{SHORT}\Z")]


def malformed_name(assessment: str, subject: str, network: str, values: dict[str, str]) -> str:
    """Describes the first malformed id, pseudonym or network in an assessment's record; '' if there is none.

    One pattern over all of them takes a quarter of the time that separate patterns in the types would take.
    """
    value = values.get
    if _NAMES(
        f"{assessment} {subject} {network} {value('address')} {value('network')} {value('device', '')} "
        f"{value('fingerprint', '')} {value('agent', '')} {value('issuer', '')} {value('hour', '')} "
        f"{value('weekday', '')}"
    ):
        return ""
    names = (assessment, subject, network, *[value(table, "") for table in _VALUES])
    found = zip(_FORMS.items(), names, strict=True)
    where, name = next((where, name) for (where, form), name in found if not re.fullmatch(form, name))
    return f"{name!r:.40} is malformed - at `$.{where}`"


_VALUES: Final = {
    "address": SHORT,
    "network": SHORT,
    **dict.fromkeys(("device", "fingerprint", "agent", "issuer"), f"(?:{SHORT})?"),
    "hour": "(?:1?[0-9]|2[0-3])?",
    "weekday": "[0-6]?",
}
"""Form of each value, by table, in the order in which `malformed_name` joins them with spaces. No form has a space."""
_FORMS: Final = {
    "id": ID,
    "subject": PSEUDONYM,
    "facts.network": NETWORK,
    **{f"facts.values.{table}": form for table, form in _VALUES.items()},
}
_NAMES: Final = re.compile(" ".join(_FORMS.values())).fullmatch
is_id: Final = re.compile(ID).fullmatch
"""Whether a text is an assessment id."""
