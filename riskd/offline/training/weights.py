"""What a row weighs in training: by how likely its label would be known by now, and by its class of attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from msgspec import Struct

from riskd.offline.evaluation.operating import Floats
from riskd.offline.rows import FRAUD, GOOD, Rows


class Delay(Struct, frozen=True):
    """How long fraud takes to be reported: `shares[i]` of it is known within `seconds[i]`, which rise."""

    seconds: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()

    def known(self, ages: Floats) -> Floats:
        """The share of fraud of each age (seconds) that is known by now; all of it where nothing was observed."""
        if not self.seconds:
            return np.ones(len(ages))
        at = np.searchsorted(self.seconds, ages, side="right")
        found: Floats = np.array([0.0, *self.shares])[at]
        return found


def reporting_delay(parts: Sequence[tuple[Rows, float]]) -> Delay:
    """The distribution of reporting delays, of rows and the moment at which each part was looked at.

    Only delays shorter than a fraud is old can have been seen, so short ones are over-represented. The estimate is the
    product limit in reverse time of Lagakos, Barraj and De Gruttola (Biometrika 1988): F(x) is the product over all
    delays y > x of 1 - d(y) / n(y), where d(y) frauds were reported after y, and n(y) within y though they are at
    least y old. One is added to n(y), so that a single late report cannot deny all early ones. F is of the
    delays that could have been seen: fraud that nobody ever reports is in no log.
    """
    frauds = [(rows.where(rows.labels == FRAUD), moment) for rows, moment in parts]
    delays = np.concatenate([np.maximum(rows.known - rows.times, 0.0) for rows, _ in frauds])
    ages = np.concatenate([moment - rows.times for rows, moment in frauds])
    distinct, counts = np.unique(delays, return_counts=True)
    # Reported within y, and at least y old: as every delay is within its age, those two counts differ by
    # the frauds that are younger than y.
    reported = np.searchsorted(np.sort(delays), distinct, side="right")
    younger = np.searchsorted(np.sort(ages), distinct, side="left")
    left = 1.0 - counts / (reported - younger + 1.0)
    later = np.concatenate([np.cumprod(left[::-1])[::-1][1:], [1.0]])
    return Delay(tuple(distinct.tolist()), tuple(later.tolist()))


def weights(
    rows: Rows,
    ages: Floats,
    delay: Delay,
    fraud_share: float | None,
    class_weights: Mapping[str, float] = MappingProxyType({}),
) -> Floats:
    """The weight of each row, 1 on average over all that are labelled; rows without a label weigh nothing.

    `ages` are seconds from each attempt to the day on which labels were read. A good row of age a weighs F(a), the
    share of fraud that is known by that age: so many frauds of its day are told apart from it already, and the odds
    of fraud among what is weighed are those of an old day.

    All fraud together has `fraud_share` of the weight, divided among the classes of attack by the square root of their
    rows, times its own of `class_weights`: a loud class does not drown a skilled one, and two rows do not weigh like
    five hundred. The share is the same in each journey: how often a journey is attacked is the fashion of a season, and
    no model should learn that a session is safe because nobody has stolen one yet. Of a journey without fraud nothing
    is learnt. With None these shares are left as they are.
    """
    found = np.zeros(len(rows))
    good, fraud = rows.labels == GOOD, rows.labels == FRAUD
    found[good] = delay.known(ages[good])
    if fraud_share is None:
        found[fraud] = 1.0
        return found
    names, classes, counts = np.unique(rows.attacks[fraud], return_inverse=True, return_counts=True)
    found[fraud] = (np.array([class_weights.get(str(name), 1.0) for name in names]) / np.sqrt(counts))[classes]
    _, journeys = np.unique(rows.journeys, return_inverse=True)
    masses = [np.bincount(journeys, found * chosen) for chosen in (good, fraud)]
    odds = masses[1] * (1 - fraud_share) / fraud_share
    found[good] *= np.divide(odds, masses[0], out=np.zeros_like(odds), where=masses[0] > 0)[journeys[good]]
    found *= (good | fraud).sum() / found.sum()
    return found
