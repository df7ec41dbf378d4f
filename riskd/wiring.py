"""The composition root: builds engines from settings. Only this module chooses stores, geo databases and metrics."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from riskd.adapters.caching import CachingStore
from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.decision_log import Bounds, FileDecisionLog, FileLogArchive
from riskd.adapters.geoip import GeoIp
from riskd.adapters.lmdb_store import due_until
from riskd.adapters.memory import MemoryStore
from riskd.adapters.model_file import MANIFEST, SIGNATURE, load_model
from riskd.adapters.model_registry import Registry
from riskd.adapters.null import NullLog, NullMeter
from riskd.adapters.policy_file import load_policy
from riskd.adapters.release_store import FileReleases
from riskd.adapters.user_agent import AgentParser
from riskd.config import Settings, data_directory, obtain_peppers, release_folders
from riskd.config.settings import Log
from riskd.core.activation import Activation
from riskd.core.assess import Release
from riskd.core.attempt import DOMAINS
from riskd.core.context import Place
from riskd.core.errors import (
    InvalidFile,
    InvalidGeo,
    InvalidModel,
    InvalidPolicy,
    InvalidSettings,
    Problem,
    RiskdError,
    Unavailable,
)
from riskd.core.features import DEFINITIONS, NAMES, schema
from riskd.core.lineup import Lineup
from riskd.core.requirement import Tier
from riskd.engine import Engine
from riskd.geo_databases import announce_geo, following_geo, geo_paths, open_geo
from riskd.host.background import counting
from riskd.host.file_changes import FileChanges
from riskd.host.files import cause
from riskd.housekeeping import PepperState, housekeeping
from riskd.ports import Meter, MetricsRegistry, Parts
from riskd.releases import Follower, Releases, following
from riskd.stores import first_mark, open_store, with_peppers
from riskd.subjects import Subjects
from riskd.version import version

if TYPE_CHECKING:
    from riskd.metrics.memory import Readings

_LOG: Final = logging.getLogger("riskd.wiring")


def open_releases(settings: Settings) -> Releases:
    """The releases kept on this host, in the directory `release.dir` of the settings."""

    def load(policies: Path, models: Path) -> Release:
        chosen = replace(settings.release, policies=str(policies), models=str(models))
        return load_release(replace(settings, release=chosen))

    return Releases(FileReleases(Path(settings.release.dir), settings.release.keep), load)


def active_release(settings: Settings) -> Release:
    """The release that is active on this host; before the first activation, the one that `load_release` loads.

    Raises InvalidFile with all problems.
    """
    return lineup_in_use(settings).active


def lineup_in_use(settings: Settings) -> Lineup:
    """The releases that are in use on this host, as `active_release`."""
    return _lineup(settings, open_releases(settings))


def load_release(settings: Settings) -> Release:
    """Load the release from the policy and model directories that the settings name.

    Raises InvalidFile with the problems of every policy and model file.
    """
    policies_dir, models_dir = release_folders(settings)
    registry = Registry(models_dir)
    compiler = CelCompiler(NAMES)
    digest = blake2b(schema().encode(), digest_size=8)
    problems: list[Problem] = []
    policies, scorers = {}, {}
    for domain in DOMAINS:
        policy_file = policies_dir / f"{domain}.yaml"
        try:
            policies[domain] = load_policy(policy_file, compiler, attributes=settings.attributes.names)
            digest.update(policies[domain].digest.encode())
        except InvalidPolicy as error:
            problems += _missing(policy_file) or error.problems
        try:
            bundle = registry.champion(domain)
            scorers[domain] = load_model(bundle, DEFINITIONS, domain=domain, trusted=settings.models.trusted_keys)
            digest.update((bundle / MANIFEST).read_bytes())
            digest.update(signature.read_bytes() if (signature := bundle / SIGNATURE).exists() else b"")
        except InvalidModel as error:
            problems += error.problems
    if problems:
        raise InvalidFile(problems)
    return Release(digest.hexdigest(), policies, scorers)


def _missing(policy_file: Path) -> list[Problem]:
    """That there is no such file; empty if there is one, or nobody can tell."""
    try:
        policy_file.lstat()
    except FileNotFoundError:
        remedy = f"the directory needs a policy for each domain: copy the shipped one from {data_directory('policies')}"
        return [Problem(str(policy_file), "is missing", remedy)]
    except OSError:
        pass
    return []


@contextmanager
def embedded_meter(settings: Settings, registry: MetricsRegistry) -> Iterator[Meter]:
    """The meter of an engine in another program. Until the context exits, `registry` has its metrics, together with
    those of all processes that have the same `state.dir`.

    Raises InvalidSettings if the counts cannot be written, and ValueError if the registry has riskd's metrics already.
    """
    from riskd.adapters.prometheus_meter import PrometheusMeter  # noqa: PLC0415 - only if metrics are wanted
    from riskd.adapters.prometheus_page import EmbeddedMetrics  # noqa: PLC0415 - likewise
    from riskd.metrics.published import publishing  # noqa: PLC0415 - likewise

    directory, store = Path(settings.state.dir, "metrics"), Path(settings.store.path)

    def readings() -> Readings:
        pending = settings.store.kind == "lmdb" and due_until(store) is not None
        return {"riskd_store_rebuild_pending": {(): float(pending)}}

    with ExitStack() as opened:
        try:
            publisher = opened.enter_context(publishing(directory))
        except OSError as error:
            what, remedy = f"cannot be written: {cause(error)}", "let the program write there, or pass no registry"
            raise InvalidSettings([Problem(str(directory), what, remedy)]) from error
        meter = PrometheusMeter(publisher.memory, 0)
        metrics = EmbeddedMetrics(version(), publisher.published, readings)
        registry.register(metrics)
        opened.callback(registry.unregister, metrics)
        opened.enter_context(counting(meter.failed))
        yield meter


@contextmanager
def open_engine(
    settings: Settings,
    meter: Meter | None = None,
    worker: int = 0,
    releases: Releases | None = None,
    geo: GeoIp | None = None,
) -> Iterator[Engine]:
    """An engine built from settings, with its housekeeping threads running; both are stopped on exit.

    `worker` numbers the process among those that share the log directory. Pass `releases` and `geo` to reuse open
    ones; without `geo`, the engine follows the files of the databases by itself. Raises InvalidFile (policy, model,
    geo, settings) with every problem before it opens anything for writing.
    """
    with (
        following(releases or open_releases(settings), f"worker-{worker}") as follower,
        _followed(settings, meter or NullMeter(), worker, follower, geo) as engine,
    ):
        yield engine


@contextmanager
def _followed(settings: Settings, meter: Meter, worker: int, follower: Follower, geo: GeoIp | None) -> Iterator[Engine]:
    active = follower.releases.active()
    changes = None if geo else FileChanges(geo_paths(settings), 0.0, time.monotonic())
    if geo is None:
        lineup, geo = _load(settings, follower.releases)
    else:
        lineup = _lineup(settings, follower.releases)
    peppers = obtain_peppers(settings)
    with ExitStack() as failed:
        base = open_store(settings, meter)
        failed.callback(base.close)
        mark = first_mark(base, peppers)
        store, pseudonyms = with_peppers(base, peppers, mark)
        parts = Parts(
            store=CachingStore(store, meter),
            geo=geo,
            agents=AgentParser(),
            log=FileDecisionLog(Path(settings.log.dir), worker, meter, _bounds(settings.log)),
            meter=meter,
            pseudonyms=pseudonyms,
            clock=time.time,
            attributes=frozenset(settings.attributes.names),
            edge=_edge(settings),
            signals=settings.log.signals == "granted",
        )
        failed.pop_all()
    engine = Engine(parts, lineup.active)
    try:
        announce_geo(geo, meter)
        _announce_roles(lineup, meter)
        meter.limited(settings.store.map_size_mb * 1_048_576 if settings.store.kind == "lmdb" else 0)
        engine.install(lineup)
        _follow(follower, active, engine)
        with (
            following_geo(settings, engine, changes) if changes else nullcontext(),
            housekeeping(settings, engine, open_archive(settings), base, PepperState(mark, peppers)),
        ):
            yield engine
    finally:
        engine.close()


def _bounds(log: Log) -> Bounds:
    return Bounds(
        segment_bytes=log.segment_mb * 1_048_576,
        segment_seconds=log.segment_minutes * 60,
        keep_bytes=log.keep_mb * 1_048_576,
        keep_seconds=log.keep_days * 86_400,
        slow_seconds=log.slow_ms / 1000,
    )


def _follow(follower: Follower, active: Activation | None, engine: Engine) -> None:
    """Have the engine switch to each release that is activated after `active`."""
    meter = engine.parts.meter

    def install(lineup: Lineup) -> None:
        _announce_roles(lineup, meter)
        engine.install(lineup)

    def refuse(error: RiskdError) -> None:
        meter.failed("reload")
        _LOG.error("release_refused: %s", error, extra={"fields": {"problems": error.problems}})

    follower.follow(active, install, refuse)


def open_archive(settings: Settings) -> FileLogArchive:
    """The stored decision log."""
    log = settings.log
    return FileLogArchive(Path(log.dir), log.segment_minutes * 60.0, log.compact_minutes * 60.0)


def open_subjects(settings: Settings, engine: Engine) -> Subjects:
    """The service for subjects' rights over the data of an engine."""

    def layers() -> int:
        try:
            return len(obtain_peppers(settings)) - 1
        except InvalidSettings as error:
            raise Unavailable(error.problems) from error

    return Subjects(engine, open_archive(settings), layers)


