"""The assumptions of the world: one table, each number with its unit, range and source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random
from typing import Final

from msgspec import Struct

ASSUMED: Final = "assumption"
_RBA: Final = "RBA dataset (Wiefling et al., TOPS 2022), full scans"
_FROM_RBA: Final = "assumption; the least is that of the RBA dataset, where half of those who come do so twice"
_CHALLENGES: Final = "Doerfler et al., WWW 2019"
_FPSTALKER: Final = "FP-Stalker (Vastel et al., S&P 2018) could link fingerprints for so long"
_ORIGINS: Final = "Cequence: 8 of 9 million addresses of an attack; RBA dataset: 12 % of takeovers"


class Assumption(Struct, frozen=True):
    """One number. `--vary` draws it between `low` and `high`: uniformly, or log-uniformly if they differ by more than a
    factor of 4."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    what: str
    source: str = ASSUMED


Values = Mapping[str, float]
"""The value of every assumption, by name."""

_P, _DAYS = "probability", "days"

TABLE: Final = (
    # Who, and how often.
    Assumption("share_customer", 0.96, 0.94, 0.965, "share", "of the users are customers"),
    Assumption("share_workforce", 0.03, 0.02, 0.034, "share", "of the users are staff; the rest are machines"),
    Assumption("newcomers", 0.2, 0.1, 0.4, "share", "of customers who register during the simulation"),
    Assumption("visits_median", 6.0, 1.0, 24.0, "per year", "visits of the median customer", _FROM_RBA),
    Assumption("visits_spread", 1.3, 1.15, 1.45, "of ln", "deviation between customers: p90 9 and p99 28 visits", _RBA),
    Assumption("staff_visits", 1.5, 1.0, 2.5, "per working day", "visits of a member of staff"),
    Assumption("favourite_hours", 0.6, 0.3, 0.8, _P, "a visit falls near one of two favourite hours"),
    # Where from.
    Assumption("together", 0.5, 0.2, 0.7, _P, "a customer has the line of one home with up to three others"),
    Assumption("common", 0.4, 0.1, 0.6, _P, "those who live together have a computer or tablet that all use"),
    Assumption("move_days", 21, 10, 60, _DAYS, "between changes of a home's address by its operator"),
    Assumption("same_network", 0.6, 0.3, 0.8, _P, "the new address is in the home's usual /24"),
    Assumption("mobile_share", 0.3, 0.15, 0.5, _P, "a visit on a telephone comes through the carrier"),
    Assumption("gateways", 6, 3, 12, "addresses", "of a carrier's gateway that one subscriber uses"),
    Assumption("trips", 0.5, 0.1, 1.2, "per 90 days", "trips of a person"),
    Assumption("trip_days", 5, 2, 10, _DAYS, "away on average, after the first half day"),
    Assumption("abroad", 0.6, 0.3, 0.8, _P, "a trip goes to another country"),
    Assumption("vpn_users", 0.06, 0.02, 0.12, "share", "of people who have a VPN"),
    Assumption("vpn_on", 0.6, 0.3, 0.9, _P, "a VPN user's visit comes through it"),
    Assumption("relay_users", 0.08, 0.03, 0.15, "share", "of people who have a privacy relay on"),
    Assumption("office_share", 0.6, 0.3, 0.8, _P, "a visit of staff comes from the office"),
    Assumption("egress_share", 0.5, 0.2, 0.8, _P, "a visit of staff from elsewhere comes through the company's VPN"),
    # With what.
    Assumption("phone", 0.9, 0.8, 0.97, "share", "of people who use a telephone"),
    Assumption("iphones", 0.58, 0.4, 0.7, "share", "of telephones: 34 % of sign-ins, and Android 25 %", _RBA),
    Assumption("computer", 0.8, 0.6, 0.9, "share", "of people who use a computer"),
    Assumption("tablet", 0.08, 0.03, 0.15, "share", "of people who use a tablet"),
    Assumption("device_days", 900, 500, 1200, _DAYS, "that a device is used"),
    Assumption("browser_days", 28, 21, 42, _DAYS, "between versions of a browser; Safari shows the same one always"),
    Assumption("fingerprint_days", 54.5, 20, 100, _DAYS, "between changes of a fingerprint, on average", _FPSTALKER),
    Assumption("cookie_days", 150, 60, 300, _DAYS, "between two clearings of cookies"),
    Assumption("docks", 0.25, 0.1, 0.4, "share", "of computers that are connected to another screen on some days"),
    Assumption("docked", 0.4, 0.2, 0.7, _P, "it is one of those days"),
    Assumption(
        "private", 0.03, 0.01, 0.08, _P, "a sign-in is in a private window: no device identifier, no session left"
    ),
    Assumption("english", 0.12, 0.05, 0.3, _P, "a device has English as its first language, wherever it is"),
    # What is sent.
    Assumption("sends_rtt", 0.9, 0.5, 1.0, _P, "an attempt has a round-trip time"),
    Assumption("sends_behaviour", 0.9, 0.5, 1.0, _P, "an attempt has behaviour"),
    Assumption("sends_fingerprint", 0.95, 0.7, 1.0, _P, "an attempt has a fingerprint"),
    Assumption("sends_place", 0.12, 0.0, 0.3, _P, "an attempt on a telephone has coordinates"),
    Assumption("sends_attestation", 0.25, 0.0, 0.5, _P, "a telephone has the app, which is attested"),
    Assumption("sends_breach", 0.5, 0.0, 1.0, _P, "the password was looked up in a breach corpus"),
    Assumption("sends_forwarded", 0.05, 0.0, 0.2, _P, "there is a proxy before the service"),
    Assumption("withholds", 0.1, 0.02, 0.3, "share", "of people who grant only some purposes"),
    # What happens.
    Assumption("typo", 0.2, 0.1, 0.3, _P, "a password is mistyped: 78 % of tries by accounts succeed", _RBA),
    Assumption("forgotten", 0.015, 0.005, 0.04, _P, "a sign-in becomes a recovery"),
    Assumption("resumed", 0.3, 0.1, 0.5, _P, "a visit continues a session instead of signing in"),
    Assumption("session_days", 60, 20, 90, _DAYS, "that a session can be continued"),
    Assumption("pays", 0.12, 0.03, 0.3, _P, "a visit of a customer leads to a payment"),
    Assumption("updates", 0.015, 0.005, 0.05, _P, "a visit leads to a change of profile"),
    Assumption("manager", 0.35, 0.15, 0.6, "share", "of people whose password manager pastes"),
    Assumption("assistive", 0.03, 0.01, 0.08, "share", "of people with a screen reader or a switch"),
    Assumption("breached", 0.04, 0.01, 0.1, _P, "a password is in a breach corpus; of leaked lists 40 %"),
    # Who passes what, and what is told.
    Assumption("owner_step_up", 0.95, 0.88, 0.98, _P, "the owner passes a code: 97 % get in soon", _CHALLENGES),
    Assumption("owner_resistant", 0.8, 0.5, 0.95, _P, "a customer passes a passkey challenge"),
    Assumption("owner_hardware", 0.4, 0.1, 0.7, _P, "a customer passes a hardware key challenge"),
    Assumption("owner_proof", 0.45, 0.2, 0.7, _P, "an owner goes through an identity proof"),
    Assumption("staff_keys", 0.97, 0.9, 0.99, _P, "a member of staff passes any challenge short of a proof"),
    Assumption("machine_keys", 0.9, 0.7, 1.0, "share", "of machines that can prove possession of a key"),
    Assumption("abandons", 0.5, 0.2, 0.8, _P, "somebody who does not pass a challenge abandons it"),
    Assumption("phished_code", 0.04, 0.01, 0.1, _P, "a bulk phisher passes a code: stopped in 96 %", _CHALLENGES),
    Assumption("targeted_code", 0.24, 0.1, 0.5, _P, "a targeted attacker passes a code: stopped in 76 %", _CHALLENGES),
    Assumption("mailbox_code", 0.85, 0.5, 1.0, _P, "an attacker with the mailbox passes a recovery's code"),
    Assumption("forged_proof", 0.05, 0.01, 0.15, _P, "an attacker passes an identity proof"),
    Assumption("stolen_key", 0.3, 0.1, 0.6, _P, "a thief of a machine's secret has its private key too"),
    Assumption("list_right", 0.02, 0.005, 0.05, _P, "a raw list has the right password"),
    Assumption("checked_right", 0.3, 0.1, 0.6, _P, "a list sold as checked has the right password"),
    Assumption("spray_right", 0.01, 0.003, 0.03, _P, "a common password is right"),
    Assumption("phished_right", 0.8, 0.6, 0.95, _P, "a phished password is still right"),
    Assumption("variants", 0.25, 0.1, 0.4, _P, "an attacker tries one more variant of a password in the same form"),
    Assumption("matched", 0.5, 0.22, 0.88, _P, "an attacker's address is in the country of the victim", _ORIGINS),
    Assumption("disguised", 0.5, 0.2, 0.8, _P, "an attacker's clock, language and reported place fit the address"),
    Assumption("rented", 0.25, 0.1, 0.5, _P, "a thief of sessions or mailboxes, or a bot, uses a VPN or a server"),
    Assumption("nobody", 1.5, 0.3, 4.0, "per try", "tries of accounts that do not exist: 45 % of all tries", _RBA),
    Assumption("reported", 0.7, 0.4, 0.9, _P, "a takeover is reported"),
    Assumption("report_days", 5, 1, 15, _DAYS, "until it is, on average"),
    Assumption("complains", 0.15, 0.05, 0.4, _P, "an owner who was shut out is confirmed by a person"),
    Assumption("misnamed", 0.03, 0.01, 0.08, _P, "a sign-in begins with a try of an account that does not exist"),
    Assumption(
        "imitates", 0.5, 0.2, 0.8, _P, "a campaign's tool types and points as people do; others fill in the form"
    ),
    Assumption("rotates", 0.6, 0.3, 0.9, _P, "a tool of a list shows another device for each account"),
    Assumption("returns", 0.3, 0.1, 0.6, _P, "an attacker who can sign in comes the next time, too"),
)
"""Every assumption, in the order in which `riskd simulate --assumptions` prints them."""
DEFAULTS: Final[Values] = {each.name: each.value for each in TABLE}


def varied(seed: int) -> Values:
    """The numbers of another world, each drawn from its range."""
    random = Random(f"assumptions {seed}")
    return {each.name: _drawn(each, random.random()) for each in TABLE}


def _drawn(one: Assumption, at: float) -> float:
    if one.low > 0 and one.high / one.low > 4:
        return round(math.exp(math.log(one.low) + at * math.log(one.high / one.low)), 6)
    return round(one.low + at * (one.high - one.low), 6)
