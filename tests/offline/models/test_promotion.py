"""The promotion gate: in which figures a candidate may not be worse, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
from msgspec.structs import replace

from riskd.core.features import FEATURES, NAMES
from riskd.core.forest import Forest
from riskd.core.model import ForestDocument, Steps
from riskd.offline.evaluation.document import (
    CANDIDATE,
    CHAMPION,
    LARGE_BOOSTED,
    Difference,
    Estimate,
    Part,
    Recall,
    StepUp,
)
from riskd.offline.evaluation.table import markdown
from riskd.offline.labels import LabelSource
from riskd.offline.models.promotion import Check, clocked, drawn, judged, quick, yardstick
from tests.offline.drift.world import MODEL
from tests.offline.made_evaluation import BETTER, EQUAL, LOST, NOTHING, UNSURE, about, difference, evaluation, model


def failed(checks: Sequence[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


CASES: dict[str, tuple[Difference, list[str]]] = {
    "more recall": (difference("class", "spraying", BETTER), []),
    "as much recall": (difference("class", "spraying", EQUAL), []),
    "less, as chance may do": (difference("class", "spraying", UNSURE), []),
    "surely less recall of a class": (difference("class", "spraying", LOST), ["recall class spraying"]),
    "surely less recall overall": (difference("overall", "all", LOST), ["recall overall all"]),
    "of what could get in": (
        difference("overall", "right credential", LOST),
        ["recall overall right credential"],
    ),
    "of a history depth": (difference("depth", "below 3", LOST), ["recall depth below 3"]),
    "of a class that was left out": (difference("left_out", "spraying", LOST), ["recall left_out spraying"]),
    "surely more step-ups": (difference("equal_recall", "vpn", BETTER), ["step-ups segment vpn"]),
    "surely fewer step-ups": (difference("equal_recall", "vpn", LOST), []),
    "more step-ups, as chance may do": (difference("equal_recall", "vpn", about(0.05, -0.02, 0.12)), []),
    "at another rate": (difference("class", "spraying", LOST, rate="0.1%"), ["recall"]),
    "beside another model": (difference("class", "spraying", LOST, other="freeman"), ["recall"]),
    "no rows": (difference("class", "spraying", NOTHING), []),
}


@pytest.mark.parametrize(("one", "expected"), CASES.values(), ids=CASES.keys())
def test_a_significantly_worse_figure_does_not_pass(one: Difference, expected: list[str]) -> None:
    """A figure that is significantly worse fails, a doubtful one passes, and without a comparison the gate fails."""
    assert failed([*judged(evaluation(one), "new", "old", "1%")]) == expected


def test_a_doubtful_loss_is_mentioned() -> None:
    """A doubtful loss passes, with the remark that more rows would show."""
    checks = [*judged(evaluation(difference("class", "spraying", UNSURE)), "new", "old", "1%")]
    assert [check.said for check in checks if "more rows" in check.said] == [
        "50.0 % -> 50.0 % at 1%, -5.0 (-12.0 to +2.0) of 900: may be due to chance; more rows would show"
    ]


@pytest.mark.parametrize(
    ("one", "doubtful"),
    [
        (difference("class", "spraying", UNSURE), True),
        (difference("class", "spraying", LOST), False),
        (difference("class", "spraying", BETTER), False),
        (difference("class", "spraying", EQUAL), False),
        (difference("equal_recall", "vpn", about(0.05, -0.02, 0.12)), True),
        (difference("equal_recall", "vpn", BETTER), False),
        (difference("equal_recall", "vpn", UNSURE), False),
    ],
    ids=["loss", "sure loss", "gain", "as much", "more step-ups", "surely more step-ups", "fewer step-ups"],
)
def test_chance_is_named_where_it_may_hide_what_is_worse(one: Difference, *, doubtful: bool) -> None:
    """The remark is made only for a possible loss, not for a certain one or a gain."""
    checks = judged(evaluation(one), "new", "old", "1%")
    assert [check.name for check in checks if "more rows" in check.said] == (
        [("recall class " if one.part == "class" else "step-ups segment ") + one.name] if doubtful else []
    )


def test_an_evaluation_is_of_these_two_models() -> None:
    """An evaluation of another candidate or champion, or none, fails with the reason."""
    for candidate, champion in (("newer", "old"), ("new", "older")):
        (check,) = judged(evaluation(), candidate, champion, "1%")
        assert not check.passed
        assert "and not" in check.said
    (check,) = judged(None, "new", "old", "1%")
    assert (check.passed, "riskd evaluate" in check.said) == (False, True)
    alone = replace(evaluation(), models={CANDIDATE: model("new")})
    assert failed([*judged(alone, "new", "old", "1%")]) == ["evaluation"]


@pytest.mark.parametrize(("share", "told"), [(0.0, False), (0.01, False), (0.41, True)])
def test_fraud_that_is_not_reported_yet_is_pointed_out(share: float, *, told: bool) -> None:
    """The gate and the report say how much fraud is probably not reported yet, unless it is little."""
    found = evaluation()
    found = replace(found, data=replace(found.data, unreported=share))
    (first, *_) = judged(found, "new", "old", "1%")
    for text in (first.said, markdown(found)):
        assert ("About 41% of the fraud is probably not reported yet" in text) == told
    assert first.passed


@pytest.mark.parametrize(
    ("candidate", "champion", "passes", "said"),
    [
        (0.0, 0.0, True, "neither model was trained on any of them"),
        (0.41, 0.0, False, "candidate (41.00%). Evaluate on others."),
        (0.0, 0.41, True, "champion (41.00%)."),
        (None, 0.0, True, "Unknown whether trained on these rows: candidate."),
    ],
    ids=["new rows", "of the candidate", "of the champion", "unknown"],
)
def test_a_model_is_not_promoted_on_the_rows_that_trained_it(
    candidate: float | None, champion: float | None, *, passes: bool, said: str
) -> None:
    """A candidate that was trained on judged rows fails; where its bundle does not say, or only the champion was, that
    is said. The report says it, too."""
    found = evaluation()
    seen = {CANDIDATE: candidate, CHAMPION: champion}
    found = replace(found, models={name: replace(each, seen=seen[name]) for name, each in found.models.items()})
    check = next(check for check in judged(found, "new", "old", "1%") if check.name == "new rows")
    assert check.passed == passes
    assert check.said.endswith(said)
    assert (said.removesuffix(" Evaluate on others.") in markdown(found)) == (seen != {CANDIDATE: 0.0, CHAMPION: 0.0})


def test_the_gate_says_nothing_of_baselines() -> None:
    """Baselines that were trained on judged rows are a matter of the report: the gate compares two models."""
    models = {
        CANDIDATE: replace(model("new"), seen=0.0),
        CHAMPION: replace(model("old"), seen=0.0),
        LARGE_BOOSTED: replace(model(""), seen=0.57),
    }
    found = replace(evaluation(), models=models)
    check = next(check for check in judged(found, "new", "old", "1%") if check.name == "new rows")
    assert check == Check("new rows", True, "neither model was trained on any of them")


@pytest.mark.parametrize(("labels", "told"), [("outcomes", True), ("truth", False)])
def test_attackers_who_were_stopped_are_pointed_out(labels: LabelSource, *, told: bool) -> None:
    """A report by outcomes says that they leave out attackers who were stopped, and whom that favours."""
    found = evaluation()
    found = replace(found, data=replace(found.data, labels=labels))
    assert ("Attackers who were stopped are mostly unlabelled" in markdown(found)) == told


@pytest.mark.parametrize(
    ("champion", "ece", "passes"),
    [(0.005, 0.01, True), (0.005, 0.011, False), (0.02, 0.02, True), (0.02, 0.021, False), (None, 0.011, False)],
)
def test_probabilities_stay_probabilities(champion: float | None, ece: float, passes: bool) -> None:
    """The calibration error may be at most the champion's, or one percentage point."""
    found = evaluation(ece=ece)
    old = model("old", champion or 0.0)
    old = old if champion else replace(old, reliability=None)
    checks = judged(replace(found, models={**found.models, CHAMPION: old}), "new", "old", "1%")
    assert failed([*checks]) == ([] if passes else ["calibration"])


