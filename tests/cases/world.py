"""The world of the golden cases: builds attempts, and histories to judge them by, from a case's few words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from riskd.adapters.memory import MemoryStore
from riskd.adapters.user_agent import AgentParser
from riskd.core import learn, signals
from riskd.core.address import Address, parse
from riskd.core.assess import Decision, Release, assess
from riskd.core.attempt import Attempt
from riskd.core.context import Agent, Context, Missing, Place, Route
from riskd.core.pseudonym import Keys, Pseudonyms
from riskd.core.recall import recall, wanted

NOW = 1_800_007_200.0
"""Friday 2027-01-15, 10:00 UTC."""
HERE = Path(__file__).parent
WORLD = yaml.safe_load((HERE / "world.yaml").read_text(encoding="utf-8"))
PSEUDONYMS = Pseudonyms(b"pepper of the golden cases")
AGENTS = AgentParser()
OFFSETS = {"Europe/London": 0, "Europe/Madrid": 60, "Asia/Kolkata": 330}


class TableGeo:
    """Geo facts out of the world file; `absent` maps place or route to the reason why it is missing."""

    def __init__(self, absent: dict[str, str]) -> None:
        self._absent = absent
        self._known = {_canonical(entry["ip"]): entry for entry in WORLD["from"].values() if "route" in entry}

    def locate(self, address: Address, time: float) -> tuple[Place | Missing, Route | Missing]:
        """As the geo databases would: unroutable addresses are nowhere."""
        place = self._fact("place", address, Place)
        route = self._fact("route", address, Route)
        assert not isinstance(place, Route)
        assert not isinstance(route, Place)
        return place, route

    def _fact(self, source: str, address: Address, kind: type[Place] | type[Route]) -> Place | Route | Missing:
        if source in self._absent:
            return Missing(source, self._absent[source])
        if not address.routable:
            return Missing(source, "unroutable")
        entry = self._known.get(address.text, {})
        return msgspec.convert(entry[source], kind) if source in entry else Missing(source, "not_found")

    def offset(self, timezone: str, time: float) -> int | None:
        """Minutes east of UTC in January."""
        return OFFSETS.get(timezone)


def _canonical(ip: str) -> str:
    address = parse(ip)
    assert address is not None, ip
    return address.text


def attempt(words: dict[str, Any]) -> Attempt:
    """An attempt from `who`, `with`, `from` and any field of `Attempt` besides."""
    fields = dict(words)
    fields |= WORLD["who"][fields.pop("who", "alex")] | {key: fields[key] for key in ("subject",) if key in fields}
    network = {"client_ip": WORLD["from"][fields.pop("from", "home")]["ip"]} | fields.pop("network", {})
    device = WORLD["with"][fields.pop("with", "laptop")]
    extra = fields.pop("device", {})
    fields["network"] = network
    if device is not None:
        fields["device"] = device | extra
    return msgspec.convert({"journey": "login", "credential_result": "succeeded"} | fields, Attempt)


class Case:
    """One golden case, and the world that it describes."""

    def __init__(self, path: Path) -> None:
        self.words: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.expect: dict[str, Any] = self.words["expect"]
        self.attempt = attempt({"request_id": path.stem} | self.words.get("attempt", {}))
        self.geo = TableGeo(self.words.get("geo", {}))

    def store(self) -> MemoryStore:
        """A store with the case's history: what was taught and what was tried."""
        store = MemoryStore()
        everywhere = TableGeo({})
        for entry in self.words.get("taught", []):
            words = {key: value for key, value in entry.items() if key not in ("days_ago", "units")}
            for days in _days(entry["days_ago"]):
                one = attempt(words)
                keys, context = facts(one, everywhere, NOW - days * 86_400, MemoryStore())
                store.write(learn.taught(learn.lesson(one, context, keys), entry.get("units", 1)), (), NOW, 1.0)
        for entry in self.words.get("tried", []):
            words = {key: value for key, value in entry.items() if key not in ("minutes_ago", "times", "subjects")}
            for number in range(entry.get("times", 1)):
                who = {"subject": f"victim-{number}"} if entry.get("subjects") else {}
                one = attempt(words | who)
                time = NOW - entry["minutes_ago"] * 60
                keys, _ = facts(one, everywhere, time, MemoryStore())
                store.write(learn.attempted(one, keys, time), (), NOW, 1.0)
        for entry in self.words.get("recovered", []):
            keys, _ = facts(self.attempt, everywhere, NOW, MemoryStore())
            store.write((learn.recovered(keys.subject, NOW - entry["minutes_ago"] * 60),), (), NOW, 1.0)
        return store

    def decide(self, release: Release, assessment_id: str) -> Decision:
        """The case through the pure core."""
        consented = signals.consented(self.attempt)
        keys, context = facts(consented, self.geo, NOW, self.store())
        return assess(consented, context, keys, release, assessment_id)


def facts(attempt: Attempt, geo: TableGeo, now: float, store: MemoryStore) -> tuple[Keys, Context]:
    """Everything known about an attempt at `now`."""
    address = parse(attempt.network.client_ip)
    assert address is not None
    place, route = geo.locate(address, now)
    agent: Agent | Missing = Missing("agent", "not_sent")
    device = attempt.device
    if device is not None and device.user_agent:
        agent = AGENTS.parse(device.user_agent, device.platform, device.mobile)
    values = signals.values(attempt, place, route, agent, now)
    keys = PSEUDONYMS.keys(attempt, address, values)
    histories, _ = store.read(wanted(keys), (), NOW, 1.0)
    offset = geo.offset(device.timezone, now) if device is not None and device.timezone else None
    return keys, signals.context(
        attempt,
        now,
        values,
        facts=(place, route, agent),
        remembered=recall(keys, histories),
        device_offset_min=offset,
    )


def _days(words: float | list[float] | dict[str, float]) -> Iterator[float]:
    if isinstance(words, dict):
        day = words["from"]
        while day > words.get("to", 0):
            yield day
            day -= words["every"]
    else:
        yield from words if isinstance(words, list) else [words]
