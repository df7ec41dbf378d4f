"""Timezones: the IANA rules by name, and the timezone of a point."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.adapters.timezones import Timezones

ZONES = Timezones()
_YEAR_2012, _YEAR_2038 = 1_325_376_000, 2_145_916_800


@given(st.sampled_from(sorted(available_timezones() - {"Antarctica/Casey"})), st.integers(_YEAR_2012, _YEAR_2038))
def test_offsets_are_those_of_the_rules(name: str, time: int) -> None:
    """Rounding the time to a quarter of an hour for the cache changes no offset."""
    offset = datetime.fromtimestamp(time, ZoneInfo(name)).utcoffset()
    assert offset is not None
    assert ZONES.offset(name, time) == offset.total_seconds() // 60


def test_summer_time_begins_to_the_minute() -> None:
    """Lord Howe Island switches by half an hour at 15:30 UTC exactly."""
    change = 1_791_041_400.0
    assert [ZONES.offset("Australia/Lord_Howe", change + past) for past in (-1, 0)] == [630, 660]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars/Olympus",
        "Europe",
        "../../etc/passwd",
        "/etc/localtime",
        "zone.tab",
        "Europe/Oslo\0",
        "\ud800",
        "x" * 9999,
    ],
)
def test_unknown_names_have_no_offset(name: str) -> None:
    """An unknown name has no offset, and is never used as a path."""
    assert ZONES.offset(name, _YEAR_2012) is None


@pytest.mark.parametrize("time", [-1.0, 1e15, float("inf"), float("nan")])
def test_times_beyond_the_calendar_have_no_offset(time: float) -> None:
    """A time outside the calendar has no offset."""
    assert ZONES.offset("Europe/Oslo", time) is None


@pytest.mark.parametrize(
    ("latitude", "longitude", "name"),
    [(59.91, 10.75, "Europe/Oslo"), (-33.87, 151.21, "Australia/Sydney"), (0.0, -150.0, "Etc/GMT+10")],
)
def test_zone_at_a_point(latitude: float, longitude: float, name: str) -> None:
    """The arguments are latitude, then longitude; points at sea have a timezone as well."""
    assert ZONES.at(latitude, longitude) == name
