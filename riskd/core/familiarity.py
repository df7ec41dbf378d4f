"""How much likelier a value is for anybody than for this subject (Freeman et al., NDSS 2016).

A feature is seen at several levels, the finest first (address, network, ASN, country). Its likelihood is a
weighted sum of relative frequencies over the levels, so that a new address in a known network is half
familiar. `user_term`, `global_term` and `ratio` are the authors' published method (das-group/rba-algorithm,
doi:10.1145/3546069) in closed form; `log_likelihood_ratio` is riskd's use of it (decision 0009).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul
from typing import Final

ADDRESS_WEIGHTS: Final = (0.4, 0.2, 0.3, 0.1)
"""Address, /24 or /48 network, ASN, country. Published: 0.6, 0.3, 0.1 without the network; its share is
taken out of the address's, so that a known address weighs what it did."""
AGENT_WEIGHTS: Final = (0.5386653840551359, 0.2680451498625666, 0.18818295100109536, 0.0051065150812021525)
"""Agent string, browser and version, system and version, device class; as published."""
UNKNOWN: Final = 4.0
"""Freeman's ratio for a value that the subject never had at any level."""
PRIOR: Final = 1.0
"""Sign-ins' worth of belief that the subject is like everybody."""
LIMIT: Final = 10.0
"""Bound of a log-likelihood ratio, in nats: no single feature can move the odds by more than 22,000."""


def user_term(counts: Sequence[float], total: float, weights: Sequence[float]) -> float:
    """p(value | subject): `counts` of the subject's sign-ins with it at each level, of `total`."""
    seen: float = sum(map(mul, weights, counts))
    return seen / total


def global_term(
    counts: Sequence[float], total: float, weights: Sequence[float], *, occurrences: float, unseen: float
) -> float:
    """p(value) among all sign-ins; the finest level is smoothed, so it is never 0.

    `occurrences` is how often the finest value was met, this time included; `unseen` is the number of
    values expected that nobody has had yet.
    """
    finest = weights[0] * occurrences / (occurrences + len(weights)) * max(counts[0], 1.0) / (total + unseen)
    if len(weights) == 1 or total <= 0:
        return finest
    coarser: float = sum(map(mul, weights[1:], counts[1:]))
    return finest + coarser / total


def ratio(population: float, own: float) -> float:
    """p(value) / p(value | subject): above 1 it looks more like somebody else."""
    return population / own if own > 0 else UNKNOWN


def smoothed(own: float, total: float, population: float, prior: float = PRIOR) -> float:
    """p(value | subject) drawn towards the population's (a Dirichlet prior worth `prior` sign-ins).

    A value that is wholly new then tells as much as the history is deep: its ratio is `1 + total / prior`.
    """
    return (own * total + prior * population) / (total + prior)


def log_likelihood_ratio(
    own_counts: Sequence[float], own_total: float, counts: Sequence[float], total: float, weights: Sequence[float]
) -> float:
    """ln p(value) / p(value | subject), in -LIMIT..LIMIT; positive when it looks like somebody else.

    `own_total` must be positive. Without a census of distinct values, each level is taken to have one.
    """
    population = global_term(counts, total, weights, occurrences=counts[0] + 1.0, unseen=len(weights))
    return bounded(population / smoothed(user_term(own_counts, own_total, weights), own_total, population))


def single_log_likelihood_ratio(own: float, own_total: float, count: int, total: int) -> float:
    """`log_likelihood_ratio` of a feature with one level, bit for bit, for a quarter of the price."""
    occurrences = count + 1.0
    population = occurrences / (occurrences + 1) * (count or 1) / (total + 1)
    nats = math.log(population / ((own / own_total * own_total + PRIOR * population) / (own_total + PRIOR)))
    return nats if -LIMIT < nats < LIMIT else math.copysign(LIMIT, nats)


def bounded(likelihoods: float) -> float:
    """The natural logarithm of a ratio of likelihoods, in -LIMIT..LIMIT."""
    nats = math.log(likelihoods)
    return nats if -LIMIT < nats < LIMIT else math.copysign(LIMIT, nats)
