"""The page on software agents: its policy and cases, and what it says is asked of whom."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.adapters.policy_file import load_cases
from riskd.config import Settings, data_directory
from riskd.config.settings import Attributes
from riskd.core import learn
from riskd.core.assess import Release
from riskd.core.assessment import Assessment
from riskd.core.attempt import Outcome
from riskd.core.history import DAY
from riskd.core.requirement import Tier
from riskd.engine import Engine
from riskd.offline.policies.cases import run_cases
from riskd.wiring import load_release
from tests.bench import parts
from tests.cases.world import NOW, TableGeo, attempt, facts
from tests.shipped import shipped_release

PAGE: Final = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")
POLICY, CASES = re.findall(r"```yaml\n# (?:customer|tests/customer).yaml\n(.*?)```", PAGE, re.DOTALL)
SETTINGS: Final = PAGE.partition("```toml\n")[2].partition("```")[0]
AGENTS: Final = "139.59.0.0/16"
"""The provider's range: a data centre in India."""
HOME: Final = {"with": "laptop", "from": "home"}
BROWSER: Final = {
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/153.0.0.0 Safari/537.36",
    "platform": "Linux",
    "screen": "1280x800",
    "languages": ["en-US"],
    "timezone": "UTC",
}
SESSION: Final = {"start_time": "1h ago", "authentication_time": "1h ago", "amr": ["pwd"]}
PAYING: Final = {"journey": "payment", "session": SESSION}
CHANGING: Final = {"journey": "profile_update", "session": SESSION}
OPENING: Final = {"subject": "newcomer", "journey": "registration", "credential_result": "not_checked"}
ROWS: Final = re.findall(
    r"^\| (.+?) \| ([A-Z_]+) \| ([A-Z_]+) \|$",
    PAGE.partition("<!-- asked -->")[2].partition("<!-- /asked -->")[0],
    re.MULTILINE,
)


@cache
def advised() -> Release:
    """The release with the settings and the policy of the page."""
    with TemporaryDirectory() as directory:
        shutil.copytree(data_directory("policies"), directory, dirs_exist_ok=True)
        policy = Path(directory) / "customer.yaml"
        head, _, rules = POLICY.partition("rules:\n")
        policy.write_text(policy.read_text().replace("rules:\n", f"{head}rules:\n{rules}", 1))
        (Path(directory) / "agents.txt").write_text(f"{AGENTS}\n")
        settings = Settings(attributes=Attributes(names=tuple(tomllib.loads(SETTINGS)["attributes"]["names"])))
        return load_release(replace(settings, release=replace(settings.release, policies=directory)))


RELEASES: Final[Mapping[str, Callable[[], Release]]] = {"shipped": shipped_release, "advised": advised}


class Account:
    """An engine, and alex, who has signed in at home for eight weeks."""

    def __init__(self, release: Release) -> None:
        self.now, self._store = NOW, MemoryStore()
        for day in range(56, 0, -2):
            one = attempt(HOME)
            keys, context = facts(one, TableGeo({}), NOW - day * DAY, self._store)
            self._store.write(learn.lesson_deltas(learn.lesson(one, context, keys), 1), (), NOW, 1.0)
        made = parts(store=self._store, clock=lambda: self.now, attributes=frozenset({"agent"}))
        self._engine, self._visits = Engine(made, release), 0

    def assess(self, **words: object) -> Assessment:
        self.now += 0.01
        return self._engine.assess(attempt(words), 10.0)

    def agent(self, cookie: str, **words: object) -> Assessment:
        """An agent of the provider, on its next address, with this cookie."""
        self._visits += 1
        where = {"client_ip": f"139.59.{37 * self._visits % 250}.{self._visits % 250}"}
        device: dict[str, Any] = BROWSER | {"device_id": cookie}
        attributes = {"agent": "https://agent.example"}
        fields = {"with": "nothing", "from": "bengaluru", "network": where, "device": device, "attributes": attributes}
        return self.assess(**fields | words)

    def tell(self, answer: Assessment, kind: str) -> None:
        self._engine.record(Outcome(assessment_id=answer.id, kind=kind), 10.0)

    def visit(self, cookie: str, *, confirmed: bool = False) -> Assessment:
        """The owner's agent signs in, and two days pass. The owner confirms the visit, or passes the challenge."""
        answer = self.agent(cookie)
        for kind in ("confirmed_legitimate",) if confirmed else ("challenge_passed", "session_established"):
            self.tell(answer, kind)
        self.now += 2 * DAY
        return answer

    def visits(self, count: int, *, kept: bool = True, confirmed: bool = False) -> Assessment:
        """Visits of the owner's agent; the answer to the last. `kept`: the cookie is the same each time; `confirmed`:
        the owner confirms the first."""
        cookies = ["agent" if kept else f"agent {number}" for number in range(count)]
        return [self.visit(cookie, confirmed=confirmed and not at) for at, cookie in enumerate(cookies)][-1]


