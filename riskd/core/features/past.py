"""What the groups ask of the past, read once for all of them."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from riskd.core.context import Context, Missing
from riskd.core.history import OLDEST, WEEK, History, counted_since, owners, trusted, units
from riskd.core.tallies import UNCOUNTED, Tallies

RHYTHM = ("hour", "weekday")
SETTLED: Final = 2.0
"""Trusted units from which a value is the subject's own: one pass with a key, or six weaker ones, fewer over weeks."""


class Past(Struct, frozen=True):
    """What proven sign-ins taught.

    `account` is the tally of the subject's own, `total` how many those are, decayed; 0 at a cold start, and then
    `settled` is empty. `settled` are by table the units of them that had this attempt's value, 0 unless it is
    settled; `probation` the trusted units of a value that is not. `everyone` are the sign-ins of the whole
    identity domain in half a year, `popularity` by table those of them that had this attempt's value. `since`
    is the week in which that half-year began. `at_address` and `at_network` are how many accounts were proven to
    come from there lately.
    """

    profile: History
    account: list[int]
    total: float
    settled: dict[str, float]
    probation: dict[str, float]
    domain: Tallies
    everyone: int
    popularity: dict[str, int]
    since: int
    at_address: float
    at_network: float


def recollect(context: Context) -> Past | None:
    """The past of an attempt; None when the store failed."""
    remembered, now = context.remembered, context.now
    if isinstance(remembered, Missing):
        return None
    since = int(now // WEEK) - OLDEST
    profile, domain = remembered.subject.profile, remembered.domain
    popularity = {table: _sign_ins(history, since) for table, history in remembered.popularity.items()}
    popularity["address"] = _sign_ins(remembered.address.profile, since)
    popularity["network"] = _sign_ins(remembered.network.profile, since)
    popularity["asn"] = _sign_ins(remembered.asn.profile, since)
    popularity["device"] = _sign_ins(remembered.device.profile, since)
    popularity["fingerprint"] = _sign_ins(remembered.fingerprint.profile, since)
    account = profile.tallies.account
    total = units(account, now)
    settled, probation = _trust(profile.tallies, context.values, account, total, now) if total else ({}, {})
    everyone = _sign_ins(domain, since)
    at_address, at_network = owners(remembered.address.profile, now), owners(remembered.network.profile, now)
    return Past(
        profile, account, total, settled, probation, domain.tallies, everyone, popularity, since, at_address, at_network
    )


def _sign_ins(history: History, since: int) -> int:
    counted = history.tallies.sign_in
    return counted_since(counted.get(""), since) if counted else 0


def _trust(
    tallies: Tallies, values: dict[str, str], account: list[int], total: float, now: float
) -> tuple[dict[str, float], dict[str, float]]:
    """`settled` and `probation` of a `Past`."""
    found, probation = {}, {}
    for table, value in values.items():
        known = (getattr(tallies, table) or UNCOUNTED).get(value)
        if known is None:
            found[table] = 0.0
        elif not known:
            found[table] = total
        elif table not in RHYTHM:
            own, settled = standing(known, account, now)
            found[table] = own if settled else 0.0
            if not settled:
                probation[table] = own
    return found, probation


def standing(known: list[int], account: list[int], now: float) -> tuple[float, bool]:
    """How far a value with this tally is trusted, and whether it is settled.

    What an account began with is its own from the start, as long as its start is remembered: the first login
    after a registration is from nowhere new. Later values are on probation until they are worth `SETTLED`. Age
    alone does not settle them: one stolen pass never makes the thief's device the owner's.
    """
    if known[0] <= account[0] > int(now // WEEK) - OLDEST + 1:
        own = units(known, now)
        return own, own > 0
    own = trusted(known, now)
    return own, own >= SETTLED
