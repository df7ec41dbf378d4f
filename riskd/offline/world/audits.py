"""Audits worlds on disk: the features that the engine computed, and the raw attempts, which are generated again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from riskd.adapters.decision_log import DECISIONS
from riskd.config import Settings
from riskd.core.attempt import Attempt
from riskd.core.errors import InvalidSettings, Problem
from riskd.offline.truth import FILE, Truth
from riskd.offline.world.attacks import CLASSES
from riskd.offline.world.audit import Finding, Progress, audit
from riskd.offline.world.directions import Turned, directions
from riskd.offline.world.open import open_world
from riskd.offline.world.run import read_made, truth_of
from riskd.offline.world.sample import Sample, features, pooled
from riskd.offline.world.traits import traits
from riskd.offline.world.world import Asked, OpenDoor, World

__all__ = ["CLASSES", "attempts", "audited"]


def audited(settings: Settings, directories: Sequence[Path], progress: Progress) -> tuple[list[Finding], list[Turned]]:
    """What reveals each class of attack in each world, and where looking riskier is safer in all worlds together.

    A single world has too few travellers for the latter. `progress` is called for one class at a time: for each world,
    once per domain and once for the raw attempts. Raises InvalidFile and InvalidSettings for a directory that is not a
    world, or one that these databases do not reproduce.
    """
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
            findings += [each for each in audit(sample, progress) if each.domain == domain]
        raw = audit(traits(attempts(world)), progress)
        findings += [each for each in raw if each.domain in made.settings.domains]
    return findings, [each for samples in lived.values() for each in directions(pooled(samples))]


def attempts(world: World) -> Iterator[tuple[Attempt, Truth]]:
    """What everybody would try if everybody were let in."""
    for event in world.play(OpenDoor()):
        if isinstance(event, Asked):
            yield event.ask.attempt, truth_of(event)
