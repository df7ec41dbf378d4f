"""Likelihood ratios: how much likelier a value is for anybody than for this subject (Freeman et al., NDSS 2016).

A feature has several levels, the finest first, such as address, network, ASN and country. Its likelihood is a weighted
sum of its relative frequencies at each level, so that a new address in a known network is half familiar. `user_term`,
`global_term` and `ratio` are the published method in closed form (das-group/rba-algorithm, doi:10.1145/3546069).
`log_likelihood_ratio` is riskd's version of it (decision 0009).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul
from typing import Final

ADDRESS_WEIGHTS: Final = (0.4, 0.2, 0.3, 0.1)
"""Weights of address, /24 or /48 network, ASN and country. Published are 0.6, 0.3, 0.1 without the network. The
network's 0.2 come out of the address's 0.6, so that a known address weighs as much as before."""
AGENT_WEIGHTS: Final = (0.5386653840551359, 0.2680451498625666, 0.18818295100109536, 0.0051065150812021525)
"""Weights of user agent string, browser with version, system with version, and device class; as published."""
UNKNOWN: Final = 4.0
"""Freeman's ratio for a value that the subject never had at any level."""
PRIOR: Final = 1.0
"""Weight, in sign-ins, of the prior belief that the subject is like everybody else."""
LIMIT: Final = 10.0
"""Limit of a log-likelihood ratio, in nats: no feature moves the odds by a factor of more than 22,000."""


def user_term(counts: Sequence[float], total: float, weights: Sequence[float]) -> float:
    """p(value | subject): the weighted share of the subject's `total` sign-ins that had the value at each level."""
    seen: float = sum(map(mul, weights, counts))
    return seen / total


def global_term(
    counts: Sequence[float], total: float, weights: Sequence[float], *, occurrences: float, unseen: float
) -> float:
    """p(value) among all `total` sign-ins, of which `counts` had the value at each level. It is never 0.

    For the smoothing at the finest level, `occurrences` is how often the value was seen, this time included, and
    `unseen` is the expected number of values that nobody has had yet.
    """
    finest = weights[0] * occurrences / (occurrences + len(weights)) * max(counts[0], 1.0) / (total + unseen)
    if total <= 0:
        return finest
    coarser: float = sum(map(mul, weights[1:], counts[1:]))
    return finest + coarser / total


def ratio(population: float, own: float) -> float:
    """p(value) / p(value | subject). Above 1, the value looks more like somebody else's."""
    return population / own if own > 0 else UNKNOWN


def smoothed(own: float, total: float, population: float, prior: float = PRIOR) -> float:
    """p(value | subject), shrunk towards the population's by a Dirichlet prior that weighs `prior` sign-ins.

    A new value then counts for more the deeper the history is: its ratio is `1 + total / prior`.
    """
    return (own * total + prior * population) / (total + prior)


def log_likelihood_ratio(
    own_counts: Sequence[float], own_total: float, counts: Sequence[float], total: float, weights: Sequence[float]
) -> float:
    """ln p(value) / p(value | subject), within -LIMIT..LIMIT. Positive: the value looks like somebody else's.

    `own_counts` of the subject's `own_total` sign-ins, and `counts` of all `total`, had the value at each level.
    `own_total` must be positive. The number of unseen values is not known; it is taken to be one per level.
    """
    population = global_term(counts, total, weights, occurrences=counts[0] + 1.0, unseen=len(weights))
    return bounded(population / smoothed(user_term(own_counts, own_total, weights), own_total, population))


def single_log_likelihood_ratio(own: float, own_total: float, count: int, total: int) -> float:
    """The same as `log_likelihood_ratio` of a feature with one level, bit for bit, at a quarter of the cost."""
    occurrences = count + 1.0
    population = occurrences / (occurrences + 1) * (count or 1) / (total + 1)
    nats = math.log(population / ((own / own_total * own_total + PRIOR * population) / (own_total + PRIOR)))
    return nats if -LIMIT < nats < LIMIT else math.copysign(LIMIT, nats)


def bounded(likelihoods: float) -> float:
    """The natural logarithm of a likelihood ratio, within -LIMIT..LIMIT."""
    nats = math.log(likelihoods)
    return nats if -LIMIT < nats < LIMIT else math.copysign(LIMIT, nats)
