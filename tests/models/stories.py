"""Stories as feature values, and how the shipped models score them.

`python -m tests.models.stories` writes the scores into the model cards and seals the bundles.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import nan
from pathlib import Path
from shutil import copytree
from typing import Final

import msgspec
import yaml
from msgspec import Struct

from riskd.adapters.model_file import load_model, read_card, seal
from riskd.cli.model.command import written
from riskd.core.attempt import DOMAINS
from riskd.core.features import DEFINITIONS
from riskd.core.forest import Forest
from riskd.core.left_out import impute_left_out

MODELS: Final = Path(__file__).parents[2] / "models"
SCORES: Final = "scores"
Values = dict[str, float | None]


class Story(Struct, frozen=True, forbid_unknown_fields=True, rename={"parts": "is", "changes": "with"}):
    """Parts and changes that are added to the usual values, and the range in which the score must lie."""

    score: tuple[float, float]
    parts: tuple[str, ...] = ()
    changes: Values = {}


class World(Struct, frozen=True, forbid_unknown_fields=True):
    """The stories of a domain. `young` holds what differs in a deployment that knows few accounts."""

    usual: Values
    young: Values
    parts: dict[str, Values]
    stories: dict[str, Story]

    def vectors(self, story: Story) -> Iterator[list[float]]:
        """The story's feature vector in a busy deployment and in a young one."""
        for deployment in ({}, self.young):
            values = self.usual | deployment
            for change in (*(self.parts[part] for part in story.parts), story.changes):
                values = values | _possible(change, deployment)
            yield impute_left_out([nan if (value := values.get(name)) is None else value for name in DEFINITIONS])


def _possible(change: Values, deployment: Values) -> Values:
    """The change without values that a young deployment cannot know, such as rarities."""
    return {name: value for name, value in change.items() if deployment.get(name, 0.0) is not None}


def champions(target: Path) -> Path:
    """A copy of the shipped models that contains only the champions."""
    for domain in DOMAINS:
        copytree(bundle(domain), target / domain / bundle(domain).name)
        (target / domain / "champion").write_text(f"{bundle(domain).name}\n", encoding="utf-8")
    return target


def read(domain: str) -> World:
    """The stories of an identity domain."""
    file = Path(__file__).parent / "stories" / f"{domain}.yaml"
    return msgspec.convert(yaml.safe_load(file.read_text(encoding="utf-8")), World)


def bundle(domain: str) -> Path:
    """The directory of the served model."""
    return MODELS / domain / (MODELS / domain / "champion").read_text(encoding="utf-8").strip()


def model(domain: str) -> Forest:
    """The served model."""
    return load_model(bundle(domain), DEFINITIONS, domain=domain)


def scores(domain: str) -> str:
    """Every story's score in both deployments as a Markdown table."""
    world, forest = read(domain), model(domain)
    lines = ["| story | expected | busy deployment | young deployment |\n", "|---|---|---|---|\n"]
    for name, story in world.stories.items():
        busy, young = (forest.score(vector)[1] for vector in world.vectors(story))
        low, high = story.score
        lines.append(f"| {name} | {low:g} to {high:g} | {busy:.2g} | {young:.2g} |\n")
    return "".join(lines)


if __name__ == "__main__":
    for domain in DOMAINS:
        path = bundle(domain)
        seal(path, DEFINITIONS, card=written(read_card(path), SCORES, scores(domain)))
        sys.stdout.write(f"{domain}\n\n{scores(domain)}\n")
