"""What the feature groups need from histories, computed once for all of them."""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from riskd.core.context import Context, Missing
from riskd.core.history import OLDEST, WEEK, History, counted_since, owners, trusted, units
from riskd.core.tallies import UNCOUNTED, Tallies

RHYTHM: Final = ("hour", "weekday")
SETTLED: Final = 2.0
"""Trusted units from which a value is settled: taught by one proof with a key, or six weaker ones; fewer over weeks."""


FORGOTTEN: Final = -1
"""The beginning of an account of which only later weeks are remembered: no value is as old as that."""


class Past(Struct, frozen=True):
    """What proven sign-ins taught, with regard to one attempt.

    - `account`: the tally of the subject's sign-ins; `total`: their decayed units, 0 at a cold start.
    - `began`: the week of the account's first sign-in, `FORGOTTEN` if earlier ones may have been dropped.
    - `settled`: by table, the units of sign-ins with this attempt's value, 0 if the value is not settled (see
      `standing`). Empty at a cold start.
    - `probation`: by table, the trusted units of a known value that is not settled.
    - `domain`: the tallies of the whole identity domain; `everyone`: its sign-ins in the last half year.
    - `popularity`: by table, how many of these had this attempt's value.
    - `since`: the week in which that half year began.
    - `at_address`, `at_network`: estimated accounts with a proven sign-in from there lately.
    """

    profile: History
    account: list[int]
    total: float
    began: int
    settled: dict[str, float]
    probation: dict[str, float]
    domain: Tallies
    everyone: int
    popularity: dict[str, int]
    since: int
    at_address: float
    at_network: float


def read_past(context: Context) -> Past | None:
    """The `Past` for an attempt; None if the store failed."""
    remembered, now = context.remembered, context.now
    if isinstance(remembered, Missing):
        return None
    since = int(now // WEEK) - OLDEST
    profile, domain = remembered.subject.profile, remembered.domain
    shared = {
        **remembered.popularity,
        "address": remembered.address.profile,
        "network": remembered.network.profile,
        "asn": remembered.asn.profile,
        "device": remembered.device.profile,
        "fingerprint": remembered.fingerprint.profile,
    }
    popularity = {table: counted_since(history.tallies.sign_in, "", since) for table, history in shared.items()}
    account = profile.tallies.account
    total, began = units(account, now), beginning(account, now, context.kept)
    settled, probation = _trust(profile.tallies, context.values, began, total, now) if total else ({}, {})
    everyone = counted_since(domain.tallies.sign_in, "", since)
    at_address, at_network = owners(remembered.address.profile, now), owners(remembered.network.profile, now)
    return Past(
        profile,
        account,
        total,
        began,
        settled,
        probation,
        domain.tallies,
        everyone,
        popularity,
        since,
        at_address,
        at_network,
    )


def _trust(
    tallies: Tallies, values: dict[str, str], began: int, total: float, now: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Compute `settled` and `probation` of a `Past`."""
    found, probation = {}, {}
    for table, value in values.items():
        known = (getattr(tallies, table) or UNCOUNTED).get(value)
        if known is None:
            found[table] = 0.0
        elif not known:
            found[table] = total
        elif table not in RHYTHM:
            own, settled = standing(known, began, now)
            found[table] = own if settled else 0.0
            if not settled:
                probation[table] = own
    return found, probation


def beginning(account: list[int], now: float, kept: float) -> int:
    """The week in which an account with this tally of sign-ins began; `FORGOTTEN` if earlier weeks may have been
    dropped, because the table is full or the profile is `kept` no longer."""
    if not account or account[0] <= int(now // WEEK) - OLDEST + 1 or account[0] <= (now - kept) // WEEK:
        return FORGOTTEN
    return account[0]


def standing(known: list[int], began: int, now: float) -> tuple[float, bool]:
    """The trusted units of a value with the tally `known`, and whether it is settled: regarded as the account's own.

    Values that an account started with are settled at once, as long as its start is remembered; so the first login
    after a registration is nothing new. Later values are on probation until they have `SETTLED` trusted units. Age
    alone does not settle them: a single sign-in by a thief never makes the thief's device the owner's.
    """
    if known[0] <= began:
        own = units(known, now)
        return own, own > 0
    own = trusted(known, now)
    return own, own >= SETTLED


def unseen_for(domain: Tallies, registered: float, now: float, kept: float) -> float:
    """For how many seconds, at least, nobody has signed in to an account of which nothing is remembered: since it was
    `registered`, but no longer than a profile is `kept` and the `domain` has been watched."""
    return max(min(now - max(registered, _watched_since(domain)), kept), 0.0)


def _watched_since(domain: Tallies) -> float:
    """The time since which sign-ins to any account would be remembered; infinite if there is none.

    That is the end of the first week with at least half as many sign-ins as weeks with any have on average: before it,
    there may be stray ones that were reported late, or those of a trial with a few accounts.
    """
    first, *weeks = domain.account or [0]
    active = [n for n in weeks if n > 0]
    if not active:
        return math.inf
    half = sum(active) / (2 * len(active))
    return next((first + at) * WEEK for at, n in enumerate(weeks, 1) if n >= half)
