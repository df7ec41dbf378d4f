"""Builds the attempt and the histories of a golden case from its YAML file.

A case is a YAML file:

- `description`: what happens, and why this answer is right.
- `attempt`: `who`, `with` and `from` are names of `world.yaml`; every other key is a field of `Attempt`, and
  `device` and `network` are merged with what the names give. A field that ends in `_time`, and `time` itself, is
  written as `90m ago`, `2h ago` or `40d ago`. Unless it says otherwise, alex signs in (`journey: login`) at
  home with the laptop and the right password.
- `policy`: fields of the policy that this deployment changed (`trusted_issuers`, `explicit_consent`).
- `geo`: facts that the geo databases do not have, with the reason (`{place: not_installed}`), or that are `stale`.
- `store: unreadable`: reading from the store fails.
- `taught`: earlier sign-ins that were proven: names of histories in `world.yaml`, or an attempt with `days_ago`
  (a number, a list, or `{from, every, to}`), `units` (1 by default), and `neighbours` or `colleagues`: the number of
  other people who signed in likewise, each on their own device. Neighbours have addresses of their own, colleagues
  share this one.
- `tried`: recent attempts that taught nothing: an attempt with `minutes_ago`, `times`, and `accounts`, the number of
  strangers' accounts on which it was tried; with `colleagues` it was tried on theirs.
- `recovered`: minutes since each completed recovery of the account.
- `unmet`: minutes since each challenge of the account that failed or was abandoned.
- `events`: security events about the account: `kind` and other fields of `SecurityEvent`, with `minutes_ago`.
- `expect`: the main parts of the answer and of its decision record, complete and in order. One answer in sixteen is
  explained although nothing was raised; which ones depends on the request id, which is the name of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.adapters.user_agent import AgentParser
from riskd.core import learn, signals
from riskd.core.address import Address, parse
from riskd.core.assess import Release
from riskd.core.attempt import Attempt, SecurityEvent
from riskd.core.context import Agent, Context, Located, Missing, Place, Remembered, Route
from riskd.core.errors import Unavailable
from riskd.core.policy import Issuer, Policy
from riskd.core.pseudonym import Keys, Pseudonyms
from riskd.core.recall import history_keys, recall
from riskd.core.validation import event_violations
from riskd.ports import HistoryStore
from tests.doubles import FailingStore

Words = dict[str, Any]
NOW: Final = 1_800_007_200.0
"""Friday 2027-01-15, 10:00 UTC."""
HERE: Final = Path(__file__).parent
WORLD: Final = yaml.safe_load((HERE / "world.yaml").read_text(encoding="utf-8"))
PSEUDONYMS: Final = Pseudonyms(b"pepper of the golden cases")
AGENTS: Final = AgentParser()
_OFFSETS: Final = {"UTC": 0, "Europe/London": 0, "Europe/Madrid": 60, "Asia/Kolkata": 330}
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}


class TableGeo:
    """Geo facts from world.yaml. An entry covers the /16 (IPv4) or /32 (IPv6) of its address; `gaps` says why a source
    has no answer."""

    def __init__(self, gaps: dict[str, str]) -> None:
        self._stale = tuple(source for source, why in gaps.items() if why == "stale")
        self._absent = {source: why for source, why in gaps.items() if why != "stale"}
        self._known = {_block(entry["ip"]): entry for entry in WORLD["from"].values() if "route" in entry}

    def locate(self, address: Address, time: float) -> Located:
        """As the geo databases answer; an address that is not routable has no place and no route."""
        entry = self._known.get(_block(address.text), {}) if address.routable else {}
        why = "not_found" if address.routable else "unroutable"
        place, route = self._fact("place", entry, Place, why), self._fact("route", entry, Route, why)
        known = {"place": place, "route": route}
        return place, route, tuple(source for source in self._stale if not isinstance(known[source], Missing))

    def _fact(self, source: str, entry: Words, kind: type[Any], why: str) -> Any:  # noqa: ANN401
        if source in self._absent:
            return Missing(source, self._absent[source])
        return msgspec.convert(entry[source], kind) if source in entry else Missing(source, why)

    def offset(self, timezone: str, time: float) -> int | None:
        """Minutes east of UTC in January."""
        return _OFFSETS.get(timezone)


def _block(ip: str) -> tuple[int, int]:
    address = parse(ip)
    assert address is not None, ip
    return address.version, address.value >> (16 if address.version == 4 else 96)


def attempt(words: Words) -> Attempt:
    """An attempt from `who`, `with`, `from` and other fields of `Attempt`."""
    fields: Words = {"journey": "login", "credential_result": "succeeded"} | words
    who, kit = WORLD["who"][fields.pop("who", "alex")], WORLD["with"][fields.pop("with", "laptop")]
    fields["network"] = {"client_ip": WORLD["from"][fields.pop("from", "home")]["ip"]} | fields.get("network", {})
    if kit is not None:
        fields["device"] = kit | fields.get("device", {})
    return msgspec.convert(_dated(who | fields), Attempt)


def _dated(fields: Words) -> Words:
    """The same fields, with relative times such as `2h ago` as epoch seconds."""
    return {
        name: _dated(value)
        if isinstance(value, dict)
        else _moment(value)
        if name == "time" or name.endswith("_time")
        else value
        for name, value in fields.items()
    }


def _moment(words: str) -> float:
    amount, unit = words.removesuffix(" ago")[:-1], words.removesuffix(" ago")[-1]
    return NOW - float(amount) * _SECONDS[unit]


class File(Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of a case file."""

    description: str
    expect: Words
    attempt: Words = {}
    policy: Words = {}
    geo: dict[str, str] = {}
    store: str = ""
    taught: list[str | Words] = []
    tried: list[Words] = []
    recovered: list[float] = []
    unmet: list[float] = []
    events: list[Words] = []


