"""Checks that looking riskier never proves honesty: each directed feature of each class of attack, against the owners.

If it did, an attacker who knew such a model would look riskier on purpose, and a model that is constrained to the
directions of the feature table could not learn it. So it is an error of the world, unless `SAFER` explains it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from riskd.core.features import FEATURES
from riskd.offline.rows import HONEST
from riskd.offline.world.attacks import ATTACKS, NOBODY, Attack
from riskd.offline.world.defined import JOURNEYS, SAFER
from riskd.offline.world.sample import Sample

TURNED: Final = 0.6
"""Riskier values must be at least this many times as frequent among attackers as among owners."""
SURELY_TURNED: Final = 0.8
FEWEST_EXPECTED: Final = 10
"""With fewer attackers than this expected beyond a cut (if they were like owners), nothing can be concluded."""
CUTS: Final = (0.5, 0.8, 0.95)
"""Quantiles of owners above which a value counts as riskier."""
_ERRORS: Final = 3.0
_DIRECTION: Final = {feature.name: feature.direction for feature in FEATURES if feature.direction}


class Turned(Struct, frozen=True, kw_only=True):
    """How frequent the riskier values of a feature, those beyond `cut`, are among owners and attackers.

    `failed`: among attempts whose credential failed, else among all others. `high`: the largest ratio of the shares
    within three standard errors of each.
    """

    domain: str
    attack: str
    feature: str
    failed: bool
    rows: int
    cut: float
    owners: float
    attackers: float
    high: float

    @property
    def ratio(self) -> float:
        """How many times as frequent they are among attackers as among owners."""
        return self.attackers / self.owners

    @property
    def fails(self) -> bool:
        """Whether riskier values prove honesty."""
        return self.ratio < TURNED and self.high < SURELY_TURNED


def directions(sample: Sample, attacks: Sequence[Attack] = ATTACKS) -> Iterator[Turned]:
    """For every class, each directed feature at its worst cut, in the journey that the class begins with.

    Attempts are compared with those that got equally far: failed ones with failed ones, and visits that begin in a
    session with each other. Missing values are left out.
    """
    columns = dict(zip(sample.names, sample.values.T, strict=True))
    wrong = columns.get("credential_failed", np.zeros(len(sample.times))) == 1
    there = np.char.find(sample.segments, NOBODY) < 0
    for attack in attacks:
        begins = JOURNEYS.get(attack.name, "login")
        begun = (sample.journeys == begins) & ((begins != "session") | (sample.steps == 0))
        for domain in attack.domains:
            here = there & begun & (sample.domains == domain) & np.isin(sample.attacks, (HONEST, attack.name))
            for failed in (False, True):
                rows = here & (wrong == failed)
                for name, direction in _DIRECTION.items():
                    if name in columns and name != "credential_failed" and name not in SAFER[attack.name]:
                        chosen = np.flatnonzero(rows & np.isfinite(columns[name]))
                        yield from _worst(sample, (attack, domain, name, failed), direction * columns[name], chosen)


def _worst(
    sample: Sample, what: tuple[Attack, str, str, bool], risk: NDArray[np.float64], chosen: NDArray[np.intp]
) -> Iterator[Turned]:
    attack, domain, name, failed = what
    attacked = sample.attacks[chosen] == attack.name
    owners, thieves = chosen[~attacked], chosen[attacked]
    if not len(owners) or not len(thieves):
        return
    by = sample.campaigns if attack.days else sample.subjects
    turned: list[Turned] = []
    for cut in np.unique(np.quantile(risk[owners], CUTS)):
        common, _, least = _share(risk[owners] > cut, sample.subjects[owners])
        if common * len(thieves) < FEWEST_EXPECTED or not least:
            continue
        share, most, _ = _share(risk[thieves] > cut, by[thieves])
        turned.append(
            Turned(
                domain=domain,
                attack=attack.name,
                feature=name,
                failed=failed,
                rows=len(thieves),
                cut=abs(float(cut)),
                owners=common,
                attackers=share,
                high=most / least,
            )
        )
    if turned:
        yield min(turned, key=lambda each: (not each.fails, each.ratio))


def _share(beyond: NDArray[np.bool_], who: NDArray[np.str_]) -> tuple[float, float, float]:
    """A share, with its upper and lower bound: three standard errors of the root of a count (Anscombe, Biometrika
    1948), wider because rows of one person resemble each other."""
    rows, count = len(beyond), float(beyond.sum())
    _, each = np.unique(who, return_inverse=True)
    off = np.bincount(each, weights=beyond - count / rows)
    alike = max(float((off**2).sum()) / count, 1.0) if count else 1.0
    root, error = math.sqrt(count + 3 / 8), _ERRORS / 2 * math.sqrt(alike)
    return count / rows, (root + error) ** 2 / rows, max(root - error, 0.0) ** 2 / rows
