"""The features: a table of all of them, and a pure function that computes their vector.

Each group is a module with a tuple of `Feature`s and a function `compute` that returns their values in that order. To
add a feature, add it to both; `riskd features --markdown` generates the documentation.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context, Remembered
from riskd.core.features import (
    attestation,
    behaviour,
    consistency,
    credential,
    familiarity,
    federation,
    infrastructure,
    motion,
    novelty,
    outside,
    presence,
    rarity,
    rhythm,
    sequence,
    session,
    sharing,
    velocity,
)
from riskd.core.features.feature import Feature
from riskd.core.features.past import read_past

__all__ = ["DEFINITIONS", "FEATURES", "GROUPS", "NAMES", "Feature", "schema", "vector"]

_MODULES: Final = (
    familiarity,
    novelty,
    rarity,
    rhythm,
    motion,
    velocity,
    sharing,
    infrastructure,
    consistency,
    behaviour,
    credential,
    attestation,
    federation,
    session,
    sequence,
    outside,
    presence,
)
FEATURES: Final[tuple[Feature, ...]] = tuple(feature for module in _MODULES for feature in module.FEATURES)
"""Every feature, in the order of the vector."""
NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in FEATURES)
DEFINITIONS: Final[dict[str, str]] = {feature.name: feature.definition for feature in FEATURES}
"""By feature name, its definition. A model file is refused if those of its features have changed."""
GROUPS: Final[tuple[str, ...]] = tuple(dict.fromkeys(feature.group for feature in FEATURES))
_COMPUTE: Final = tuple(module.compute for module in _MODULES)


def vector(attempt: Attempt, context: Context) -> list[float]:
    """The values of `FEATURES`, in order; each is finite, or the feature's `missing`. Never raises."""
    past = read_past(context)
    values: list[float] = []
    for compute in _COMPUTE:
        values += compute(attempt, context, past)
    if attempt.consent is not None:
        granted = ("security", *attempt.consent)
        values = [
            value if feature.purpose in granted else feature.missing
            for feature, value in zip(FEATURES, values, strict=True)
        ]
    if isinstance(context.remembered, Remembered) and context.remembered.unread:
        unread = frozenset(context.remembered.unread)
        values = [
            value if unread.isdisjoint(feature.reads) else feature.missing
            for feature, value in zip(FEATURES, values, strict=True)
        ]
    return values


def schema() -> str:
    """A hash of all names and definitions, in order: 16 hex digits."""
    meaning = repr([(feature.name, feature.definition) for feature in FEATURES])
    return blake2b(meaning.encode(), digest_size=8).hexdigest()