class Case:
    """One golden case, with the attempt, store and geo facts that it describes."""

    def __init__(self, path: Path) -> None:
        self.file = msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), File)
        self.attempt = attempt({"request_id": path.stem} | self.file.attempt)
        self.geo = TableGeo(self.file.geo)

    def release(self, shipped: Release) -> Release:
        """The shipped release with the policy fields that the case sets."""
        domain = self.attempt.domain
        policy = shipped.policies[domain]
        changes = msgspec.convert(self.file.policy, dict[str, bool | frozenset[str]])
        return replace(shipped, policies={**shipped.policies, domain: _with(policy, changes)})

    def judged(self, release: Release, store: HistoryStore) -> tuple[Attempt, Keys, Context]:
        """The attempt as it is judged, the keys of its histories, and everything known about it."""
        policy = release.policies[self.attempt.domain]
        judged = signals.consented(self.attempt, explicit=policy.explicit_consent)
        time = judged.time if judged.time is not None else NOW
        _, context = facts(judged, self.geo, time, store)
        if isinstance(context.remembered, Remembered):
            judged = signals.with_events(judged, context.remembered, time, policy.retention.sequence)
        return judged, *facts(judged, self.geo, time, store)

    def store(self) -> MemoryStore:
        """A store with the lessons, attempts, recoveries and security events of the case."""
        store = FailingStore(writes=True) if self.file.store == "unreadable" else MemoryStore()
        for entry in _named(self.file.taught):
            words = {"days_ago": 0, "units": 1} | entry
            days, units = words.pop("days_ago"), words.pop("units")
            for one in map(attempt, _people(words)):
                for day in _days(days):
                    keys, context = facts(one, _EVERYWHERE, NOW - day * 86_400, MemoryStore())
                    store.write(learn.lesson_deltas(learn.lesson(one, context, keys), units), (), NOW, 1.0)
        for entry in self.file.tried:
            words = {"minutes_ago": 0, "times": 1, "accounts": 0} | entry
            time = NOW - words.pop("minutes_ago") * 60
            times, accounts = words.pop("times"), words.pop("accounts")
            people = [words | {"subject": f"victim-{number}"} for number in range(accounts)] or _people(words)
            for one in map(attempt, people):
                keys, _ = facts(one, _EVERYWHERE, time, MemoryStore())
                for _ in range(times):
                    store.write(learn.attempt_deltas(one, keys, time), (), NOW, 1.0)
        keys, _ = facts(self.attempt, _EVERYWHERE, NOW, MemoryStore())
        for minutes in self.file.recovered:
            store.write((learn.recovery_delta(keys.subject, NOW - minutes * 60),), (), NOW, 1.0)
        for minutes in self.file.unmet:
            store.write((learn.unmet_delta(keys.subject, NOW - minutes * 60, NOW),), (), NOW, 1.0)
        for entry in self.file.events:
            told: Words = {"domain": self.attempt.domain, "subject": self.attempt.subject, "minutes_ago": 0} | entry
            told["time"] = NOW - told.pop("minutes_ago") * 60
            event = msgspec.convert(told, SecurityEvent)
            assert event_violations(event, NOW) == []
            store.write(learn.event_deltas(event, keys.subject, NOW), (), NOW, 1.0)
        return store


