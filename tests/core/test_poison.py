"""Safe learning (decision 0032): how little a thief gains by passing, and that failing gains nothing.

Victims, thieves and timings are generated and scored by the served models of all three domains. A thief copies any part
of the victim's device and habits and comes from any place. The gain is how much lower the log-odds of his next attempt
are than without the passes.
"""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import assume, given, settings, target
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from riskd.core.attempt import DOMAINS, Attempt, Behaviour, Device
from riskd.core.context import Agent, Place, Route
from riskd.core.features import vector
from riskd.core.features.past import FORGOTTEN, beginning, standing
from riskd.core.history import DAY, HOUR, PROFILE_SECONDS, WEEK
from riskd.core.learn import SPACING, UNITS
from riskd.core.left_out import impute_left_out
from tests.core.builders import (
    BERGEN,
    CHROME,
    ELSEWHERE,
    HOME,
    HOSTER,
    LAPTOP,
    NOW,
    OSLO,
    SYDNEY,
    TYPING,
    World,
    crowd,
    sign_in,
)
from tests.models.stories import model

BOUND: Final = {"customer": 2.5, "workforce": 3.5, "machine": 3.5}
"""The most log-odds that one or two weak passes gain, whenever they are made and whenever used."""
REMEMBERED: Final = 25 * WEEK
"""An account unused for longer is forgotten, and starts again with the next proven sign-in."""
MODELS: Final = {domain: model(domain) for domain in DOMAINS}
MAC: Final = Agent("Safari", "26", "macOS", "26", "desktop")
THIEFS_TYPING: Final = (210.0, 300.0, 190.0, 240.0, 260.0, 205.0)
law = settings(max_examples=150)


class Thief(Struct, frozen=True, kw_only=True):
    """What the thief sends, and what riskd knows about where he is."""

    attempt: Attempt
    place: Place
    route: Route
    agent: Agent
    offset: int

    @property
    def strange(self) -> bool:
        """Whether the device is not the owner's, by its identifier."""
        return self.attempt.device is not None and self.attempt.device.device_id != LAPTOP.device_id

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for `World.context`."""
        return {"place": self.place, "route": self.route, "agent": self.agent, "device_offset_min": self.offset}


@st.composite
def thieves(draw: st.DrawFn) -> Thief:
    """A thief who copies or varies each part of the device, its settings and its owner's habits."""
    copies = st.booleans()
    device = Device(
        user_agent=LAPTOP.user_agent if (same_browser := draw(copies)) else "Mozilla/5.0 (Macintosh) Safari/605.1.15",
        platform="Windows" if same_browser else "macOS",
        device_id=draw(st.sampled_from(["thief", "thief", "laptop", ""])),
        fingerprint=draw(st.sampled_from(["f-thief", "f-laptop", ""])),
        screen=draw(st.sampled_from(["1366x768", "1920x1080"])),
        languages=("nb-NO",) if draw(copies) else ("ru-RU",),
        timezone=(zone := draw(st.sampled_from(["Europe/Oslo", "Australia/Sydney", ""]))),
    )
    address, place, route = draw(
        st.sampled_from([
            ("192.0.3.77", OSLO, HOME),  # the victim's carrier and town
            ("192.0.2.77", OSLO, HOME),  # the victim's /24
            ("90.200.10.10", BERGEN, Route(5607, "Sky")),
            ("1.128.0.5", SYDNEY, ELSEWHERE),
            ("5.9.60.10", BERGEN, HOSTER),
            ("193.32.249.10", SYDNEY, Route(39351, "31173", anonymizer="vpn")),
        ])
    )  # fmt: skip
    typing = TYPING if draw(copies) else THIEFS_TYPING
    behaviour = Behaviour(typing_intervals_ms=typing, pointer_events=30, pasted=False, form_seconds=5.0)
    attempt = sign_in(address, device=device, behaviour=behaviour, place=None, session=None, federation=None)
    return Thief(
        attempt=attempt,
        place=place,
        route=route,
        agent=CHROME if same_browser else MAC,
        offset={"Australia/Sydney": 600}.get(zone, 120),
    )


