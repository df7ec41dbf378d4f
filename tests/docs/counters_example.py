"""The example of a counter in docs/policy.md: its policy and its cases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from riskd.config import data_directory

_SECTION: Final = (
    (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8").partition("### Counters")[2]
)


def counting_policy() -> str:
    """The shipped policy of customers with the counters and rules of the page."""
    shipped = (data_directory("policies") / "customer.yaml").read_text(encoding="utf-8")
    written = re.search(r"```yaml\n(counters: .*?\n)rules:\n(.*?)```", _SECTION, re.DOTALL)
    assert written is not None
    return shipped.replace("rules:\n", f"{written[1]}rules:\n{written[2]}", 1)


def cases() -> str:
    """The cases of the page."""
    return _SECTION.partition("```yaml\n# tests/customer.yaml\n")[2].partition("```")[0]
