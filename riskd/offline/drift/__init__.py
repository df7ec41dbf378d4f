"""Drift: how far the features and scores of a log have moved from those that a model was trained on.

Three figures for each signal, on the same bins:

- the population stability index (`core.drift.stability_index`). Without drift, and for independent rows, it is
  distributed as (1/n + 1/m) chi-square, with one degree of freedom less than there are bins (Yurdakul 2018, Statistical
  Properties of Population Stability Index). Rows of one subject are not independent, so this is corrected with design
  effects (Rao and Scott 1981), estimated from random groups of subjects (Wolter 2007).
- the Kolmogorov-Smirnov distance at the edges of the bins.
- the share that is missing, which has a bin of its own.

A shift began on the day for which the log is explained best by the reference before it and another distribution after.
A signal has drifted if two conditions hold. Its index would be due to chance less often than `ALPHA`, over all signals
of the domain (Holm 1979). And the index of the rows since that day, less its noise, reaches the threshold.
"""

from __future__ import annotations
