"""Imputes values that an account has always sent and this attempt leaves out, as a stranger's would be.

Otherwise an attacker would do best to send nothing: an unknown device counts against an attempt, a missing one would
not (decision 0087). Models and rules need no notion of absence: they see the features that a value new to the account
would have given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.familiarity import LIMIT
from riskd.core.features import NAMES
from riskd.core.features.presence import FEATURES, VOLUNTARY

FLAGS: Final = slice(NAMES.index(FEATURES[0].name), NAMES.index(FEATURES[-1].name) + 1)
"""Columns of the features `*_left_out`, in the order of `VOLUNTARY`."""
_DEPTH: Final = NAMES.index("history_depth")
_NEW_DEVICE: Final = NAMES.index("new_device")
COPIED: Final = NAMES.index("copied_device")
_LOOKS: Final = tuple(NAMES.index(f"{table}_left_out") for table in ("fingerprint", "screen", "browser", "os"))
"""Columns of the flags of what `copied_device` compares a device with whose identifier is known."""
_OF: Final = {"browser": ("agent_llr", "new_browser")}
_COLUMNS: Final = tuple(
    tuple(NAMES.index(name) for name in _OF.get(table, (f"{table}_llr", f"new_{table}")) if name in NAMES)
    for table in VOLUNTARY
)
"""For each of `VOLUNTARY`, the columns of the features that compare the value with the account's own."""
FLAG_OF: Final = {column: flag for flag, columns in enumerate(_COLUMNS, FLAGS.start) for column in columns}
"""For the column of each feature that may be imputed, the column of its `*_left_out` feature."""


def impute_left_out(features: list[float]) -> list[float]:
    """Impute the features of values that were left out, as if the value were new to the account.

    The log-likelihood ratio of a new value after n sign-ins is ln(1 + n). Beside a known device identifier, looks that
    were left out count in `copied_device` as if they differed. Other features are unchanged; if nothing was left out,
    the same list is returned. Imputing twice is imputing once.
    """
    flags = features[FLAGS]
    if 1.0 not in flags:
        return features
    found = features.copy()
    surprise = min(math.log1p(max(features[_DEPTH], 0.0)), LIMIT)
    for at, (flag, columns) in enumerate(zip(flags, _COLUMNS, strict=True), FLAGS.start):
        if flag != 1.0:
            continue
        gone = [column for column in columns if math.isnan(found[column])]
        for column in gone:
            found[column] = surprise if NAMES[column].endswith("_llr") else 1.0
        if gone and counts_as_copied(features, at):
            found[COPIED] += 1.0
    return found


def counts_as_copied(features: Sequence[float], flag: int) -> bool:
    """Whether what this flag says was left out counts in `copied_device`."""
    return flag in _LOOKS and features[_NEW_DEVICE] == 0.0


def is_imputed(features: Sequence[float], column: int) -> bool:
    """Whether the feature in this column was imputed."""
    flag = FLAG_OF.get(column)
    return flag is not None and features[flag] == 1.0
