"""What outcomes make of a row, and from when on: the one rule by which models are trained and judged.

Confirmed fraud outweighs everything else, and is known when it was confirmed. Otherwise whoever passed is good, known
from the first pass on. A challenge failed or abandoned says neither: most attackers end there, and some owners.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from riskd.offline.outcomes import PASSED
from riskd.offline.rows import FRAUD, GOOD, UNKNOWN


def label(told: Iterable[tuple[float, str]]) -> tuple[int, float]:
    """Label, and the time from which on it is known (epoch seconds; infinite for `UNKNOWN`), of `(time, kind)` pairs.

    The same rule as `outcomes.label`, which knows no times.
    """
    fraud = good = math.inf
    for time, kind in told:
        if kind == "confirmed_fraud":
            fraud = min(fraud, time)
        elif kind in PASSED:
            good = min(good, time)
    if fraud < math.inf:
        return FRAUD, fraud
    return (GOOD, good) if good < math.inf else (UNKNOWN, math.inf)
