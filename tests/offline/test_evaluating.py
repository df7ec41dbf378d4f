"""Which models an evaluation compares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec.structs import replace

from riskd.adapters.model_file import read_forest
from riskd.core.features import NAMES
from riskd.core.forest import Forest
from riskd.offline.evaluating import Contender, Question, evaluate
from riskd.offline.evaluation.document import CANDIDATE, CHAMPION
from riskd.offline.rows import HONEST, UNKNOWN
from riskd.offline.training.recipe import Recipe
from riskd.offline.training.train import train
from tests.offline.made_rows import rows

BASE = read_forest(Path(__file__).parents[2] / "models" / "customer" / "hand-set-2")
SMALL = Recipe(trees=5, leaves=6, base_share=0.5)


def test_without_its_only_class_a_model_is_its_base() -> None:
    """If the only attack class is left out, nothing is learned, and the model equals its base."""
    whole = rows(9_000, delay_days=0.0)
    other = ~np.isin(whole.attacks, (HONEST, "targeted"))
    one = replace(whole, labels=np.where(other, UNKNOWN, whole.labels).astype(np.int8))
    trained = train([one], SMALL, BASE)
    question = Question(
        domain="customer",
        code="0",
        rows=trained.material.holdout,
        ages=trained.material.holdout_ages,
        labels="truth",
        candidate=Contender(version="1", forest=Forest(trained.document, NAMES)),
        champion=Contender(version="0", forest=Forest(BASE, NAMES)),
        material=trained.material,
        recipe=SMALL,
        resamples=2,
    )

    models = evaluate(question, lambda _, __: lambda _: None).models

    assert [each.name for each in models[CANDIDATE].left_out] == ["targeted"]
    assert models[CANDIDATE].left_out[0].at["1%"].value == models[CHAMPION].classes[0].at["1%"].value
