"""Checks each directed feature of each class of attack, against the owners, for two faults.

Looking riskier must never prove honesty. If it did, an attacker who knew such a model would look riskier on purpose,
and a model that is constrained to the directions of the feature table could not learn it. So it is an error of the
world, unless `SAFER` explains it.

No value may be an attacker's alone, unless `DEFINED` explains it. A few attackers who are certainly given away hardly
move the AUC of their class, but all of them are found at a low rate of false positives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from riskd.core.features import FEATURES
from riskd.offline.rows import HONEST
from riskd.offline.world.attacks import Attack
from riskd.offline.world.defined import JOURNEYS, SAFER, is_declared
from riskd.offline.world.sample import Sample
from riskd.offline.world.visits import NOBODY

TURNED: Final = 0.6
"""Riskier values must be at least this many times as frequent among attackers as among owners."""
SURELY_TURNED: Final = 0.8
FEWEST_EXPECTED: Final = 10
"""With fewer attackers than this expected beyond a cut (if they were like owners), nothing can be concluded."""
ALONE: Final = 0.03
"""At most this share of a class may have values that are riskier than those of nearly all owners."""
SURELY_ALONE: Final = 0.01
NEARLY_ALL: Final = 0.999
CUTS: Final = (0.5, 0.8, 0.95)
"""Quantiles of owners above which a value counts as riskier."""
_ERRORS: Final = 3.0
_DIRECTED: Final = tuple(feature for feature in FEATURES if feature.direction)


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


class Alone(Struct, frozen=True, kw_only=True):
    """How many attempts of attackers have a value of a feature that is riskier than those of nearly all owners.

    `low`: their share less three standard errors.
    """

    domain: str
    attack: str
    feature: str
    rows: int
    owners: float
    attackers: float
    low: float

    @property
    def fails(self) -> bool:
        """Whether the value gives attackers away."""
        return self.attackers > ALONE and self.low > SURELY_ALONE


def alone(sample: Sample, attack: Attack) -> Iterator[Alone]:
    """Each directed feature that does not define a class: who looks riskier than nearly all owners, among the attempts
    with which visits begin. Missing values are left out."""
    columns = dict(zip(sample.names, sample.values.T, strict=True))
    for domain in attack.domains:
        here = _begun(sample, attack, domain)
        for feature in _DIRECTED:
            if feature.name not in columns or is_declared(attack.name, domain, feature.name, feature.group):
                continue
            risk = feature.direction * columns[feature.name]
            known = here & np.isfinite(risk)
            owners, thieves = known & (sample.attacks == HONEST), known & (sample.attacks == attack.name)
            if min(owners.sum() * (1 - NEARLY_ALL), thieves.sum() * ALONE) < 1:
                continue
            cut = np.quantile(risk[owners], NEARLY_ALL)
            by = sample.campaigns if attack.days else sample.subjects
            share, _, low = _share(risk[thieves] > cut, by[thieves])
            yield Alone(
                domain=domain,
                attack=attack.name,
                feature=feature.name,
                rows=int(thieves.sum()),
                owners=float(np.mean(risk[owners] > cut)),
                attackers=share,
                low=low,
            )


def _begun(sample: Sample, attack: Attack, domain: str) -> NDArray[np.bool_]:
    """The attempts on existing accounts in the journey that a class begins with; of sessions, the first of a visit."""
    begins = JOURNEYS.get(attack.name, "login")
    begun = (sample.journeys == begins) & ((begins != "session") | (sample.steps == 0))
    return np.asarray(begun & (np.char.find(sample.segments, NOBODY) < 0) & (sample.domains == domain), np.bool_)


def directions(sample: Sample, attack: Attack) -> Iterator[Turned]:
    """Each directed feature at its worst cut for a class, in the journey that the class begins with.

    Attempts are compared with those that got equally far: failed ones with failed ones, and visits that begin in a
    session with each other. Missing values are left out.
    """
    columns = dict(zip(sample.names, sample.values.T, strict=True))
    wrong = columns.get("credential_failed", np.zeros(len(sample.times))) == 1
    for domain in attack.domains:
        here = _begun(sample, attack, domain) & np.isin(sample.attacks, (HONEST, attack.name))
        for failed in (False, True):
            rows = here & (wrong == failed)
            for feature in _DIRECTED:
                name = feature.name
                if name in columns and name != "credential_failed" and name not in SAFER[attack.name]:
                    risk = feature.direction * columns[name]
                    chosen = np.flatnonzero(rows & np.isfinite(risk))
                    yield from _worst(sample, (attack, domain, name, failed), risk, chosen)


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
