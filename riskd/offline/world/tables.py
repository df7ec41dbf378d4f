"""Reads the tables in the world's data directory: countries, operators and devices; and when people visit."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

HOURS: Final = (
    *(0.00852, 0.01015, 0.01178, 0.01431, 0.01794, 0.02664, 0.04167, 0.05273, 0.05816, 0.06088, 0.05943, 0.05871),
    *(0.05871, 0.05871, 0.05871, 0.05925, 0.0607, 0.05889, 0.05834, 0.05671, 0.04657, 0.03171, 0.01921, 0.0116),
)
"""Share of successful sign-ins by hour of the day, 0 to 23 UTC: RBA dataset, read from the authors' figure.

Its people live an hour or two east of UTC; here the hours are used as local ones.
"""
WEEKDAYS: Final = (0.1482, 0.1544, 0.1488, 0.151, 0.1433, 0.1238, 0.1304)
"""Share of sign-ins by weekday, Monday first: RBA dataset."""


class Country(Struct, frozen=True):
    """A country where people live. `share`: relative weight; 0 for one that people only travel to."""

    code: str
    share: float
    languages: tuple[str, ...]


class Operator(Struct, frozen=True):
    """A network operator. `country` is '' if it has customers everywhere."""

    country: str
    kind: str
    asn: int
    weight: float


class Model(Struct, frozen=True):
    """A device model, as it presents itself to web sites."""

    category: str
    weight: float
    screen: str
    user_agent: str


class Tables(Struct, frozen=True):
    """All of them."""

    countries: tuple[Country, ...]
    operators: tuple[Operator, ...]
    models: tuple[Model, ...]


def read_tables(directory: Path) -> Tables:
    """The tables in `directory`. They are part of the package, so they are not validated."""
    return Tables(
        tuple(
            Country(row["country"], float(row["share"]), tuple(row["languages"].split()))
            for row in _rows(directory / "countries.csv")
        ),
        tuple(
            Operator(row["country"], row["kind"], int(row["asn"]), float(row["weight"]))
            for row in _rows(directory / "networks.csv")
        ),
        tuple(
            Model(row["category"], float(row["weight"]), row["screen"], row["user_agent"])
            for row in _rows(directory / "agents.csv")
        ),
    )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(line for line in file if not line.startswith("#"))