@contextmanager
def open_learner(settings: Settings, *, trial: bool = False) -> Iterator[Engine]:
    """An engine for importing past events, without decision log or metrics. The service may run at the same time.

    A `trial` uses a temporary store and pepper. Otherwise it writes to the store of the settings, and raises
    InvalidSettings if that is `memory`, whose contents would be lost. Raises InvalidFile as `open_engine` does.
    """
    if settings.store.kind == "memory" and not trial:
        what = "what is learned into `memory` is lost when the import ends"
        raise InvalidSettings([Problem("store.kind", what, "name the store of the service, such as `lmdb`")])
    lineup, geo = _load(settings, open_releases(settings))
    peppers = [secrets.token_bytes(32)] if trial else obtain_peppers(settings)
    with ExitStack() as failed:
        base = MemoryStore() if trial else open_store(settings)
        failed.callback(base.close)
        store, pseudonyms = with_peppers(base, peppers, first_mark(base, peppers))
        failed.pop_all()
    parts = Parts(
        store=store,
        geo=geo,
        agents=AgentParser(),
        log=NullLog(),
        meter=NullMeter(),
        pseudonyms=pseudonyms,
        clock=time.time,
    )
    engine = Engine(parts, lineup.active)
    try:
        yield engine
    finally:
        engine.close()


