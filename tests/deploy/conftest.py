"""Programs that deployment tests need."""

from __future__ import annotations

import shutil

collect_ignore = [] if shutil.which("systemd-analyze") else ["test_systemd.py"]


def pytest_report_header() -> str:
    """Say whether systemd checks the unit, so that nothing is left out silently."""
    return f"the systemd unit: {'NOT read, this machine has no systemd-analyze' if collect_ignore else 'read'}"
