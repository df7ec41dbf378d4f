"""What the groups ask of the past, read once for all of them."""

from __future__ import annotations

from msgspec import Struct

from riskd.core.context import Context, Missing
from riskd.core.history import OLDEST, WEEK, History, Tallies, counted_since, trusted, units

RHYTHM = ("hour", "weekday")


class Past(Struct, frozen=True):
    """What proven sign-ins taught.

    `total` is how many there were of the subject's, decayed; 0 at a cold start, and then `trust` is
    empty. `trust` says by table how well this attempt's value is known of the subject: trusted units,
    and whether it is settled. `everyone` are the sign-ins of the whole identity domain in half a year,
    `popularity` by table those of them that had this attempt's value. `since` is the week half a year ago.
    """

    profile: History
    total: float
    trust: dict[str, tuple[float, bool]]
    domain: Tallies
    everyone: int
    popularity: dict[str, int]
    since: int


STRANGER = (0.0, False)


def recollect(context: Context) -> Past | None:
    """The past of an attempt; None when the store failed."""
    remembered, now = context.remembered, context.now
    if isinstance(remembered, Missing):
        return None
    since = int(now // WEEK) - OLDEST
    profile, domain = remembered.subject.profile, remembered.domain
    popularity = {table: sign_ins(history, since) for table, history in remembered.popularity.items()}
    popularity["address"] = sign_ins(remembered.address.profile, since)
    popularity["network"] = sign_ins(remembered.network.profile, since)
    popularity["asn"] = sign_ins(remembered.asn.profile, since)
    popularity["device"] = sign_ins(remembered.device.profile, since)
    popularity["fingerprint"] = sign_ins(remembered.fingerprint.profile, since)
    account = tally(profile.tallies, "sign_in", "")
    total = units(account, now)
    trust = _trust(profile.tallies, context.values, account, total, now) if account and total > 0 else {}
    return Past(profile, total, trust, domain.tallies, sign_ins(domain, since), popularity, since)


def tally(tallies: Tallies, table: str, value: str) -> list[int] | None:
    """The tally of one value, None when it has none."""
    values = tallies.get(table)
    return values.get(value) if values else None


def sign_ins(history: History, since: int) -> int:
    """Proven sign-ins in a history, those before week `since` left out."""
    values = history.tallies.get("sign_in")
    if not values:
        return 0
    tally = values.get("")
    if tally and tally[0] >= since and (total := sum(tally) - tally[0]) > 0:
        return total
    return counted_since(tally, since)


def _trust(
    tallies: Tallies, values: dict[str, str], account: list[int], total: float, now: float
) -> dict[str, tuple[float, bool]]:
    found = {}
    steady = (total, True)
    for table, value in values.items():
        learned = tallies.get(table)
        known = learned.get(value) if learned else None
        if not known:
            found[table] = STRANGER
        elif known == account:
            found[table] = steady
        else:
            found[table] = STRANGER if table in RHYTHM else standing(known, account, now)
    return found


def standing(known: list[int], account: list[int], now: float) -> tuple[float, bool]:
    """How far a value with this tally is trusted, and whether it is settled.

    What an account began with is its own from the start: the first login after a registration is from
    nowhere new. Later values are on probation until they are two weeks old or worth a whole trusted
    unit: one stolen pass does not settle the thief's device.
    """
    if known[0] <= account[0]:
        own = units(known, now)
        return own, own > 0
    own = trusted(known, now)
    return own, own >= 1 or (own > 0 and known[0] <= int(now // WEEK) - 2)
