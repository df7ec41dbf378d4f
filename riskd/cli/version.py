"""The version of riskd that is running."""

from __future__ import annotations


def version() -> str:
    """The installed version, or `source` when run from a checkout."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("riskd")
    except PackageNotFoundError:
        return "source"
