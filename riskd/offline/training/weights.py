"""Weights of rows in training: by how likely their label would be known by now, and by class of attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from msgspec import Struct

from riskd.offline.evaluation.operating import Floats
from riskd.offline.rows import FRAUD, GOOD, Rows


class Delay(Struct, frozen=True):
    """How long fraud takes to be reported: the share `shares[i]` is known within `seconds[i]`, in ascending order."""

    seconds: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()

    def known(self, ages: Floats) -> Floats:
        """The share of fraud of each age (seconds) that is known by now; 1 if no delay was observed."""
        if not self.seconds:
            return np.ones(len(ages))
        at = np.searchsorted(self.seconds, ages, side="right")
        shares: Floats = np.array([0.0, *self.shares])[at]
        return shares


def reporting_delay(parts: Sequence[tuple[Rows, float]]) -> Delay:
    """The distribution of reporting delays, from parts of rows and the time at which each part's labels were read.

    Only delays shorter than a fraud's age can have been observed, so short ones are over-represented. The estimate is
    the product limit in reverse time of Lagakos, Barraj and De Gruttola (Biometrika 1988): F(x) is the product over all
    delays y > x of 1 - d(y) / n(y), where d(y) is the number of frauds reported after exactly y, and n(y) the number
    reported within y among those at least y old. One is added to n(y), so that a single late report cannot outweigh all
    early ones. F covers only fraud that is reported at some time: what nobody ever reports is in no log.
    """
    frauds = [(rows.where(rows.labels == FRAUD), moment) for rows, moment in parts]
    delays = np.concatenate([np.maximum(rows.known - rows.times, 0.0) for rows, _ in frauds])
    ages = np.concatenate([moment - rows.times for rows, moment in frauds])
    distinct, counts = np.unique(delays, return_counts=True)
    # n(y) is the number reported within y, minus those younger than y: every delay is at most its fraud's age.
    reported = np.searchsorted(np.sort(delays), distinct, side="right")
    younger = np.searchsorted(np.sort(ages), distinct, side="left")
    left = 1.0 - counts / (reported - younger + 1.0)
    later = np.concatenate([np.cumprod(left[::-1])[::-1][1:], [1.0]])
    return Delay(tuple(distinct.tolist()), tuple(later.tolist()))


def unreported(rows: Rows, ages: Floats, delay: Delay) -> float:
    """The share of the fraud among rows of these ages (seconds) that is probably not reported yet, and counts as good.

    Each reported fraud stands for one over the share that is reported by its age (Horvitz and Thompson 1952).
    """
    shares = np.maximum(delay.known(ages[rows.labels == FRAUD]), min(delay.shares, default=1.0))
    return float(1.0 - len(shares) / (1.0 / shares).sum()) if len(shares) else 0.0


def weights(
    rows: Rows,
    ages: Floats,
    delay: Delay,
    fraud_share: float | None,
    class_weights: Mapping[str, float] = MappingProxyType({}),
) -> Floats:
    """The weight of each row: 1 on average over labelled rows, 0 for rows without a label.

    `ages`: seconds from each attempt to the day on which labels were read. A good row of age a has the weight F(a), the
    share of fraud known by that age. That share of its day's frauds is already labelled, so the odds of fraud among the
    weighted rows equal those of a day whose frauds are all known.

    All fraud together has `fraud_share` of the weight. It is divided among the classes of attack in proportion to the
    square root of their rows, times their `class_weights`: a frequent class does not drown a rare one, and two rows do
    not count like five hundred. The share is the same in each journey: how often a journey is attacked changes with
    time, and a model must not learn that sessions are safe because none was stolen yet. A journey without fraud gets no
    weight. With `fraud_share` None, these shares are left as they are.
    """
    weighed = np.zeros(len(rows))
    good, fraud = rows.labels == GOOD, rows.labels == FRAUD
    weighed[good] = delay.known(ages[good])
    if fraud_share is None:
        weighed[fraud] = 1.0
        return weighed
    names, classes, counts = np.unique(rows.attacks[fraud], return_inverse=True, return_counts=True)
    weighed[fraud] = (np.array([class_weights.get(str(name), 1.0) for name in names]) / np.sqrt(counts))[classes]
    _, journeys = np.unique(rows.journeys, return_inverse=True)
    masses = [np.bincount(journeys, weighed * chosen) for chosen in (good, fraud)]
    odds = masses[1] * (1 - fraud_share) / fraud_share
    weighed[good] *= np.divide(odds, masses[0], out=np.zeros_like(odds), where=masses[0] > 0)[journeys[good]]
    weighed *= (good | fraud).sum() / weighed.sum()
    return weighed
