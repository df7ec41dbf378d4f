"""The version of riskd that is running."""

from __future__ import annotations


def version() -> str:
    """The installed version, or `source` when run from a checkout."""
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415 - slow, and rarely needed
    from importlib.metadata import version as installed  # noqa: PLC0415 - likewise

    try:
        return installed("riskd")
    except PackageNotFoundError:
        return "source"
