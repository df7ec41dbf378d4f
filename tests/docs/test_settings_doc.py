"""The reference pages are what the code says."""

from __future__ import annotations

from pathlib import Path

from riskd.cli import metrics, settings

DOCS = Path(__file__).parents[2] / "docs"


def test_settings_page() -> None:
    """docs/settings.md is `riskd settings --markdown`."""
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == settings.markdown()


def test_metrics_page() -> None:
    """docs/metrics.md is `riskd metrics --markdown`."""
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == metrics.markdown()
