"""What may reveal each class of attack: the groups and numbers in which it may differ from owners, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from riskd.core.features import NAMES

_FRESH: Final = "nobody was seen on the line and the device lately"
_LINE: Final = {
    "sharing": "no account of the service is known on the line",
    **{name: _FRESH for name in NAMES if name.startswith(("address_", "network_", "device_"))},
    "subject_addresses_24h": "the owner may have come from another line on the same day",
    "workforce:motion": "a crowded office has no place, and a line outside it has one",
    "workforce:address_digits": "colleagues share the few addresses of their offices",
}
_HAND: Final = {"typing_deviation": "somebody else types"}
_ELSEWHERE: Final = {
    "familiarity": "another device and another line than the owner's",
    "novelty": "another device and another line than the owner's",
    "motion": "another place than the owner's",
    "workforce:rarity": "most of the staff come through the operators of their offices",
    "workforce:asn_failure_ratio_24h": "another operator than the offices use",
    **_LINE,
    **_HAND,
}
_NO_ASSERTION: Final = "no assertion without the password"
_WRONG: Final = {"credential": "most of the passwords are wrong", "federation": _NO_ASSERTION}
_PHISHED: Final = {
    "credential": "some phished passwords are old, and variants are tried",
    "federation": _NO_ASSERTION,
}
_HIDDEN: Final = {
    "infrastructure": "attempts come through rented addresses",
    "rarity": "few people come through these operators",
    "velocity": "attackers share the few addresses that are rented out",
    "rtt_ms": "a detour takes time",
    "address_digits": "the networks that are rented out are few",
}
_HOME: Final = {
    "consistency": "some keep the clock and the language of home",
    "languages": "some keep the clock and the language of home",
}
_CARELESS: Final = {
    **_HOME,
    **dict.fromkeys(("rarity", "asn_failure_ratio_24h"), "some come out in another country"),
}
_RENTED: Final = {
    "infrastructure": "some come through rented addresses",
    "address_digits": "the networks that are rented out are few",
}
_TOOL: Final = dict.fromkeys(("behaviour", "hand", "has_typing"), "some tools fill in forms, without keys or pointer")
_VARIANTS: Final = dict.fromkeys(
    ("form_failures", "subject_failures_1h", "subject_failures_24h", "subject_attempts_10m", "subject_attempts_24h"),
    "variants of a password are tried, and counted",
)
DEFINED: Final[Mapping[str, Mapping[str, str]]] = {
    "stuffing_naive": {
        **_ELSEWHERE,
        **_WRONG,
        **_HIDDEN,
        **dict.fromkeys(
            ("consistency", "languages"), "clocks and languages are chosen without regard to the addresses"
        ),
        "outside": "the list was leaked, so others have it",
        **dict.fromkeys(
            ("user_agent", "presence", "lengths"), "some attempts are by scripts that say so, and run no page"
        ),
        "order": "attempts come in bursts",
        **_TOOL,
        **_VARIANTS,
    },
    "stuffing_residential": {
        **_ELSEWHERE,
        **_CARELESS,
        **_WRONG,
        "outside": "the list was leaked, so others have it",
        "user_agent": "a campaign has few tools, of which some show one device to all accounts",
        **_TOOL,
        **_VARIANTS,
    },
    "spraying": {
        **_ELSEWHERE,
        **_HOME,
        **_WRONG,
        **_HIDDEN,
        "order": "attempts come in series",
        **_TOOL,
        **_VARIANTS,
    },
    "vpn_in_country": {**_ELSEWHERE, **_HOME, **_HIDDEN, **_PHISHED, **_VARIANTS},
    "targeted": {
        "familiarity": "a device and a line that look like the owner's and are not",
        "novelty": "a device and a line that look like the owner's and are not",
        **_PHISHED,
        **_LINE,
        **_HAND,
        **_VARIANTS,
    },
    "stolen_cookie": {**_ELSEWHERE, **_CARELESS, **_RENTED},
    "recovery_takeover": {
        **_ELSEWHERE,
        **_CARELESS,
        **_RENTED,
        "credential": "who recovers has no password",
        "federation": _NO_ASSERTION,
    },
    "registration_bots": {
        **_CARELESS,
        **_RENTED,
        "velocity": "many accounts from few devices",
        "novelty": "accounts that share a device",
        "familiarity": "accounts that share a device",
        "sharing": "accounts that share a line",
        "order": "attempts come in bursts",
        **_TOOL,
    },
    "machine_key_theft": {
        "familiarity": "another node at another cloud",
        "novelty": "another node at another cloud",
        "motion": "another data centre",
        **_LINE,
        "rarity": "clients and clouds that others use",
        "attestation": "the platform does not vouch for a copy",
    },
}
"""By class, the groups and single numbers that may reveal it, and why. A prefix `domain:` limits one to that domain.
Everything else is audited."""
_PART: Final = {
    "copied_device": "it speaks of devices whose identifier is known, and an unknown one has features of its own",
    "imitated_device": "it speaks of devices that are not known, and of what they share with those that are",
    "shared_accounts": "it speaks of addresses that are known, and an unknown one has features of its own",
    **{
        name: _FRESH
        for name in NAMES
        if name.startswith(("address_", "network_", "device_")) and not name.endswith(("_llr", "_left_out"))
    },
}
_FEW: Final = "few operators rent out exits, and owners come through them, too"
_STAYS: Final = "its exits are in the owner's country always, and owners travel"
_QUIET: Final = "operators abroad are quiet: few owners come through them"
SAFER: Final[Mapping[str, Mapping[str, str]]] = {
    **dict.fromkeys(DEFINED, _PART),
    "stuffing_naive": {**_PART, "vpn": "its servers are rented, and its exits are not"},
    "spraying": {**_PART, "asn_rarity": _FEW},
    "stolen_cookie": {**_PART, "asn_failure_ratio_24h": _QUIET},
    "registration_bots": {**_PART, "asn_failure_ratio_24h": _QUIET},
    "vpn_in_country": {
        **_PART,
        "asn_rarity": _FEW,
        **dict.fromkeys(
            ("address_llr", "new_country", "country_rarity", "distance_last_km", "distance_known_km", "speed_kmh"),
            _STAYS,
        ),
    },
}
"""By class, the directed features whose riskier values may be rarer than among owners, and why."""

JOURNEYS: Final = {
    "stolen_cookie": "session",
    "recovery_takeover": "recovery",
    "registration_bots": "registration",
}
"""The journey that an attack begins with, if it is not a login."""


def is_declared(attack: str, domain: str, name: str, group: str) -> bool:
    """Whether a number of a group, or all of the group, may reveal a class in a domain."""
    return not DEFINED[attack].keys().isdisjoint((group, name, f"{domain}:{group}", f"{domain}:{name}"))
