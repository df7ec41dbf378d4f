"""Checks that nothing reveals an attacker that should not: a small boosted model for each class and group of numbers.

`defined` declares what defines a class; in everything else, attackers must look like owners. A group fails if its
cross-validated AUC is above `WORST`, and above `SURELY` by three of its standard errors (bootstrap over people). There
are nearly two hundred comparisons, and with fifty attackers some exceed the first limit by chance. A group that does is
divided into folds four more times and judged by its mean rank, because one division has too much influence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from riskd.adapters.decision_log import DECISIONS
from riskd.config import Settings
from riskd.core.attempt import Attempt
from riskd.core.errors import InvalidSettings, Problem
from riskd.offline.rows import HONEST
from riskd.offline.training.boosting import fillable
from riskd.offline.truth import FILE, Truth
from riskd.offline.world.attacks import ATTACKS, Attack
from riskd.offline.world.defined import JOURNEYS, is_declared
from riskd.offline.world.directions import Alone, Turned, alone, directions
from riskd.offline.world.open import open_world
from riskd.offline.world.run import read_made, truth_of
from riskd.offline.world.sample import Sample, features, pooled
from riskd.offline.world.traits import traits
from riskd.offline.world.visits import NOBODY
from riskd.offline.world.world import Asked, OpenDoor, World
from riskd.progress import Progress

WORST: Final = 0.6
SURELY: Final = 0.55
FEWEST: Final = 30
"""With attempts on fewer accounts by a class, or by owners, nothing can be concluded."""
MOST: Final = 3000
"""The largest number of owners' attempts to compare with."""
FIRST: Final = "first"
"""The attempts with which visits to existing accounts begin."""
_FOLDS, _FOLDINGS, _RESAMPLED, _TOLD = 3, 5, 200, 3


class Finding(Struct, frozen=True, kw_only=True):
    """How well one group of numbers reveals one class. `auc` is NaN if there were too few rows.

    `telling`: the most revealing numbers, each with its own AUC.
    """

    domain: str
    attack: str
    stage: str
    group: str
    rows: int
    auc: float
    low: float
    telling: tuple[str, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether the group reveals the class."""
        return self.auc > WORST and self.low > SURELY


def audit(sample: Sample, attack: Attack) -> Iterator[Finding]:
    """Compare a class with the owners of its domains, group by group, except for the groups that define it."""
    with threadpool_limits(1, user_api="openmp"):  # threads of models this small mostly wait for each other
        for domain in attack.domains:
            ours = (sample.attacks == attack.name) & (sample.domains == domain)
            for stage in np.unique(stages(sample, attack)[ours]):
                yield from _staged(sample, attack, domain, str(stage))


def stages(sample: Sample, attack: Attack) -> NDArray[np.str_]:
    """How far each attempt has come, in the eyes of a class: the first of a visit in the journey that the class begins
    with, a later one in some journey, or one on an account that does not exist."""
    journey = JOURNEYS.get(attack.name, "login")
    first = (sample.journeys == journey) & ((sample.steps == 0) | (journey == "recovery"))
    inside = np.where(sample.begins == "session", " in an old session", "")
    later = np.char.add(np.char.add("later ", sample.journeys), inside)
    nobody = np.char.find(sample.segments, NOBODY) >= 0
    return np.where(nobody, NOBODY, np.where(first, FIRST, later))


def compared(
    sample: Sample, attack: Attack, domain: str, stage: str = FIRST
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The rows to compare, and which of them are attacks.

    The attempts of a class at a stage are compared with those of owners at the same stage. A class with campaigns is
    compared with the days on which they were active.
    """
    here = (stages(sample, attack) == stage) & (sample.domains == domain)
    attacks, owners = here & (sample.attacks == attack.name), here & (sample.attacks == HONEST)
    if attack.days and not attack.batch and stage != NOBODY:
        during = np.zeros(len(sample.times), dtype=np.bool_)
        for campaign in np.unique(sample.campaigns[attacks]):
            times = sample.times[attacks & (sample.campaigns == campaign)]
            during |= (sample.times >= times.min()) & (sample.times <= times.max())
        owners &= during
    fewer = np.flatnonzero(owners)
    if len(fewer) > MOST:
        fewer = np.random.default_rng(0).choice(fewer, MOST, replace=False)
    chosen = np.sort(np.concatenate([np.flatnonzero(attacks), fewer]))
    return chosen, sample.attacks[chosen] == attack.name


def _staged(sample: Sample, attack: Attack, domain: str, stage: str) -> Iterator[Finding]:
    chosen, attacked = compared(sample, attack, domain, stage)
    # One attacker makes many attempts in a campaign: they stay together in a fold.
    people = np.where(attacked & bool(attack.days), sample.campaigns[chosen], sample.subjects[chosen])
    few = min(len(np.unique(sample.subjects[chosen[which]])) for which in (attacked, ~attacked)) < FEWEST
    for group in dict.fromkeys(sample.groups):
        columns = [
            at
            for at, (name, of) in enumerate(zip(sample.names, sample.groups, strict=True))
            if of == group and not is_declared(attack.name, domain, name, group)
        ]
        values = sample.values[chosen][:, columns]
        columns = [column for at, column in enumerate(columns) if len(np.unique(values[:, at])) > 1]
        if not columns:
            continue
        unjudged = Finding(
            domain=domain,
            attack=attack.name,
            stage=stage,
            group=group,
            rows=int(attacked.sum()),
            auc=np.nan,
            low=np.nan,
        )
        yield unjudged if few else _judged(sample, unjudged, columns, (chosen, attacked, people))


def _judged(
    sample: Sample,
    one: Finding,
    columns: list[int],
    rows: tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.str_]],
) -> Finding:
    chosen, attacked, people = rows
    values = sample.values[chosen][:, columns]
    ranks = _ranked(values, attacked, people)
    auc = float(roc_auc_score(attacked, ranks))
    low, telling = np.nan, tuple[str, ...]()
    if auc > WORST:
        ranks = np.mean([ranks, *(_ranked(values, attacked, people, seed) for seed in range(1, _FOLDINGS))], axis=0)
        auc = float(roc_auc_score(attacked, ranks))
    if auc > WORST:
        low = _low(attacked, ranks, people)
        alone = sorted((_alone(values[:, at], attacked), sample.names[column]) for at, column in enumerate(columns))
        telling = tuple(f"{name} {auc_alone:.2f}" for auc_alone, name in alone[::-1][:_TOLD])
    return replace(one, auc=auc, low=low, telling=telling)


