"""Optional packages that only some commands need."""

from __future__ import annotations

from importlib.util import find_spec

from riskd.core.errors import InvalidSettings, Problem


def require(package: str, why: str, extra: str = "train") -> None:
    """Raise InvalidSettings if a package is not installed. `why`: what it is needed for; `extra`: what installs it."""
    if find_spec(package) is None:
        remedy = f"in riskd's repository: pip install '.[{extra}]'"
        raise InvalidSettings([Problem(package, f"is not installed, and {why}", remedy)])
