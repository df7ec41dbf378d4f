"""docs/releases.md shows what `riskd release compare` prints."""

from __future__ import annotations

from tests.docs.rollout_example import PAGE, page


def test_the_page_shows_what_the_comparison_prints() -> None:
    """The output on the page is that of the example's log."""
    assert page() == PAGE.read_text(encoding="utf-8"), "update it: python -m tests.docs.rollout_example"
