"""The page on payments: its policies and cases, what it says is asked of whom, its query, and late chargebacks."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.adapters.policy_file import load_cases
from riskd.cli.main import main
from riskd.config import Settings, data_directory
from riskd.config.settings import Attributes
from riskd.core import learn
from riskd.core.assess import Release
from riskd.core.assessment import Assessment
from riskd.core.attempt import Outcome, Session
from riskd.core.errors import UnknownAssessment
from riskd.core.history import DAY
from riskd.core.record import AssessmentRecord
from riskd.core.requirement import Tier
from riskd.engine import Engine
from riskd.offline.policies.cases import run_cases
from riskd.wiring import load_release
from tests.bench import parts
from tests.cases.world import NOW, TableGeo, attempt, facts
from tests.decision_log import SEGMENT, write
from tests.doubles import ListLog
from tests.shipped import shipped_release

PAGE: Final = (Path(__file__).parents[2] / "docs" / "payments.md").read_text(encoding="utf-8")
NAMES: Final = tuple(tomllib.loads(PAGE.partition("```toml\n")[2].partition("```")[0])["attributes"]["names"])
HOME: Final = {"with": "laptop", "from": "home"}
PHONE: Final = {"with": "phone", "from": "mobile"}
KEY: Final = ("hwk", "pin")
CODE: Final = ("pwd", "otp")


def block(name: str) -> str:
    """The YAML block of the page with this name."""
    return PAGE.partition(f"```yaml\n# {name}\n")[2].partition("```")[0]


@cache
def advised(name: str) -> Release:
    """The shipped release with the counters and rules, or the retention, of a block of the page."""
    with TemporaryDirectory() as directory:
        shutil.copytree(data_directory("policies"), directory, dirs_exist_ok=True)
        policy, text = Path(directory) / "customer.yaml", block(name)
        shipped = policy.read_text()
        if name == "retention.yaml":
            merged = shipped.replace("  receipt: 90d", text.partition("\n")[2].rstrip(), 1)
        else:
            head, _, rules = text.partition("rules:\n")
            merged = shipped.replace("rules:\n", f"{head}rules:\n{rules}", 1)
        assert merged != shipped
        policy.write_text(merged)
        settings = Settings(attributes=Attributes(names=NAMES))
        return load_release(replace(settings, release=replace(settings.release, policies=directory)))


class Desk:
    """An engine, and alex, who has signed in at home for eight weeks."""

    def __init__(self, release: Release) -> None:
        self.now, self.log, self._store = NOW, ListLog(), MemoryStore()
        for day in range(56, 0, -2):
            one = attempt(HOME)
            keys, context = facts(one, TableGeo({}), NOW - day * DAY, self._store)
            self._store.write(learn.lesson_deltas(learn.lesson(one, context, keys), 1), (), NOW, 1.0)
        made = parts(store=self._store, log=self.log, clock=lambda: self.now, attributes=frozenset(NAMES))
        self._engine = Engine(made, release)

    def assess(self, session: Session | None = None, /, **words: object) -> Assessment:
        self.now += 0.01
        return self._engine.assess(replace(attempt(words), session=session), 10.0)

    def tell(self, answer: Assessment, kind: str = "challenge_passed", *amr: str) -> int:
        return self._engine.record(Outcome(assessment_id=answer.id, kind=kind, amr=amr), 10.0).taught

    def pay(self, where: Mapping[str, str] = HOME, /, **attributes: str) -> Assessment:
        """Alex pays in a session of ten minutes, whose methods are not sent."""
        return self.pay_in(Session(), where, **attributes)

    def pay_in(self, session: Session, where: Mapping[str, str] = HOME, /, **attributes: str) -> Assessment:
        """The same in this session."""
        began = self.now - 600
        session = replace(session, start_time=began, authentication_time=began)
        return self.assess(session, **where, journey="payment", credential_result="not_checked", attributes=attributes)

    def guest(self, number: int, device: str, card: str) -> Assessment:
        """A guest pays, on a device at one address of a line in Madrid."""
        return self.assess(
            **{"with": "phone", "from": "madrid"},
            subject=f"guest:{number}@shop.example",
            journey="payment",
            credential_result="not_checked",
            device={"device_id": device},
            attributes={"amount": "1.00", "card": card, "delivery": "nowhere"},
        )


def known(desk: Desk, *amr: str) -> Assessment:
    """The owner has paid grandma, by these methods."""
    first = desk.pay(amount="20.00", payee="grandma")
    desk.tell(first, "challenge_passed", *amr)
    return first


def again(desk: Desk, amount: str = "20.00", after: float = 0.0, **more: str) -> Assessment:
    """The owner has paid grandma with a key, signed in now and then, and pays again."""
    known(desk, *KEY)
    for _ in range(int(after // (30 * DAY))):
        desk.now += 30 * DAY
        desk.tell(desk.assess(**HOME, attributes={"sca_days": "1"}), "session_established")
    return desk.pay(amount=amount, payee="grandma", **more)


def given_up(desk: Desk) -> Assessment:
    """A thief in the owner's browser has tried to pay a mule four times."""
    for _ in range(4):
        desk.tell(desk.pay(amount="20.00", payee="mule"), "challenge_failed")
    desk.now += 5 * DAY
    return desk.pay(amount="20.00", payee="mule")


