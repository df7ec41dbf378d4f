"""The features: one table, and one pure function from an attempt and its context to a vector.

Each group is a module: a tuple of `Feature`s and a `compute` that returns their values in that order.
To add one, add both there; `riskd features --markdown` writes its page.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context
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
from riskd.core.features.past import recollect

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
"""Of every feature by its name: what a model file was made for, and is held to."""
GROUPS: Final[tuple[str, ...]] = tuple(dict.fromkeys(feature.group for feature in FEATURES))
_COMPUTE: Final = tuple(module.compute for module in _MODULES)


def vector(attempt: Attempt, context: Context) -> list[float]:
    """The values of `FEATURES`, in order; each is finite or the feature's `missing`. Never raises."""
    past = recollect(context)
    values: list[float] = []
    for compute in _COMPUTE:
        values += compute(attempt, context, past)
    if attempt.consent is None:
        return values
    granted = ("security", *attempt.consent)
    return [
        value if feature.purpose in granted else feature.missing
        for feature, value in zip(FEATURES, values, strict=True)
    ]


def schema() -> str:
    """16 hex digits that change when a name, definition or the order of the features changes."""
    meaning = repr([(feature.name, feature.definition) for feature in FEATURES])
    return blake2b(meaning.encode(), digest_size=8).hexdigest()
