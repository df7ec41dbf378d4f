"""What an account has always come with and an attempt leaves out is judged as a stranger's would be.

Who wants to seem the owner would otherwise do best to say nothing: a strange device speaks against him, none does not
(decision 0087). So no model and no rule needs to know what absence means: they are told what sending a value that
the account never had would have told them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.familiarity import LIMIT
from riskd.core.features import NAMES
from riskd.core.features.presence import FEATURES, SAID

FLAGS: Final = slice(NAMES.index(FEATURES[0].name), NAMES.index(FEATURES[-1].name) + 1)
"""Columns of the features that say what was left out, in the order of `SAID`."""
_DEPTH: Final = NAMES.index("history_depth")
_OF: Final = {"browser": ("agent_llr", "new_browser")}
_COLUMNS: Final = tuple(
    tuple(NAMES.index(name) for name in _OF.get(table, (f"{table}_llr", f"new_{table}")) if name in NAMES)
    for table in SAID
)
"""By what was left out, the features that compare it with the account's own."""
SPOKEN_FOR: Final = {column: flag for flag, columns in enumerate(_COLUMNS, FLAGS.start) for column in columns}
"""By the column of a feature that is judged as a stranger's, that of the feature which says why."""


def as_strangers(features: list[float]) -> list[float]:
    """The features with what was left out as if a value had come that the account never had: of n sign-ins its
    log-likelihood ratio is ln(1 + n). What came is as it was; without anything left out, the list itself."""
    flags = features[FLAGS]
    if 1.0 not in flags:
        return features
    found = features.copy()
    surprise = min(math.log1p(max(features[_DEPTH], 0.0)), LIMIT)
    for flag, columns in zip(flags, _COLUMNS, strict=True):
        if flag != 1.0:
            continue
        for column in columns:
            if math.isnan(found[column]):
                found[column] = surprise if NAMES[column].endswith("_llr") else 1.0
    return found


def taken(features: Sequence[float], column: int) -> bool:
    """Whether this column says what a stranger's value would, since what it is about was left out."""
    flag = SPOKEN_FOR.get(column)
    return flag is not None and features[flag] == 1.0