def at(share: float) -> dict[str, Estimate]:
    return {"1%": about(share, 0.0, 1.0)}


OLD: Final = replace(
    model("old"),
    overall=Recall("all", at(0.1)),
    right_credential=Recall("right credential", at(0.15)),
    classes=(Recall("other", at(0.9)), Recall("spraying", at(0.2))),
    depths=(Recall("below 3", at(0.3)),),
    left_out=(Recall("spraying", at(0.4)),),
    segments=(StepUp("vpn", at(0.6)),),
    equal_recall=(StepUp("vpn", at(0.7)),),
)


@pytest.mark.parametrize(
    ("part", "name", "said"),
    [
        ("overall", "all", "10.0 % -> 50.0 %"),
        ("class", "spraying", "20.0 % -> 50.0 %"),
        ("depth", "below 3", "30.0 % -> 50.0 %"),
        ("left_out", "spraying", "40.0 % -> 50.0 %"),
        ("overall", "right credential", "15.0 % -> 50.0 %"),
        ("class", "stuffing", "- -> -"),
    ],
)
def test_the_figures_of_both_models_are_of_what_was_compared(part: Part, name: str, said: str) -> None:
    """A check says the champion's figure and the candidate's, of the group that it is about."""

    found = evaluation(difference(part, name, EQUAL))
    first, _, compared, _ = judged(replace(found, models={**found.models, CHAMPION: OLD}), "new", "old", "1%")
    assert first.said == "1,000 rows of 50 subjects, 100 frauds, labels from outcomes."
    assert compared.said == f"{said} at 1%, +0.0 (-2.0 to +2.0) of 900"


