"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is not a broken law: pytest's own timeout ends what hangs.
settings.register_profile("riskd", deadline=None)
settings.load_profile("riskd")