_EVERYWHERE: Final = TableGeo({})


def _with(policy: Policy, changes: dict[str, bool | frozenset[str]]) -> Policy:
    return replace(
        policy,
        **{
            name: change if isinstance(change, bool) else dict.fromkeys(change, Issuer())
            for name, change in changes.items()
        },
    )


def facts(attempt: Attempt, geo: TableGeo, now: float, store: HistoryStore) -> tuple[Keys, Context]:
    """The keys of the attempt's histories, and everything known about it at `now`."""
    address = parse(attempt.network.client_ip)
    assert address is not None
    place, route, stale = geo.locate(address, now)
    agent: Agent | Missing = Missing("agent", "not_sent")
    device = attempt.device
    if device is not None and device.user_agent:
        agent = AGENTS.parse(device.user_agent, device.platform, device.mobile)
    values = signals.values(attempt, place, route, agent, now)
    keys = PSEUDONYMS.keys(attempt, address, values)
    remembered: Remembered | Missing
    try:
        remembered = recall(keys, store.read(history_keys(keys), (), NOW, 1.0)[0])
    except Unavailable:
        remembered = Missing("history", "unavailable")
    offset = geo.offset(device.timezone, now) if device is not None and device.timezone else None
    return keys, signals.context(
        attempt,
        now,
        values,
        facts=(place, route, agent),
        remembered=remembered,
        device_offset_min=offset,
        stale=stale,
    )


def _named(taught: list[str | Words]) -> Iterator[Words]:
    for entry in taught:
        if isinstance(entry, str):
            yield from WORLD["taught"][entry]
        else:
            yield entry


def _people(words: Words) -> Iterator[Words]:
    """The attempt itself, or the same attempt by each of its neighbours or colleagues."""
    neighbours, colleagues = words.pop("neighbours", 0), words.pop("colleagues", 0)
    if not neighbours and not colleagues:
        yield words
    for number in range(colleagues):
        name = f"colleague-{number}"
        yield words | {"subject": name, "device": {"device_id": name, "fingerprint": name}}
    for number in range(neighbours):
        ip = WORLD["from"][words.get("from", "home")]["ip"].split(".")
        yield words | {
            "subject": f"neighbour-{number}",
            "network": {"client_ip": ".".join((*ip[:2], str(number + 100), "9"))},
            "device": {"device_id": f"neighbour-{number}", "fingerprint": f"neighbour-{number}"},
        }


def _days(words: float | list[float] | dict[str, float]) -> Iterator[float]:
    if isinstance(words, dict):
        day = words["from"]
        while day > words.get("to", 0):
            yield day
            day -= words["every"]
    else:
        yield from words if isinstance(words, list) else [words]
