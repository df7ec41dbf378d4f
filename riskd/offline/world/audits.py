"""The audit of a world on disk: what its engine made of it, and its attempts as they were, made again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from riskd.config import Settings
from riskd.core.attempt import Attempt
from riskd.core.errors import InvalidSettings, Problem
from riskd.offline.truth import FILE, Truth
from riskd.offline.world.attacks import CLASSES
from riskd.offline.world.audit import Finding, Progress, audit
from riskd.offline.world.open import open_world
from riskd.offline.world.run import DECISIONS, read_made, truth_of
from riskd.offline.world.sample import features
from riskd.offline.world.traits import traits
from riskd.offline.world.world import Asked, OpenDoor, World

__all__ = ["CLASSES", "attempts", "audited"]


def audited(settings: Settings, directory: Path, progress: Progress) -> list[Finding]:
    """Every finding. Tells `progress` of one class at a time, once for each domain and once for the raw attempts.

    Raises InvalidFile and InvalidSettings for what is no world, or one that these databases do not make again.
    """
    made = read_made(directory)
    world, _ = open_world(settings, made.settings, made.assumptions)
    if world.town.pools.digest() != made.addresses:
        what = "was made with other geo databases than those installed, so its attempts cannot be made again"
        raise InvalidSettings([Problem(str(directory), what, "simulate it again, then audit it")])
    found: list[Finding] = []
    for domain in made.settings.domains:
        sample = features(directory / DECISIONS, directory / FILE, domain)
        found += [each for each in audit(sample, progress) if each.domain == domain]
    return [
        *found,
        *(each for each in audit(traits(attempts(world)), progress) if each.domain in made.settings.domains),
    ]


def attempts(world: World) -> Iterator[tuple[Attempt, Truth]]:
    """What everybody would try if they were all let in."""
    for event in world.play(OpenDoor()):
        if isinstance(event, Asked):
            yield event.ask.attempt, truth_of(event)