def recovered(desk: Desk) -> Assessment:
    """Somebody recovered the account and pays grandma."""
    known(desk, *KEY)
    recovery = desk.assess(**HOME, journey="recovery", credential_result="not_checked")
    desk.tell(recovery, "challenge_passed", *KEY)
    desk.tell(recovery, "recovery_completed")
    desk.now += 2 * DAY
    return desk.pay(amount="20.00", payee="grandma")


def after_a_code(desk: Desk) -> Assessment:
    """The owner pays grandma again, after one payment with a code."""
    known(desk, *CODE)
    return desk.pay(amount="20.00", payee="grandma")


def shopper(desk: Desk, where: Mapping[str, str] = HOME, **order: str) -> Assessment:
    """An order with a card that alex bought with two weeks ago, when the issuer passed a challenge."""
    desk.tell(desk.pay(amount="20.00", card="alex's", delivery="home"))
    desk.now += 14 * DAY
    return desk.pay(where, **{"amount": "20.00", "card": "alex's", "delivery": "home"} | order)


def guests(desk: Desk, count: int, *, card: str = "", device: str = "") -> Assessment:
    """The answer to the last of so many guests."""
    return [desk.guest(number, device or f"device {number}", card or f"card {number}") for number in range(count)][-1]


def one_card(desk: Desk) -> Assessment:
    """Alex, on a card that three guests used today."""
    guests(desk, 3, card="of many")
    return desk.pay(amount="20.00", card="of many", delivery="home")


