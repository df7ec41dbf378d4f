"""Replays the public RBA data set through the engine. The result is a decision log and the truth from its columns.

Country and operator of an address are the data set's own. It has no coordinates, so distance and speed are always 0:
every place gets an uncertainty of half the earth's circumference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from riskd.adapters.decision_log import DECISIONS, UNBOUNDED, FileDecisionLog
from riskd.adapters.null import NullMeter
from riskd.core.address import Address
from riskd.core.assess import Release
from riskd.core.attempt import Attempt, Device, Network, Outcome
from riskd.core.context import Located, Missing, Place, Route
from riskd.core.errors import InvalidAttempt, InvalidFile, Problem
from riskd.offline.importers.event import Event, Row, Skipped, text
from riskd.offline.importers.rba_dataset import read
from riskd.offline.importers.records import open_input
from riskd.offline.truth import FILE, Truth
from riskd.offline.world.run import Engined

TAKEOVER, ATTACKING_ADDRESS = "account_takeover", "attacking_address"
"""The classes of attack that the data set has."""
NOWHERE_KM: Final = 20_040.0
"""Half of the earth's circumference: no two places are further apart."""
_EVERY: Final = 1_000


class Columns:
    """A `GeoLookup` that answers every address from the current row."""

    def __init__(self) -> None:
        self.row: Row = {}

    def locate(self, address: Address, time: float) -> Located:
        """See `GeoLookup`."""
        country, operator = text(self.row, "Country"), text(self.row, "ASN")
        place = Place(country, 0.0, 0.0, NOWHERE_KM) if len(country) == 2 else Missing("place", "not_found")
        route = Route(int(operator)) if operator.isdecimal() else Missing("route", "not_found")
        return place, route, ()

    def offset(self, timezone: str, time: float) -> int | None:
        """See `GeoLookup`."""
        return None


def replay(
    file: Path, release: Release, out: Path, *, domain: str, limit: int | None, progress: Callable[[int], None]
) -> Counter[str]:
    """Assess the rows of the CSV file, at most `limit`, and write `decisions/` and `truth.jsonl` to `out`.

    Returns how many rows were `assessed`, or why not. `progress` is called with the number of bytes read. Rows must be
    in order of time, as published. Raises InvalidFile for a file that cannot be opened or has no row that could be
    assessed.
    """
    geo, now = Columns(), 0.0
    log = FileDecisionLog(out / DECISIONS, 0, NullMeter(), UNBOUNDED, lambda: now)
    service = Engined(release, geo, log, 0)
    counts: Counter[str] = Counter()
    read_so_far = 0
    try:
        with open_input(str(file)) as given, (out / FILE).open("xb") as truth:
            for record in given.records(lines=False):
                if limit is not None and counts.total() >= limit:
                    break
                row = record.row or {}
                event = read(row, "id")
                if isinstance(event, Skipped):
                    counts[event.reason if row else "unreadable"] += 1
                    continue
                geo.row, now = row, max(now, event.time)
                answered = _replayed(service, event, domain, now)
                counts["assessed" if answered else "invalid"] += 1
                if answered:
                    truth.write(msgspec.json.encode(Truth(assessment_id=answered, attack=_attack(row))) + b"\n")
                if counts.total() % _EVERY == 0:
                    progress(given.position - read_so_far)
                    read_so_far = given.position
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise InvalidFile([Problem(str(file), what, "name the CSV file of the data set")]) from error
    finally:
        service.engine.close()
    if not counts["assessed"]:
        raise InvalidFile(
            [Problem(str(file), "has no row that could be assessed", "name the CSV file of the data set")]
        )
    return counts


def _replayed(service: Engined, event: Event, domain: str, now: float) -> str:
    """Assess an event and record its outcome. Returns the assessment's id, or '' if the service would refuse it.

    A person whom the provider let in counts as having passed the requirement.
    """
    attempt = Attempt(
        domain=domain,
        subject=event.subject,
        journey=event.journey,
        credential_result=event.credential_result,
        network=Network(client_ip=event.address, rtt_ms=event.rtt_ms),
        device=Device(user_agent=event.user_agent) if event.user_agent else None,
    )
    try:
        answer = service.assess(attempt, now)
    except InvalidAttempt:
        return ""
    if event.outcome:
        kind = event.outcome
        if kind == "session_established" and not answer.requirement.satisfied:
            kind = "challenge_passed"
        service.record(Outcome(assessment_id=answer.id, kind=kind, time=now), now)
    return answer.id


def _attack(row: Row) -> str:
    def flagged(column: str) -> bool:
        return text(row, column).lower() in ("true", "1")

    return TAKEOVER if flagged("Is Account Takeover") else ATTACKING_ADDRESS if flagged("Is Attack IP") else ""
