"""Answers of any kind, for property tests."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

import riskd
from riskd.core.requirement import Terms

WHEN: Final = 1_795_608_000.7
REASON: Final = riskd.Reason("NEW_DEVICE", 1.5, "The device is new.")
requirements: Final = st.builds(
    riskd.Requirement, st.sampled_from(riskd.Tier), st.builds(Terms, aal=st.integers(0, 3)), st.booleans()
)
answers: Final = st.builds(
    riskd.Assessment,
    id=st.just("0f" * 16),
    score=st.just(0.5),
    level=st.sampled_from(["low", "medium", "high"]),
    requirement=requirements,
    reasons=st.sampled_from([(), (REASON,)]),
    gaps=st.just(()),
    coverage=st.just(1.0),
    causes=st.sampled_from([(), ("store:not_read",)]),
    next_signals=st.just(()),
    release=st.just("4f0c"),
    model=st.just("m"),
    valid_until=st.just(WHEN + 60),
)
