"""The release that is shipped, loaded once for all tests of a process."""

from __future__ import annotations

from functools import cache

from riskd.config import Settings
from riskd.core.assess import Release
from riskd.wiring import load_release


@cache
def shipped_release() -> Release:
    """Nothing changes it: it is a value, with caches of what its rules said."""
    return load_release(Settings())