def test_step_ups_are_said_at_equal_recall_and_at_the_rate() -> None:
    """A check of a segment says both models' step-ups where they find as many attacks, and where they challenge as many
    people: an operator who sets bands by a budget will see the latter."""
    found = evaluation(difference("equal_recall", "vpn", EQUAL))
    new = replace(model("new"), equal_recall=(StepUp("vpn", at(0.02)),))
    _, _, compared, _ = judged(replace(found, models={CANDIDATE: new, CHAMPION: OLD}), "new", "old", "1%")
    assert compared == Check(
        "step-ups segment vpn",
        True,
        "70.0 % -> 2.0 % where both find 15.0 %, +0.0 (-2.0 to +2.0) of 900; 60.0 % -> 50.0 % at 1%",
    )


def test_a_model_is_no_slower_than_itself() -> None:
    """A model passes the latency check beside itself, and one that is ten times slower than the limit fails."""
    assert quick(MODEL, MODEL).passed
    assert not quick(Slow(yardstick(), 10), MODEL).passed


class Slow:
    """A model that takes a multiple of the time."""

    def __init__(self, forest: Forest, times: int) -> None:
        self._forest, self._times = forest, times
        self.feature_names, self.references = forest.feature_names, forest.references
        self.schema, self.version = forest.schema, forest.version
        self.explain, self.contributions = forest.explain, forest.contributions

    def score(self, vector: Sequence[float]) -> tuple[float, float]:
        for _ in range(self._times - 1):
            self._forest.score(vector)
        return self._forest.score(vector)


def test_scorers_are_timed_in_turn_on_the_same_vectors() -> None:
    """Scorers are timed in turn on the same vectors, which set about half of the features."""
    vectors = drawn(MODEL)
    assert str(vectors) == str(drawn(MODEL))
    assert all(len(vector) == len(NAMES) for vector in vectors)
    assert all(seconds > 0 for seconds in clocked((MODEL, MODEL), vectors[:2]))


def test_the_yardstick_reads_what_riskd_has() -> None:
    """The yardstick has a hundred trees of 32 leaves over the present features."""
    forest = yardstick()
    assert forest.feature_names == tuple(feature.name for feature in FEATURES)
    single = ForestDocument(
        baseline=0.0, references={"tor": 0.0}, steps=(Steps(feature="tor", cuts=(0.5,), values=(0, 1), missing=0),)
    )
    assert forest.score(drawn(forest)[0])[0] != Forest(single, NAMES).score(drawn(forest)[0])[0]