PLAYS: Final[Mapping[str, Mapping[str, Callable[[Desk], Assessment]]]] = {
    "provider": {
        "20 EUR to a payee for the first time": lambda desk: desk.pay(amount="20.00", payee="grandma"),
        "the same payee again, after a key": again,
        "the same payee again, after a code": after_a_code,
        "500 EUR to that payee": lambda desk: again(desk, "500.00"),
        "500 EUR to a trusted payee": lambda desk: again(desk, "500.00", exemption="trusted_payee"),
        "that payee again, five months later": lambda desk: again(desk, after=150 * DAY),
        "a thief in the owner's browser pays another payee": lambda desk: desk.pay(amount="20.00", payee="mule"),
        "the same payee again, after the thief gave up": given_up,
        "a thief on another device pays a trusted payee": lambda desk: desk.pay(
            PHONE, amount="20.00", payee="grandma", exemption="trusted_payee"
        ),
        "a payment within three days of a recovery": recovered,
    },
    "shop": {
        "the owner buys with the stored card, to the usual address": shopper,
        "somebody in the owner's browser sends to another address": lambda desk: shopper(desk, delivery="elsewhere"),
        "somebody in the owner's browser buys a gift card": lambda desk: shopper(desk, goods="gift_card"),
        "somebody with the password, on another device, sends to another address": lambda desk: shopper(
            desk, PHONE, delivery="elsewhere"
        ),
        "a guest": lambda desk: guests(desk, 1),
        "the 2nd guest on one device within a day": lambda desk: guests(desk, 2, device="one"),
        "the 6th guest on one device within a day": lambda desk: guests(desk, 6, device="one"),
        "the 30th guest at one address, each on a new device": lambda desk: guests(desk, 30),
        "the 4th account with one card": one_card,
    },
}
POLICIES: Final = {"provider": "customer.yaml", "shop": "shop.yaml"}
ROWS: Final = [
    (who, what, tiers)
    for who in PLAYS
    for what, *tiers in re.findall(
        r"^\| (.+?) \| ([A-Z_]+) \| ([A-Z_]+) \|$",
        PAGE.partition(f"<!-- {who} -->")[2].partition(f"<!-- /{who} -->")[0],
        re.MULTILINE,
    )
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_the_tables_say_what_is_asked(row: tuple[str, str, list[str]]) -> None:
    """The tiers of each row are what the shipped policy and that of the page require."""
    who, what, tiers = row
    releases = (shipped_release(), advised(POLICIES[who]))

    assert [PLAYS[who][what](Desk(release)).requirement.tier.name for release in releases] == tiers


def test_the_tables_have_every_row() -> None:
    """Every play is a row of its table, so that none is skipped."""
    assert [(who, what) for who, what, _ in ROWS] == [(who, what) for who, plays in PLAYS.items() for what in plays]


def test_the_cases_of_the_page_hold(tmp_path: Path) -> None:
    """The provider's cases pass."""
    cases = block("tests/customer.yaml")
    (tmp_path / "customer.yaml").write_text(cases)
    report = run_cases(
        [load_cases(tmp_path / "customer.yaml", lambda _: advised("customer.yaml").policies["customer"])]
    )

    assert [result.differences for result in report.results] == [()] * cases.count("- description:")


@pytest.mark.parametrize("amount", ["", "12,50", "1e9", "-1", "nan", "99.901", " 5", "100.01"])
def test_no_way_of_writing_an_amount_avoids_the_limit(amount: str) -> None:
    """An amount that is absent or no plain number needs SCA, like one above the limit."""
    desk = Desk(advised("customer.yaml"))
    known(desk, *KEY)
    assert desk.pay(payee="grandma", amount="100.00").requirement.tier is Tier.BASELINE
    answer = desk.pay(payee="grandma", **{"amount": amount} if amount else {})
    assert (answer.requirement.tier, answer.causes) == (Tier.STEP_UP, ())


def test_a_session_without_methods_meets_the_baseline_alone() -> None:
    """With its time and without its methods, a session meets BASELINE and no more, and nothing else changes: with
    them, a sign-in of an hour ago would be the authentication of this payment."""
    release = advised("customer.yaml")
    asked = [Desk(release).pay(payee="grandma", amount=amount) for amount in ("20.00", "500.00")]
    whole = Desk(release).pay_in(Session(amr=CODE), payee="grandma", amount="500.00")
    small = Desk(shipped_release()).pay(payee="grandma", amount="20.00")

    assert [answer.requirement.satisfied for answer in asked] == [False, False]
    assert (small.requirement.tier, small.requirement.satisfied) == (Tier.BASELINE, True)
    assert (whole.requirement.satisfied, whole.score) == (True, asked[1].score)


def test_what_is_reported_of_a_payment_decides_what_a_thief_teaches() -> None:
    """An exempted payment in the owner's session teaches its payee only if the flow reports it as a session."""
    for reports, taught in ((), 0), (("session_established",), 1):
        desk = Desk(advised("customer.yaml"))
        answer = desk.pay(amount="5.00", payee="mule", exemption="low_value")
        assert answer.requirement.satisfied
        assert [desk.tell(answer, kind) for kind in reports] == [taught] * len(reports)
        desk.now += 14 * DAY
        desk.pay(amount="5.00", payee="mule")
        line = desk.log.records()[-1]
        assert isinstance(line, AssessmentRecord)
        assert (line.facts.counted["payee.own"] > 0.0) == bool(taught)


@pytest.mark.parametrize(("weeks", "own"), [(0, False), (1, True), (12, True), (14, False)])
def test_half_a_unit_is_one_code(weeks: int, own: bool) -> None:
    """After one code, `own` is at least 0.5 from the second week to the end of a quarter."""
    desk = Desk(advised("shop.yaml"))
    desk.tell(desk.pay(amount="20.00", card="alex's", delivery="home"))
    desk.now += weeks * 7 * DAY
    answer = desk.pay(amount="20.00", card="alex's", delivery="elsewhere")
    assert ("NEW_DELIVERY" in {reason.code for reason in answer.reasons}) == own


def test_a_chargeback_counts_while_the_receipt_is_kept() -> None:
    """With the page's retention a chargeback of the 150th day takes back what the payment taught; with the usual one
    it is refused as unknown, by name, and nothing is logged."""
    for release, kept in ((advised("retention.yaml"), True), (shipped_release(), False)):
        desk = Desk(release)
        bought = desk.pay(amount="20.00")
        assert desk.tell(bought, "challenge_passed", *KEY) > 0
        desk.now += 150 * DAY
        lines = len(desk.log.lines)
        if kept:
            assert desk.tell(bought, "confirmed_fraud") == 0
        else:
            with pytest.raises(UnknownAssessment):
                desk.tell(bought, "confirmed_fraud")
        assert len(desk.log.lines) - lines == kept


def test_the_query_computes_the_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Payments that were challenged in vain are left out; the others are summed by what let them through."""
    desk = Desk(advised("customer.yaml"))
    known(desk, *KEY)  # 20 by SCA
    desk.pay(amount="30.00", payee="grandma")
    desk.tell(desk.pay(amount="50.00", payee="grandma"), "confirmed_fraud")
    desk.pay(amount="900.00", payee="grandma", exemption="recurring")
    desk.pay(amount="5000.00", payee="mule")  # challenged, and given up
    desk.tell(desk.pay(amount="12,50", payee="grandma"))  # challenged, of an unknown value
    write(tmp_path / "log" / SEGMENT, *desk.log.lines)
    settings = ["--set", f"state.dir={tmp_path}", "--set", f"log.dir={tmp_path / 'log'}"]
    assert main(["log", "compact", "--to", str(tmp_path / "set"), *settings]) == 0
    sql = PAGE.partition("```sql\n")[2].partition("```")[0]
    capsys.readouterr()
    assert main(["log", "query", sql, "--from", str(tmp_path / "set"), "--csv", *settings]) == 0
    head, *rows = [line.split(",")[1:] for line in capsys.readouterr().out.splitlines()]

    assert head == ["how", "payments", "value", "fraud", "percent"]
    assert [[row[0], *map(float, row[1:])] for row in rows] == [
        ["SCA", 2, 20, 0, 0],
        ["recurring", 1, 900, 0, 0],
        ["risk analysis", 2, 80, 50, 62.5],
        ["", 5, 1000, 50, 5],
    ]