def _ranked(
    values: NDArray[np.float64], attacked: NDArray[np.bool_], people: NDArray[np.str_], seed: int = 0
) -> NDArray[np.float64]:
    """How much each row resembles an attack, by a model that was trained without the people of its fold: ranks in the
    fold."""
    ranks = np.zeros(len(attacked))
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for learnt, judged in folds.split(values, attacked, people):
        model = HistGradientBoostingClassifier(
            max_iter=40, max_leaf_nodes=8, min_samples_leaf=15, learning_rate=0.15, early_stopping=False, random_state=0
        )
        if len(np.unique(attacked[learnt])) < 2:
            ranks[judged] = 0.5
            continue
        guessed = model.fit(fillable(values[learnt]), attacked[learnt]).decision_function(values[judged])
        order = np.unique(guessed, return_inverse=True)[1]
        ranks[judged] = order / max(order.max(), 1)
    return ranks


def _low(attacked: NDArray[np.bool_], ranks: NDArray[np.float64], people: NDArray[np.str_]) -> float:
    """The AUC minus three of its standard errors, by a bootstrap over people with all their rows."""
    random = np.random.default_rng(0)
    _, who = np.unique(people, return_inverse=True)
    rows = np.split(np.argsort(who, kind="stable"), np.cumsum(np.bincount(who))[:-1])
    aucs = []
    for _ in range(_RESAMPLED):
        drawn = np.concatenate([rows[at] for at in random.integers(len(rows), size=len(rows))])
        if 0 < attacked[drawn].sum() < len(drawn):
            aucs.append(roc_auc_score(attacked[drawn], ranks[drawn]))
    return float(roc_auc_score(attacked, ranks) - 3 * np.std(aucs)) if aucs else 0.0


def _alone(values: NDArray[np.float64], attacked: NDArray[np.bool_]) -> float:
    """The AUC of one number, in either direction, or of whether it is missing."""
    known = np.isfinite(values)
    best = roc_auc_score(attacked, known)
    best = max(best, 1 - best)
    if 0 < attacked[known].sum() < known.sum():
        auc = roc_auc_score(attacked[known], values[known])
        best = max(best, auc, 1 - auc)
    return float(best)


def audited(
    settings: Settings, directories: Sequence[Path], progress: Progress
) -> tuple[list[Finding], list[Turned], list[Alone]]:
    """What reveals each class of attack in each world; in all worlds together, where looking riskier is safer and which
    values are an attacker's alone.

    A world is audited by the features that the engine computed, and by the raw attempts, which are generated again. A
    single world has too few travellers to show where looking riskier is safer. `progress` is called for one class at a
    time: for each world, once per domain and once for the raw attempts. Raises InvalidFile and InvalidSettings for a
    directory that is not a world, or one that these databases do not reproduce.
    """

    def every(sample: Sample) -> Iterator[Finding]:
        for attack in ATTACKS:
            yield from audit(sample, attack)
            progress(1)

    findings: list[Finding] = []
    lived: dict[str, list[Sample]] = defaultdict(list)
    for directory in directories:
        made = read_made(directory)
        world, _ = open_world(settings, made.settings, made.assumptions)
        if world.town.pools.digest() != made.addresses:
            what = "was made with other geo databases than those installed, so its attempts cannot be reproduced"
            raise InvalidSettings([Problem(str(directory), what, "simulate it again, then audit it")])
        for domain in made.settings.domains:
            sample = features(directory / DECISIONS, directory / FILE, domain)
            lived[domain].append(sample)
            findings += every(sample)
        findings += every(traits(attempts(world)))
    together = [pooled(samples) for samples in lived.values()]
    return (
        findings,
        [each for sample in together for attack in ATTACKS for each in directions(sample, attack)],
        [each for sample in together for attack in ATTACKS for each in alone(sample, attack)],
    )


def attempts(world: World) -> Iterator[tuple[Attempt, Truth]]:
    """What everybody would try if everybody were let in."""
    for event in world.play(OpenDoor()):
        if isinstance(event, Asked):
            yield event.ask.attempt, truth_of(event)
