"""The card of a trained model: what NIST SP 800-63-4, section 3.8, requires for machine learning in identity
systems."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from riskd.core.history import DAY
from riskd.offline.evaluation.document import RATES, RIGHT, Estimate, Judged
from riskd.offline.training.recipe import Training
from riskd.offline.training.train import Trained
from riskd.wording import date

_SIMULATED = (
    "**Trained on a simulation.** It knows simulated attackers only. Published models that were fitted to simulated"
    " attackers found none of the real takeovers at 1 % false positives. Use it in shadow, for comparison, and train"
    " your own model on your decision log: docs/training.md."
)
_LIVE = "**Trained on a decision log**, with outcomes as labels: it knows only the attacks that somebody reported."


def card(
    version: str, domain: str, *, trained: Trained, training: Training, judged: Judged, base: Judged | None
) -> str:
    """The card as Markdown."""
    return "\n".join(
        [
            f"# {version}: a trained model for domain {domain}",
            "",
            _SIMULATED if training.labels == "truth" else _LIVE,
            "",
            "## Purpose",
            "",
            "Scores attempts of this identity domain. The bands of the policy decide what follows.",
            "",
            "## How it was made",
            "",
            *_made(trained, training),
            "",
            "## Tests",
            "",
            *_tests(trained, training, judged, base),
            "",
            "## Limits",
            "",
            *_limits(trained, training),
            "",
            "## Calibration and updates",
            "",
            *_updates(training),
            "",
        ]
    )


def _made(trained: Trained, training: Training) -> Iterator[str]:
    recipe, material = training.recipe, trained.material
    base_weights = (
        "whose weights it keeps"
        if recipe.base_share == 1.0
        else f"of whose weights it keeps {recipe.base_share:.0%}, and all of those of features with only one value in"
        " its rows"
    )
    on_top = f", on top of {training.base}, {base_weights}" if training.base else ""
    raising = (
        f" {recipe.raising} more on top of those are unconstrained and can only raise the score: an attempt that looks"
        " riskier can lose what these added, and nothing else."
        if recipe.raising
        else ""
    )
    heavier = ", ".join(f"{name} {weight:g}" for name, weight in sorted(recipe.class_weights.items()))
    times = f", times {heavier}" if heavier else ""
    yield (
        f"- **Methods and techniques.** {recipe.trees} boosted trees of at most {recipe.leaves} leaves{on_top}"
        f" ({training.library}), learning rate {recipe.learning_rate:g}, L2 {recipe.l2:g}, at least"
        f" {recipe.min_rows} rows a leaf. A feature moves the score only in the direction that the feature table gives"
        f" it.{raising} All fraud together has {recipe.fraud_share:.0%} of the weight, in every"
        f" journey, divided among its classes by the square root of their rows{times}."
    )
    counts = ", ".join(f"{part} {count:,}" for part, count in training.rows.items())
    yield (
        f"- **Training data.** {', '.join(training.sources)}: attempts from {date(float(material.train.times.min()))}"
        f" to {date(float(material.holdout.times.max()))}. Rows: {counts}. SHA-256 of all rows: `{training.data}`."
        " Rows hold features and pseudonyms, no addresses, names or device identifiers."
    )
    whose = "the simulation's truth" if training.labels == "truth" else "outcomes that callers reported"
    yield (
        f"- **Labels.** From {whose}, as known when each part ended. A good row of age a counts as the share of fraud"
        f" that is reported by that age ({_delay(trained)})."
    )
    yield (
        f"- **Split.** In time: the last {recipe.holdout:.0%} of each source are held out, the {recipe.tuning:.0%}"
        f" before them calibrate, and {recipe.embargo_days:g} days before each are left out."
    )
    if training.attacks:
        classes = ", ".join(f"{name} {count:,}" for name, count in training.attacks.items())
        yield f"- **Attacks trained on.** {classes}."


def _delay(trained: Trained) -> str:
    delay = trained.material.delay
    if not delay.seconds or delay.seconds[-1] == 0.0:
        return "here all at once"
    at = next(i for i, share in enumerate(delay.shares) if share >= 0.5)
    return f"half of it within {delay.seconds[at] / DAY:.1f} days"


def _tests(trained: Trained, training: Training, judged: Judged, base: Judged | None) -> Iterator[str]:
    yield (
        "On the rows held out, which neither the trees nor the calibration have seen. `riskd evaluate` judges it beside"
        " baselines, on other logs, and with each class of attack left out of training; its figures are in"
        " `evaluation.json` where it was run. Good rows with a wrong credential challenge nobody and are not counted."
    )
    yield ""
    yield "| attacks | rows | " + " | ".join(f"recall at {rate} false positives" for rate in RATES) + " |"
    yield "|---|---|" + "---|" * len(RATES)
    for each in (judged.overall, judged.right_credential, *judged.classes, *judged.depths):
        yield f"| {each.name} | {each.total:,} | {' | '.join(_share(each.at[rate]) for rate in RATES)} |"
    yield ""
    if judged.reliability:
        reliability = judged.reliability
        yield (
            f"Probabilities, without wrong credentials: expected calibration error {reliability.ece:.4f}, Brier score"
            f" {reliability.brier:.5f}; the base rate for every row scores {reliability.reference:.5f}."
            f" Calibrated by {trained.curve.method} regression."
        )
    if training.recipe.prior is not None:
        yield f"They assume that {training.recipe.prior:.3%} of attempts are fraud; the rows are weighed to that share."
    if base is not None:
        of_all, of_right = (
            ", ".join(f"{_share(found.at[rate])} at {rate}" for rate in RATES)
            for found in (base.overall, base.right_credential)
        )
        yield f"{training.base} by itself finds {of_all}; with a {RIGHT} {of_right}."


def _share(found: Estimate) -> str:
    if found.value is None:
        return "-"
    if found.low is None or found.high is None or found.low == found.high:
        return f"{found.value:.1%}"
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def _limits(trained: Trained, training: Training) -> Iterator[str]:
    never = [
        name
        for name, column in zip(trained.material.train.names, trained.material.train.vectors.T, strict=True)
        if np.isnan(column).all()
    ]
    yield "- It finds an attack that it was not trained on only by what that has in common with the others."
    yield "- People who travel, use VPNs or Tor, or share devices are challenged more often, whoever they are."
    if never:
        yield f"- Never seen in training, so without weight in its trees: {', '.join(f'`{name}`' for name in never)}."
    if training.recipe.without:
        yield f"- Trained without {', '.join(training.recipe.without)}."


def _updates(training: Training) -> Iterator[str]:
    yield (
        "A version never changes once it was served; a change is a new version. Train again when `riskd drift` says"
        " that features have moved, when a class of attack is new, and otherwise about once a month."
    )
    yield ""
    yield f"riskd {training.code}, seed {training.recipe.seed}; `training.json` has the whole recipe."