@st.composite
def victims(draw: st.DrawFn) -> list[float]:
    """Times of the owner's sign-ins: regular for some weeks, and then stopping at some time."""
    weeks, every = draw(st.integers(2, 40)), draw(st.sampled_from([0.7, 1, 3, 7, 20]))
    leaves = draw(st.sampled_from([-40, 0, 10, 200])) * DAY
    start = NOW - weeks * WEEK
    times = [start + at * every * DAY for at in range(int((weeks + 20) * 7 / every) + 1)]
    return [time for time in times if time < max(NOW + leaves, start + 1)]


delays = st.one_of(st.floats(0.01, 1), st.floats(1, 30), st.floats(30, 150)).map(lambda days: days * DAY)


def told(world: World, thief: Thief, then: float) -> list[float]:
    """The feature vector of the thief's attempt, as models get it."""
    return impute_left_out(vector(thief.attempt, world.context(thief.attempt, then, **thief.facts)))


def bought(
    owner: list[float], thief: Thief, passes: list[float], then: float, *, key: bool, others: int
) -> dict[str, float]:
    """By domain, how much lower the thief's attempt at `then` scores because of his passes."""
    honest = crowd(people=others, until=NOW - 10 * DAY)
    owners = [time for time in owner if time < then]
    before = [time for time in owners if time < passes[0]]
    for time in before:
        honest.prove(sign_in(), time)
    worlds = honest, deepcopy(honest)
    for time, stolen in sorted([(time, False) for time in owners[len(before) :]] + [(time, True) for time in passes]):
        for world in worlds[1:] if stolen else worlds:
            if stolen:
                world.pass_(thief.attempt, time, key=key, **thief.facts)
            else:
                world.prove(sign_in(), time)
    vectors = [told(world, thief, then) for world in worlds]
    without, having = ({domain: model.score(one)[0] for domain, model in MODELS.items()} for one in vectors)
    return {domain: without[domain] - having[domain] for domain in DOMAINS}


@law
@given(victims(), thieves(), st.lists(delays, min_size=1, max_size=2), delays, st.sampled_from([0, 20, 80]))
def test_one_or_two_passes_buy_little(
    owner: list[float], thief: Thief, waits: list[float], last: float, others: int
) -> None:
    """One or two passes, at any distance and used at any later time, lower the thief's score by at most `BOUND`."""
    passes = [NOW + sum(waits[: at + 1]) for at in range(len(waits))]

    then = passes[-1] + last
    assume(max(time for time in owner if time < then) > then - REMEMBERED)
    gain = bought(owner, thief, passes, then, key=False, others=others)

    target(max(gain.values()))
    assert all(gain[domain] <= BOUND[domain] for domain in DOMAINS), gain


@settings(max_examples=20)
@given(victims(), thieves(), st.lists(st.floats(0, SPACING - 1), min_size=3, max_size=9), delays)
def test_passes_in_a_row_buy_no_more_than_one(
    owner: list[float], thief: Thief, offsets: list[float], last: float
) -> None:
    """However many passes without a key are made on a strange device within `SPACING`, they gain no more than one or
    two, whenever they are used."""
    passes = [NOW + offset for offset in sorted(offsets)]

    then = passes[-1] + last
    assume(thief.strange)
    assume(max(time for time in owner if time < then) > then - REMEMBERED)
    gain = bought(owner, thief, passes, then, key=False, others=20)

    target(max(gain.values()))
    assert all(gain[domain] <= BOUND[domain] for domain in DOMAINS), gain


@law
@given(
    victims(),
    thieves(),
    st.lists(st.tuples(st.floats(0, 3 * DAY), st.sampled_from(["failed", "not_checked"])), min_size=1, max_size=30),
    st.integers(1, 40),
    st.sampled_from(["login", "recovery", "payment", "profile_update"]),
)
def test_failing_buys_nothing(
    owner: list[float], thief: Thief, tries: list[tuple[float, str]], times: int, journey: str
) -> None:
    """However often the thief fails, no model scores his next attempt lower than his first."""
    world = World()
    for time in owner:
        if time < NOW:
            world.prove(sign_in(), time)
    next_ = thief.attempt
    before = told(world, thief, NOW + 3 * DAY)
    for wait, result in tries:
        for _ in range(times):
            world.try_(replace(next_, journey=journey, credential_result=result), NOW + wait, **thief.facts)
    after = told(world, thief, NOW + 3 * DAY)

    for one in MODELS.values():
        assert one.score(after)[0] >= one.score(before)[0]


