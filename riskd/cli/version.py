"""The version of riskd that is running."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """The installed version, or `source` when run from a checkout."""
    try:
        return installed("riskd")
    except PackageNotFoundError:
        return "source"
