"""Reads the table of AS numbers whose use is known, such as hosting or VPN: a CSV file with `asn,use,name`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

from riskd.core.errors import InvalidGeo, Problem
from riskd.host.files import cause
from riskd.wording import quantity

USES: Final = ("hosting", "vpn", "relay", "satellite")
_HEADER: Final = ["asn", "use", "name"]
_LARGEST: Final = 2**32 - 1
_DIGITS: Final = len(str(_LARGEST))


def read_asn_table(path: Path) -> dict[int, str]:
    """AS number to use (one of `USES`). Raises InvalidGeo with every mistake in the file at once."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        remedy = "provide a UTF-8 file with lines of asn,use,name"
        raise InvalidGeo([Problem(str(path), f"cannot be read: {cause(error)}", remedy)]) from error
    table: dict[int, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#") or (number == 1 and line.split(",") == _HEADER):
            continue
        mistake = _add(table, line)
        if mistake:
            problems.append(Problem(str(path), *mistake, line=number, column=1))
    if problems:
        raise InvalidGeo(problems)
    return table


def _add(table: dict[int, str], line: str) -> tuple[str, str] | None:
    try:
        row = next(csv.reader([line]))
    except csv.Error as error:
        return f"not CSV: {error}", "write asn,use,name"
    if len(row) != len(_HEADER):
        return f"the line has {quantity(len(row), 'field')}", "write asn,use,name"
    number, use = row[0].strip(), row[1].strip()
    if not (number.isascii() and number.isdigit() and len(number) <= _DIGITS and 0 < int(number) <= _LARGEST):
        return f"{number!r} is not an AS number", f"write a whole number from 1 to {_LARGEST}"
    if use not in USES:
        return f"there is no use {use!r}", "write one of " + ", ".join(USES)
    if int(number) in table:
        return f"AS{number} is listed twice", "keep one line"
    table[int(number)] = use
    return None
