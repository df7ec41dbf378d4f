"""The version that runs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """The installed version; `source` in a checkout that is not installed."""
    try:
        return installed("riskd")
    except PackageNotFoundError:
        return "source"