def with_agent(account: Account) -> Account:
    """The owner confirmed the agent's first visit, and four more followed."""
    account.visits(5, confirmed=True)
    return account


def after_a_list(account: Account) -> Account:
    """The same, and a thief has just tried a list of passwords on forty accounts."""
    with_agent(account)
    for number in range(40):
        account.agent("thief", subject=f"other {number}", credential_result="failed")
    return account


def soon_at_home(account: Account) -> Assessment:
    """The owner pays at home, ten minutes after the agent's fifth visit."""
    with_agent(account).now += 600 - 2 * DAY
    return account.assess(**HOME | PAYING)


PLAYS: Final[Mapping[str, Callable[[Account], Assessment]]] = {
    "the owner's agent, first visit": lambda account: account.visits(1),
    "fifth visit, with its cookie": lambda account: account.visits(5),
    "fifth visit, with a new cookie each time": lambda account: account.visits(5, kept=False),
    "the known agent, second visit": lambda account: account.visits(2, confirmed=True),
    "the known agent pays": lambda account: with_agent(account).agent("agent", **PAYING),
    "the known agent changes the account": lambda account: with_agent(account).agent("agent", **CHANGING),
    "the owner pays at home, ten minutes after the known agent": soon_at_home,
    "a thief's agent with the password, where the owner has none": lambda account: account.agent("thief"),
    "the same, where the owner's is known": lambda account: with_agent(account).agent("thief"),
    "the same, after a list was tried through the provider": lambda account: after_a_list(account).agent("thief"),
    "the thief's agent pays, where the owner's is known": lambda account: with_agent(account).agent("thief", **PAYING),
    "a thief's agent with the owner's session": lambda account: account.agent(
        "thief", **PAYING | {"journey": "session"}
    ),
    "an agent, on an account without a history": lambda account: account.agent("agent", subject="newcomer"),
    "an agent opens an account": lambda account: account.agent("agent", **OPENING),
    "an agent in the owner's browser at home": lambda account: account.assess(**HOME),
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_table_says_what_is_asked(row: tuple[str, str, str]) -> None:
    """The tiers of each row are what the shipped policy and that of the page require."""
    what, *tiers = row

    assert [PLAYS[what](Account(release())).requirement.tier.name for release in RELEASES.values()] == tiers


def test_the_table_has_every_row() -> None:
    """Every play is a row of the table, so that none is skipped."""
    assert [what for what, *_ in ROWS] == list(PLAYS)


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
def test_a_headless_agent_is_asked_and_opens_and_recovers_nothing(release: Callable[[], Release]) -> None:
    """An agent that says that it is headless is asked at login and payment, although the account knows it, and is
    denied a registration and a recovery."""
    account = Account(release())
    account.visits(5, confirmed=True)
    headless = {"device": BROWSER | {"device_id": "agent", "user_agent": "HeadlessChrome/153.0.0.0"}}
    asked = {
        journey: account.agent("agent", journey=journey, session=SESSION, **headless)
        for journey in ("login", "payment", "registration", "recovery")
    }

    assert all("AUTOMATED_CLIENT" in {reason.code for reason in answer.reasons} for answer in asked.values())
    assert {journey for journey, answer in asked.items() if answer.requirement.tier is Tier.DENY} == {
        "registration",
        "recovery",
    }


def test_an_agent_with_a_key_of_its_own_is_a_machine() -> None:
    """In the shipped policy of machines an agent's key is enough at the first visit, later nothing more is asked, on
    any node of its operator, and another node at another operator is denied."""
    account = Account(shipped_release())
    grant = {"who": "batch", "subject": "grant-8f2c", "session": {"authentication_time": "1m ago", "amr": ["pop"]}}
    asked = []
    for visit in range(3):
        answer = account.agent(f"node {visit}", **grant)
        account.tell(answer, "session_established")
        asked.append((answer.requirement.tier, answer.requirement.satisfied))
    elsewhere = account.agent("node 9", **grant | {"from": "other_cloud", "network": {}})

    assert asked == [(Tier.HARDWARE_BOUND, True), (Tier.BASELINE, True), (Tier.BASELINE, True)]
    assert elsewhere.requirement.tier is Tier.DENY


def test_the_cases_of_the_page_hold(tmp_path: Path) -> None:
    """The example is a policy that a service with these settings accepts, and its cases pass."""
    (tmp_path / "customer.yaml").write_text(CASES)
    report = run_cases([load_cases(tmp_path / "customer.yaml", lambda _: advised().policies["customer"])])

    assert [result.differences for result in report.results] == [()] * CASES.count("- description:")
