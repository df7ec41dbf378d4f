"""What the machine has to try deployments with."""

from __future__ import annotations

import shutil

collect_ignore = [] if shutil.which("systemd-analyze") else ["test_systemd.py"]


def pytest_report_header() -> str:
    """Whether systemd reads the unit: nothing is left out in silence."""
    return f"the systemd unit: {'NOT read, this machine has no systemd-analyze' if collect_ignore else 'read'}"
