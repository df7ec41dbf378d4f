"""When a signal counts as left out, and that it is then scored like a value that the account never had."""

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
    ids=["nothing", "the device id", "language and timezone", "the system", "an unreadable browser", "everything"],
)
def test_a_signal_that_always_came_is_left_out_if_missing(
    device: Device, agent: Agent | Missing, expected: set[str]
) -> None:
    """If an account always sent a signal, an attempt without it counts as leaving it out; each signal by itself."""
    assert left_out(settled(crowd()), sign_in(device=device), agent=agent) == expected


def test_refusing_is_leaving_out() -> None:
    """A signal whose purpose is withheld counts as left out, like one that was not sent."""
    assert left_out(settled(), sign_in(device=NAMELESS, consent=("location",))) == {"device"}


def test_without_history_nothing_is_left_out() -> None:
    """Without a history, or if the store failed, nothing counts as left out."""
    nobody, lost = World(), settled()
    assert all(math.isnan(value) for value in flags(nobody, sign_in(device=SILENT)).values())
    failed = Missing("history", "unavailable")
    assert all(math.isnan(value) for value in flags(lost, sign_in(device=SILENT), remembered=failed).values())


def test_a_signal_that_never_came_is_not_left_out() -> None:
    """A signal that the account never sent does not count as left out."""
    world = World()
    for day in range(40, 0, -2):
        world.prove(sign_in(device=NAMELESS), NOW - day * DAY)
    assert left_out(world, sign_in(device=NAMELESS)) == set()


@pytest.mark.parametrize(
    ("passes", "units", "expected"),
    [([0.5], 1, {"device"}), ([0.5], 6, set()), ([21, 14, 7], 1, set()), ([0.1, 0.2], 1, {"device"})],
    ids=["one weak pass", "one pass with a key", "three over weeks", "two in a day"],
)
def test_absence_is_learned_like_any_value(passes: list[float], units: int, expected: set[str]) -> None:
    """The poison guard also applies to absence: one stolen pass without a device id does not make absence usual."""
    world = settled(crowd())
    for day in passes:
        world.prove(sign_in(device=NAMELESS), NOW - day * DAY, units=units)
    assert left_out(world, sign_in(device=NAMELESS)) == expected


def test_an_account_that_began_without_may_come_without() -> None:
    """If an account's first sign-in lacked a signal, lacking it is usual from the start."""
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
def test_a_left_out_signal_is_scored_as_a_new_value(gone: dict[str, Any], strange: dict[str, Any]) -> None:
    """The features that compare a left-out signal with the account get the values of one seen for the first time;
    others do not change."""
    world = settled(crowd())
    without, other = sign_in(device=replace(LAPTOP, **gone)), sign_in(device=replace(LAPTOP, **strange))
    raw = vector(without, world.context(without))
    told, told_strange = impute_left_out(raw), vector(other, world.context(other))

    changed = {at for at, (a, b) in enumerate(zip(raw, told, strict=True)) if repr(a) != repr(b)}
    assert changed
    for at in changed:
        assert math.isnan(raw[at]) or NAMES[at] == "copied_device"
        assert told[at] == pytest.approx(told_strange[at], abs=1e-9), NAMES[at]


@pytest.mark.parametrize(
    ("device", "agent", "count"),
    [
        (LAPTOP, CHROME, 0),
        (replace(LAPTOP, screen=""), CHROME, 1),
        (replace(LAPTOP, fingerprint="", screen=""), CHROME, 2),
        (replace(LAPTOP, fingerprint="", screen="1x2"), UNREADABLE, 4),
        (replace(LAPTOP, device_id="of-nobody", screen=""), CHROME, 0),
    ],
    ids=["nothing", "the screen", "all looks", "one strange, the rest left out", "a strange device"],
)
def test_looks_left_out_beside_a_known_device_count_as_copied(
    device: Device, agent: Agent | Missing, count: float
) -> None:
    """Beside the account's device identifier, each look that is left out counts in `copied_device` like one that
    differs."""
    world, attempt = settled(crowd()), sign_in(device=device)
    told = impute_left_out(vector(attempt, world.context(attempt, agent=agent)))

    assert told[NAMES.index("copied_device")] == count


@pytest.mark.parametrize("cookies", [11, 40])
def test_what_a_full_table_forgot_was_no_absence(cookies: int) -> None:
    """An account with more one-time cookies than are remembered has still always come with an identifier."""
    world = settled(crowd())
    for number in range(cookies):
        world.prove(sign_in(device=replace(LAPTOP, device_id=f"once-{number}")), NOW - (cookies - number) * DAY / 2)

    assert left_out(world, sign_in(device=NAMELESS)) == {"device"}


def test_a_signal_that_never_came_stays_unknown() -> None:
    """A left-out screen does not affect a device id that the account never had: its features stay missing."""
    world = World()
    for day in range(40, 0, -2):
        world.prove(sign_in(device=NAMELESS), NOW - day * DAY)
    attempt = sign_in(device=replace(NAMELESS, screen=""))
    told = dict(zip(NAMES, impute_left_out(vector(attempt, world.context(attempt))), strict=True))

    assert told["screen_left_out"] == 1
    assert told["screen_llr"] > 2
    assert math.isnan(told["device_llr"])
    assert math.isnan(told["new_device"])


def test_imputing_is_idempotent_and_free_if_nothing_is_left_out() -> None:
    """If nothing is left out, the vector is returned uncopied; imputing twice equals imputing once."""
    world, without = settled(), sign_in(device=NAMELESS)
    whole = vector(sign_in(), world.context(sign_in()))
    told = impute_left_out(vector(without, world.context(without)))

    assert impute_left_out(whole) is whole
    assert repr(impute_left_out(told)) == repr(told)


@given(st.lists(st.tuples(st.integers(0, 40 * 7), st.sampled_from(["a", "b", ""]), st.integers(1, 6)), max_size=30))
def test_sign_ins_without_a_value_are_all_less_those_with_one(visits: list[tuple[int, str, int]]) -> None:
    """The tally of sign-ins without a value is what teaching only those sign-ins would have given."""
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


def test_absence_is_counted_in_the_weeks_of_the_table() -> None:
    """Absence is counted in the same weeks as the tables that it is derived from."""
    world = settled(crowd())
    for hours in (1, 2, 3):
        world.prove(sign_in(device=NAMELESS), NOW - WEEK - hours * HOUR, units=2)
    assert left_out(world, sign_in(device=NAMELESS)) == set()
