"""Runs a world through the real engine. The result: a decision log, its truth, and a description of how it was made."""

from __future__ import annotations

import time as system
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from riskd.adapters.decision_log import DECISIONS, SUFFIX, UNBOUNDED, FileDecisionLog, segments
from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.adapters.user_agent import AgentParser
from riskd.core.assess import Release
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome
from riskd.core.errors import UNDECODABLE, InvalidSettings, Problem, Unavailable
from riskd.core.features import schema
from riskd.core.history import DAY
from riskd.core.pseudonym import Pseudonyms
from riskd.engine import Engine
from riskd.offline.logs import MADE
from riskd.offline.output import filling
from riskd.offline.truth import FILE as TRUTH
from riskd.offline.truth import Truth
from riskd.offline.world.world import Asked, Settings, World
from riskd.ports import DecisionLog, GeoLookup, Parts
from riskd.progress import Begin

PATIENCE: Final = 60.0
"""Timeout of a call, in seconds. It is long, so that a busy machine only makes a run slower, and never changes it."""
SWEPT: Final = 512
"""Calls between two removals of expired records, each of which checks about as many records as were written since."""


class Made(Struct, frozen=True, kw_only=True):
    """How a world was made, and what happened in it."""

    settings: Settings
    assumptions: dict[str, float]
    varied: int | None
    """The seed with which the assumptions were drawn."""
    release: str
    schema: str
    addresses: str
    """Digest of the networks that the databases gave."""
    version: str
    assessments: dict[str, int]
    """By domain and journey."""
    attacks: dict[str, int]
    """Assessments by domain and class of attack."""
    tiers: dict[str, int]
    outcomes: dict[str, int]


class Engined:
    """A `Service`: the real engine with a store in memory, at the world's time."""

    def __init__(self, release: Release, geo: GeoLookup, log: DecisionLog, seed: int) -> None:
        self.now = 0.0
        self._store = MemoryStore()
        self._calls = 0
        parts = Parts(
            store=self._store,
            geo=geo,
            agents=AgentParser(),
            log=log,
            meter=NullMeter(),
            pseudonyms=Pseudonyms(blake2b(b"world %d" % seed, digest_size=32).digest()),
            clock=lambda: self.now,
        )
        self.engine = Engine(parts, release)

    def assess(self, attempt: Attempt, time: float) -> Assessment:
        """See `Service`. Raises Unavailable if the log could not be written."""
        self._at(time)
        answer = self.engine.assess(attempt, PATIENCE)
        if answer.causes:
            remedy = "make room on the disk, then simulate again"
            raise Unavailable([Problem("simulation", f"degraded: {', '.join(answer.causes)}", remedy)])
        return answer

    def record(self, outcome: Outcome, time: float) -> None:
        """See `Service`."""
        self._at(time)
        self.engine.record(outcome, PATIENCE)

    def _at(self, time: float) -> None:
        self.now = max(self.now, time)
        self._calls += 1
        if self._calls % SWEPT == 0:
            self._store.sweep(self.now, SWEPT * 16)


def run(
    world: World, release: Release, geo: GeoLookup, out: Path, begin: Begin, *, version: str, varied: int | None
) -> tuple[Made, float]:
    """Run the world, and write `decisions/`, `truth.jsonl` and `world.json` to `out`. Also returns the seconds taken.

    Progress is in seconds of the world. An incomplete run leaves nothing. Raises InvalidSettings as `filling`.
    """
    began = system.perf_counter()
    with filling(out) as draft:
        made = _live(world, release, geo, draft, begin, version=version, varied=varied)
    return made, system.perf_counter() - began


def _live(
    world: World, release: Release, geo: GeoLookup, out: Path, begin: Begin, *, version: str, varied: int | None
) -> Made:
    settings = world.settings
    wall, span, reached = settings.start, int(settings.days * DAY), 0
    done = begin("simulate", span)
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("assessments", "attacks", "tiers", "outcomes")}
    log = FileDecisionLog(out / DECISIONS, 0, NullMeter(), UNBOUNDED, lambda: wall)
    service = Engined(release, geo, log, settings.seed)
    try:
        with (out / TRUTH).open("xb") as lines:
            for event in world.play(service):
                if isinstance(event, Asked):
                    wall = event.ask.time
                    lines.write(_ENCODER.encode(truth_of(event)) + b"\n")
                    _count(event, counts)
                    if counts["assessments"].total() % 200 == 0:
                        now = min(int(wall - settings.start), span)
                        done(now - reached)
                        reached = now
                else:
                    counts["outcomes"][event.outcome.kind] += 1
    finally:
        service.engine.close()
    done(span - reached)
    _rename(out / DECISIONS)
    made = Made(
        settings=settings,
        assumptions=dict(world.values),
        varied=varied,
        release=release.id,
        schema=schema(),
        addresses=world.town.pools.digest(),
        version=version,
        **{name: dict(sorted(counted.items())) for name, counted in counts.items()},
    )
    (out / MADE).write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1))
    return made


def read_made(directory: Path) -> Made:
    """How the world in a directory was made. Raises InvalidSettings."""
    path = directory / MADE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Made)
    except (OSError, *UNDECODABLE) as error:
        why = error.strerror if isinstance(error, OSError) else error
        what = f"does not describe a simulated world: {why}"
        raise InvalidSettings([Problem(str(path), what, "name the --out directory of `riskd simulate`")]) from error


def _rename(directory: Path) -> None:
    """Rename segments, whose names contain the process, so that the same world gives the same files."""
    for number, path in enumerate(segments(directory)):
        path.rename(path.with_name(f"{path.name.partition('-')[0]}-w0-{number}{SUFFIX}"))


_ENCODER: Final = msgspec.json.Encoder()


def truth_of(event: Asked) -> Truth:
    """The truth of an attempt that was answered."""
    ask = event.ask
    return Truth(
        assessment_id=event.answer.id,
        attack=ask.attack,
        segments=ask.segments,
        campaign=ask.campaign,
        step=ask.step,
    )


def _count(event: Asked, counts: dict[str, Counter[str]]) -> None:
    attempt, attack = event.ask.attempt, event.ask.attack
    counts["assessments"][f"{attempt.domain} {attempt.journey}"] += 1
    counts["tiers"][f"{attempt.domain} {event.answer.requirement.tier.name}"] += 1
    if attack:
        counts["attacks"][f"{attempt.domain} {attack}"] += 1
