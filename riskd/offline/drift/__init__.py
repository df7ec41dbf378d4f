"""Drift: how far the features and scores of a log have moved from those that a model was trained on.

Three figures for each signal, on one binning:

- the population stability index (`core.drift.stability_index`). Without drift, and for independent rows, it is
  distributed as (1/n + 1/m) chi-square with one degree of freedom less than there are bins (Yurdakul 2018, Statistical
  Properties of Population Stability Index). Rows of one subject are not independent, so that is corrected by design
  effects (Rao and Scott 1981), which random groups of subjects tell (Wolter 2007).
- the distance of Kolmogorov and Smirnov at the edges of the bins.
- the share that is missing, a bin of its own.

When a signal shifted is told by the day from which on the log is best explained by another distribution, those before
by the reference. It has drifted when chance makes such an index less often than `ALPHA` over all signals of the domain
(Holm 1979), *and* the rows from that day on have one that reaches the threshold, noise taken off.
"""

from __future__ import annotations
