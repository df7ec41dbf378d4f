"""The page on flows, and an account on which its rows are played."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.config import Settings, data_directory
from riskd.config.settings import Attributes
from riskd.core import learn
from riskd.core.assess import Release
from riskd.core.assessment import Assessment
from riskd.core.attempt import CREDENTIAL_RESULTS, JOURNEYS, OUTCOMES, Attempt, Outcome, SecurityEvent
from riskd.core.history import DAY
from riskd.engine import Engine
from riskd.wiring import load_release
from tests.bench import parts
from tests.cases.world import NOW, TableGeo, attempt, facts
from tests.shipped import shipped_release

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = (DOCS / "flows.md").read_text(encoding="utf-8")
SETTINGS: Final = PAGE.partition("```toml\n")[2].partition("```")[0]
GOOGLE: Final = "https://accounts.google.com"
Words = dict[str, Any]
Past = Iterable[tuple[Words, Iterable[float]]]
PHONE: Final[Words] = {"with": "phone", "from": "home"}
OWNER: Final = ((PHONE, range(56, 0, -3)), (PHONE | {"from": "mobile"}, range(55, 0, -7)))
"""Eight weeks on the phone, at home and on the way."""
TEN: Final = 10.0
"""Seconds for an answer."""


def block(first: str) -> str:
    """The YAML of the page that begins with this comment."""
    return PAGE.partition(f"```yaml\n# {first}\n")[2].partition("```")[0]


def rows(table: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    text = PAGE.partition(f"<!-- {table} -->")[2].partition(f"<!-- /{table} -->")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@cache
def release(first: str = "") -> Release:
    """The shipped release, with a block of the page merged into the customers' policy."""
    if not first:
        return shipped_release()
    with TemporaryDirectory() as directory:
        shutil.copytree(data_directory("policies"), directory, dirs_exist_ok=True)
        path = Path(directory) / "customer.yaml"
        policy = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in yaml.safe_load(block(first)).items():
            policy[key] = value + policy[key] if isinstance(value, list) else policy.get(key, {}) | value
        path.write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")
        names = tuple(tomllib.loads(SETTINGS)["attributes"]["names"])
        settings = Settings(attributes=Attributes(names=names))
        return load_release(replace(settings, release=replace(settings.release, policies=directory)))


class Account:
    """An engine, and an account with a past of proven sign-ins: (attempt, days ago) each."""

    def __init__(self, release: Release, past: Past = OWNER) -> None:
        self.now, self._store = NOW, MemoryStore()
        for words, days in past:
            one = attempt(words)
            for day in days:
                keys, context = facts(one, TableGeo({}), NOW - day * DAY, self._store)
                self._store.write(learn.lesson_deltas(learn.lesson(one, context, keys), 1), (), NOW, 1.0)
        made = parts(store=self._store, clock=lambda: self.now, attributes=frozenset({"passkey"}))
        self._engine = Engine(made, release)

    def after(self, days: float) -> Account:
        """The same account, some days later."""
        self.now += days * DAY
        return self

    def told(self, kind: str, **fields: Any) -> Account:  # noqa: ANN401
        """The same account, after a security event."""
        self._engine.record_event(SecurityEvent(domain="customer", subject="alex", kind=kind, **fields), TEN, "caller")
        return self

    def signed_in(self, send: str, report: str, words: Words) -> Account:
        """The same account, five minutes after a sign-in that was reported."""
        self.report(self.ask(words, send), report)
        return self.after(300 / DAY)

    def ask(self, words: Words, send: str) -> Assessment:
        """Assess an attempt of these words, with what the cell `send` says."""
        self.now += 0.01
        fields = sent(send)
        for name in ("session", "federation"):
            if name in fields and name in words:
                fields[name] |= words[name]
        return self._engine.assess(_later(attempt(words | fields), self.now - NOW), TEN)

    def report(self, answer: Assessment, report: str, tenant: str = "") -> int:
        """Report the outcomes of a cell; the units that the attempt has taught then."""
        taught = 0
        for kind, amr in re.findall(r"`(\w+)`(?: `\[([\w, ]*)\]`)?", report):
            assert kind in OUTCOMES
            methods = tuple(filter(None, amr.split(", ")))
            outcome = Outcome(assessment_id=answer.id, tenant=tenant, kind=kind, amr=methods)
            taught = self._engine.record(outcome, TEN).taught
        return taught


def sent(cell: str) -> Words:
    """The fields that a cell names: `login`, `succeeded`, and a session `[swk, mfa]` of now, `[pwd]` of 20d, or `[]`
    without methods."""
    words = set(re.findall(r"`(\w+)`", cell))
    fields: Words = {}
    for name, values in (("journey", JOURNEYS), ("credential_result", CREDENTIAL_RESULTS)):
        (fields[name],) = words & set(values)
    if "federation" in words:
        fields["federation"] = {"issuer": GOOGLE, "protocol": "oidc", "issue_time": "0m ago"}
    if session := re.search(r"`\[([\w, ]*)\]`(?: of (\d+[mhd]))?", cell):
        fields["session"] = {
            "amr": list(filter(None, session[1].split(", "))),
            "authentication_time": f"{session[2] or '0m'} ago",
        }
    return fields


def _later(one: Attempt, seconds: float) -> Attempt:
    """The attempt with its session moved: the words of cases are relative to NOW."""
    session = one.session
    if session is None or session.authentication_time is None:
        return one
    return replace(one, session=replace(session, authentication_time=session.authentication_time + seconds))
