"""Packages that only some commands need, and that an installation may do without."""

from __future__ import annotations

from importlib.util import find_spec

from riskd.core.errors import InvalidSettings, Problem


def require(package: str, why: str) -> None:
    """Raise InvalidSettings where a package of the extra `train` is not installed."""
    if find_spec(package) is None:
        remedy = "pip install 'riskd[train]'"
        raise InvalidSettings([Problem(package, f"is not installed, and {why}", remedy)])
