"""Packages that only some commands need, and that an installation may do without."""

from __future__ import annotations

from importlib.util import find_spec

from riskd.core.errors import InvalidSettings, Problem


def require(package: str, why: str, extra: str = "train") -> None:
    """Raise InvalidSettings where a package of an extra is not installed."""
    if find_spec(package) is None:
        remedy = f"pip install 'riskd[{extra}]'"
        raise InvalidSettings([Problem(package, f"is not installed, and {why}", remedy)])