def _load(settings: Settings, releases: Releases) -> tuple[Lineup, GeoIp]:
    """Raises InvalidFile with every problem."""
    try:
        lineup = _lineup(settings, releases)
    except InvalidFile as error:
        raise InvalidFile([*error.problems, *_geo_problems(settings)]) from error
    return lineup, open_geo(settings)


def _lineup(settings: Settings, releases: Releases) -> Lineup:
    active = releases.active()
    return releases.lineup(active) if active else Lineup(load_release(settings))


def _geo_problems(settings: Settings) -> Sequence[Problem]:
    try:
        open_geo(settings)
    except InvalidGeo as error:
        return error.problems
    return ()


def _announce_roles(lineup: Lineup, meter: Meter) -> None:
    for domain, policy in lineup.active.policies.items():
        for name, journey in policy.journeys.items():
            # What a higher floor asks of everybody is within no budget, and counted as challenges by the metrics.
            budget = journey.friction_budget if journey.floor is Tier.BASELINE else None
            meter.friction_budget(domain, name, budget or 0.0)
    for role, release in lineup.roles():
        models = {domain: scorer.version for domain, scorer in release.scorers.items()} if release else {}
        meter.installed(role, release.id if release else "", models)
    deciding = [release for release in (lineup.active, lineup.candidate) if release]
    policies = [policy for release in deciding for policy in release.policies.values()]
    meter.ruled_by([(policy.domain, rule.name, rule.shadow) for policy in policies for rule in policy.rules().values()])


def _edge(settings: Settings) -> Place | None:
    edge = settings.geo.edge
    return Place("", edge[0], edge[1], 0.0) if edge else None
