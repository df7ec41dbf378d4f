"""The time of a score and of an explanation, compared with scikit-learn on the same row.

    python -m benchmarks.forest [seconds]

Every vector differs from the reference in nearly every feature, which is the slowest case for contributions. Times are
wall-clock microseconds of single calls. Calls run one at a time, because idle threads of scikit-learn spin and would
slow down concurrent calls.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks import program
from riskd.core.forest import Forest
from riskd.core.model import ForestDocument, Steps
from riskd.offline.training.export import export_forest

ROWS = 6000


def boosted(trees: int, leaves: int, columns: int) -> dict[str, Callable[[Sequence[float]], object]]:
    """The calls of a trained forest, and of the scikit-learn estimator from which it was exported."""
    random = np.random.default_rng(1)
    x = random.normal(size=(ROWS, columns))
    risk = (x * random.normal(size=columns)).sum(axis=1) + (x[:, ::2] * x[:, 1::2]).sum(axis=1)
    x[random.random(x.shape) < 0.1] = np.nan
    estimator = HistGradientBoostingClassifier(max_iter=trees, max_leaf_nodes=leaves, early_stopping=False)
    estimator.fit(x, risk > 0)
    names = [f"f{index}" for index in range(columns)]
    forest = Forest(export_forest(estimator, names, dict.fromkeys(names, 0.0), x[:100]), names)
    return {
        "score": forest.score,
        "explain": forest.explain,
        "predict_proba": lambda row: estimator.predict_proba(np.array(row)[None, :]),
    }


def additive(columns: int) -> dict[str, Callable[[Sequence[float]], object]]:
    """The calls of a scorecard, whose step functions have 2 to 6 values."""
    random = np.random.default_rng(2)
    names = [f"f{index}" for index in range(columns)]
    steps = []
    for index, name in enumerate(names):
        cuts = np.sort(random.normal(size=1 + index % 5)).tolist()
        values = random.normal(size=len(cuts) + 1).tolist()
        steps.append(Steps(feature=name, cuts=tuple(cuts), values=tuple(values), missing=0.0))
    document = ForestDocument(baseline=-3.0, references=dict.fromkeys(names, 0.0), steps=tuple(steps))
    forest = Forest(document, names)
    return {"score": forest.score, "explain": forest.explain}


def measure(
    call: Callable[[Sequence[float]], object], rows: Sequence[tuple[float, ...]], seconds: float
) -> list[float]:
    """The microseconds of single calls, sorted. Calls for `seconds`."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for row in rows:
            start = time.perf_counter_ns()
            call(row)
            taken.append((time.perf_counter_ns() - start) / 1e3)
    return sorted(taken)


def main(seconds: float) -> None:
    models = {
        "60 trees x 32 leaves, 72 features": (boosted(60, 32, 72), 72),
        "100 trees x 16 leaves, 72 features": (boosted(100, 16, 72), 72),
        "additive, 50 features": (additive(50), 50),
    }
    print(f"{'model':36}{'call':16}{'p50 us':>10}{'p99 us':>10}{'scikit-learn / this':>22}")
    for model, (calls, columns) in models.items():
        x = np.random.default_rng(3).normal(size=(200, columns))
        x[np.random.default_rng(4).random(x.shape) < 0.1] = np.nan
        rows = [tuple(row) for row in x.tolist()]
        times = {name: measure(call, rows, seconds / len(calls) / len(models)) for name, call in calls.items()}
        median = {name: taken[len(taken) // 2] for name, taken in times.items()}
        for name, taken in times.items():
            beside = f"{median['predict_proba'] / median[name]:.0f}x" if "predict_proba" in median else ""
            print(f"{model:36}{name:16}{median[name]:10.1f}{taken[len(taken) * 99 // 100]:10.1f}{beside:>22}")


if __name__ == "__main__":
    program(main, float(sys.argv[1]) if len(sys.argv) > 1 else 6.0)
