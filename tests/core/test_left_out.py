"""Laws of what is left out: when it counts as left out, and that it is then imputed as a new value."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core.attempt import Attempt, Device
from riskd.core.context import Agent, Missing
from riskd.core.features import NAMES, vector
from riskd.core.features.presence import FEATURES, VOLUNTARY, _without
from riskd.core.history import DAY, HOUR, OLDEST, WEEK, Delta, History, fold
from riskd.core.left_out import FLAGS, impute_left_out
from tests.core.builders import CHROME, LAPTOP, NOW, World, crowd, settled, sign_in

FLAG_NAMES: Final = tuple(feature.name for feature in FEATURES)
NAMELESS: Final = replace(LAPTOP, device_id="")
SILENT: Final = Device()
READABLE: Final = Agent("Chrome", "153", "", "", "other")
UNREADABLE: Final = Missing("agent", "unreadable")


def flags(world: World, attempt: Attempt, **facts: Any) -> dict[str, float]:  # noqa: ANN401
    return dict(zip(FLAG_NAMES, vector(attempt, world.context(attempt, **facts))[FLAGS], strict=True))


def left_out(world: World, attempt: Attempt, **facts: Any) -> set[str]:  # noqa: ANN401
    return {name.removesuffix("_left_out") for name, value in flags(world, attempt, **facts).items() if value == 1.0}


@pytest.mark.parametrize(
    ("device", "agent", "expected"),
    [
        (LAPTOP, CHROME, set()),
        (NAMELESS, CHROME, {"device"}),
        (replace(LAPTOP, languages=(), timezone=""), CHROME, {"language", "timezone"}),
        (LAPTOP, READABLE, {"os"}),
        (LAPTOP, UNREADABLE, {"browser", "os"}),
        (SILENT, Missing("agent", "not_sent"), set(VOLUNTARY)),
    ],
    ids=["nothing", "the identifier", "settings", "the system", "an unreadable browser", "everything"],
)
def test_what_always_came_and_does_not_come_is_left_out(
    device: Device, agent: Agent | Missing, expected: set[str]
) -> None:
    """Each signal separately, for an account that always sent all of them."""
    assert left_out(settled(crowd()), sign_in(device=device), agent=agent) == expected


def test_refusing_is_leaving_out() -> None:
    """Refusing a purpose has the same effect as not sending its signals. What was sent does not count as left out."""
    assert left_out(settled(), sign_in(device=NAMELESS, consent=("location",))) == {"device"}


def test_of_an_account_without_history_nothing_is_left_out() -> None:
    """Nothing is left out at a cold start, nor if the store failed."""
    nobody, lost = World(), settled()
    assert all(math.isnan(value) for value in flags(nobody, sign_in(device=SILENT)).values())
    failed = Missing("history", "unavailable")
    assert all(math.isnan(value) for value in flags(lost, sign_in(device=SILENT), remembered=failed).values())


def test_what_never_came_is_not_left_out() -> None:
    """If a caller never sends identifiers, its accounts leave none out."""
    world = World()
    for day in range(40, 0, -2):
        world.prove(sign_in(device=NAMELESS), NOW - day * DAY)
    assert left_out(world, sign_in(device=NAMELESS)) == set()


@pytest.mark.parametrize(
    ("passes", "units", "expected"),
    [([0.5], 1, {"device"}), ([0.5], 6, set()), ([21, 14, 7], 1, set()), ([0.1, 0.2], 1, {"device"})],
    ids=["one weak pass", "one pass with a key", "three over weeks", "two in a day"],
)
def test_to_come_without_is_learned_as_any_value(passes: list[float], units: int, expected: set[str]) -> None:
    """The guard against poisoning holds for absence, too: a single pass without an identifier does not settle it."""
    world = settled(crowd())
    for day in passes:
        world.prove(sign_in(device=NAMELESS), NOW - day * DAY, units=units)
    assert left_out(world, sign_in(device=NAMELESS)) == expected


def test_an_account_that_began_without_may_come_without() -> None:
    """What an account started with is settled from the start, and that may be no value."""
    world = World()
    world.prove(sign_in(device=NAMELESS), NOW - 3 * DAY)
    world.prove(sign_in(), NOW - 2 * DAY)
    assert left_out(world, sign_in(device=NAMELESS)) == set()


@pytest.mark.parametrize(
    ("gone", "strange"),
    [
        ({"device_id": ""}, {"device_id": "of-nobody"}),
        ({"languages": ()}, {"languages": ("eo",)}),
        ({"screen": ""}, {"screen": "1x2"}),
    ],
    ids=["device_id", "languages", "screen"],
)
def test_what_is_left_out_is_told_as_what_nobody_had(gone: dict[str, Any], strange: dict[str, Any]) -> None:
    """The features that compare the value with the account equal those of a value that is new, up to rounding. All
    others equal those of an attempt without it."""
    world = settled(crowd())
    without, other = sign_in(device=replace(LAPTOP, **gone)), sign_in(device=replace(LAPTOP, **strange))
    raw = vector(without, world.context(without))
    told, told_strange = impute_left_out(raw), vector(other, world.context(other))

    changed = {at for at, (a, b) in enumerate(zip(raw, told, strict=True)) if repr(a) != repr(b)}
    assert changed
    for at in changed:
        assert math.isnan(raw[at])
        assert told[at] == pytest.approx(told_strange[at], abs=1e-9), NAMES[at]


def test_beside_what_is_left_out_what_never_came_stays_unknown() -> None:
    """Leaving out the screen does not affect the device identifier, if the account never had one."""
    world = World()
    for day in range(40, 0, -2):
        world.prove(sign_in(device=NAMELESS), NOW - day * DAY)
    attempt = sign_in(device=replace(NAMELESS, screen=""))
    told = dict(zip(NAMES, impute_left_out(vector(attempt, world.context(attempt))), strict=True))

    assert told["screen_left_out"] == 1
    assert told["screen_llr"] > 2
    assert math.isnan(told["device_llr"])
    assert math.isnan(told["new_device"])


def test_nothing_left_out_costs_nothing() -> None:
    """If nothing was left out, the same list is returned. Imputing twice changes nothing."""
    world, without = settled(), sign_in(device=NAMELESS)
    whole = vector(sign_in(), world.context(sign_in()))
    told = impute_left_out(vector(without, world.context(without)))

    assert impute_left_out(whole) is whole
    assert repr(impute_left_out(told)) == repr(told)


@given(st.lists(st.tuples(st.integers(0, 40 * 7), st.sampled_from(["a", "b", ""]), st.integers(1, 6)), max_size=30))
def test_sign_ins_without_a_value_are_all_less_those_with_one(visits: list[tuple[int, str, int]]) -> None:
    """The tally of sign-ins without a value is that of teaching only these, as far as the account's reaches."""
    whole, alone = History(), History()
    for day, device, units in sorted(visits):
        once = ("sign_in", "", units)
        counts = (once, ("device", device, units)) if device else (once,)
        fold(whole, Delta(b"k", day * DAY, 1e12, counts))
        if not device:
            fold(alone, Delta(b"k", day * DAY, 1e12, (once,)))
    account = whole.tallies.account
    found = _without(account, list((whole.tallies.device or {}).values())) if account else []
    expected = alone.tallies.account

    def by_week(tally: list[int]) -> dict[int, int]:
        weeks = dict(enumerate(tally[1:], tally[0])) if tally else {}
        newest = account[0] + len(account) - 2 if account else 0
        return {week: n for week, n in weeks.items() if n and week > newest - OLDEST}

    assert by_week(found) == by_week(expected)
    assert not found or found[1] > 0


def test_a_week_is_a_week() -> None:
    """Absence is counted in the periods of the tables."""
    world = settled(crowd())
    for hours in (1, 2, 3):
        world.prove(sign_in(device=NAMELESS), NOW - WEEK - hours * HOUR, units=2)
    assert left_out(world, sign_in(device=NAMELESS)) == set()