@pytest.mark.parametrize(
    ("weeks", "settled"),
    [
        ([0], False),
        ([0, 0], False),
        ([0, 1], False),
        ([0, 9], False),
        ([0, 0, 0, 0, 0], False),
        ([0, 0, 0, 0, 0, 0], True),
        ([0, 0, 1], False),
        ([0, 0, 1, 1], True),
        ([0, 1, 2], True),
        ([0, 2, 2], True),
        ([0, 10, 20], False),
        ([0, 5, 10], True),
    ],
)
def test_how_many_weak_passes_settle_a_value(weeks: list[int], settled: bool) -> None:
    """It takes six weak passes within a week, four across two weeks, or three across three, to settle a value."""
    tally = [3000, *[weeks.count(week) for week in range(weeks[-1] + 1)]]

    assert standing(tally, FORGOTTEN, (3000 + weeks[-1]) * WEEK)[1] == settled


def test_one_pass_with_a_key_settles_and_no_two_without_ever_do() -> None:
    """One pass with a key settles a value at once; two passes without one never do, at any distance."""
    assert standing([3000, UNITS], FORGOTTEN, 3000 * WEEK)[1]
    for second in range(26):
        tally = [3000, 2] if not second else [3000, 1, *[0] * (second - 1), 1]
        assert not any(standing(tally, FORGOTTEN, (3000 + week) * WEEK)[1] for week in range(second, 60))


def test_an_early_value_is_forgotten_when_the_first_weeks_expire() -> None:
    """A value used once, long ago, does not become the account's own when the account's first weeks expire, be it that
    the table is full or that the policy keeps less."""
    for kept in (PROFILE_SECONDS, 9 * WEEK):
        weeks = kept // WEEK
        account = [3000, *[1] * weeks]
        for week in range(weeks + 1):
            now = (3000 + week) * WEEK
            assert standing([3000, 1], beginning(account, now, kept), now)[1] == (week < weeks - (weeks == 26))


ROWS: Final = re.compile(
    r"^\| ([^|]+) \| (a key|none) \| (\d+) days \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE
)
PAGE: Final = Path(__file__).parents[2] / "docs" / "learning.md"
STRANGER: Final = Thief(
    attempt=sign_in(
        "90.200.10.10",
        device=replace(LAPTOP, device_id="thief", fingerprint="f-thief", screen="1366x768"),
        behaviour=None,
        place=None,
        session=None,
        federation=None,
    ),
    place=BERGEN,
    route=Route(5607, "Sky"),
    agent=CHROME,
    offset=120,
)
"""A copy of the owner's browser, on a line in the owner's country."""


@pytest.mark.parametrize(
    "row", [pytest.param(row, id="-".join(row[:3])) for row in ROWS.findall(PAGE.read_text("utf-8"))]
)
def test_the_page_says_what_passes_buy(row: tuple[str, ...]) -> None:
    """Each figure in docs/learning.md is what the served models give for a twelve-week-old account among eighty
    others."""
    days, key, later, *figures = row
    passes = [NOW + float(day) * DAY for day in days.split(", ")]
    owner = [NOW - 84 * DAY + 3 * DAY * visit for visit in range(60)]

    gain = bought(owner, STRANGER, passes, passes[-1] + int(later) * DAY, key=key == "a key", others=80)

    assert [f"{max(gain[domain], 0.0):.1f}" for domain in DOMAINS] == figures


def test_the_page_has_its_rows() -> None:
    """Every row of the table in docs/learning.md matches the pattern, so that none is skipped."""
    table = PAGE.read_text("utf-8").partition("<!-- bought -->")[2].partition("<!-- /bought -->")[0]

    assert len(ROWS.findall(table)) == len([line for line in table.splitlines() if line.startswith("|")]) - 2 >= 8


def test_the_page_says_how_far_apart_lessons_are() -> None:
    """The hours between two lessons of strange devices in docs/learning.md are those of `SPACING`."""
    rules = PAGE.read_text("utf-8").partition("## The bound")[0]

    assert set(re.findall(r"(\d+) hours", rules)) == {str(SPACING // HOUR)}
