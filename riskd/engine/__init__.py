"""The engine around the pure core: one assessment after another, and what is reported of them later."""

from __future__ import annotations

from riskd.engine.engine import Engine

__all__ = ["Engine"]
