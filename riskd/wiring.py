"""The composition root: the one place that picks stores, geo databases and metrics."""

from __future__ import annotations

import logging
import secrets
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

from riskd.adapters.asn_table import read_asn_table
from riskd.adapters.caching import CachingStore
from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.decision_log import Bounds, FileDecisionLog, FileLogArchive
from riskd.adapters.geoip import GeoIp
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.memory import MemoryStore, NullLog, NullMeter
from riskd.adapters.model_file import load_model
from riskd.adapters.policy_file import load_policy
from riskd.adapters.redis_store import Access, Address, RedisStore
from riskd.adapters.rekeying import Mark, RekeyingStore, read_mark, write_mark
from riskd.adapters.timezones import Timezones
from riskd.adapters.user_agent import AgentParser
from riskd.config import Settings, obtain_peppers, read_url
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
    Unavailable,
)
from riskd.core.features import FEATURES, NAMES, schema
from riskd.core.pseudonym import Layer, Origins, Pseudonyms
from riskd.engine import Engine, Parts
from riskd.metrics import DATABASES
from riskd.ports import HistoryStore, Meter
from riskd.subjects import Subjects
from riskd.sweeper import Sweeper

_LOG: Final = logging.getLogger("riskd.wiring")
CHAMPION: Final = "champion"
"""File beside a domain's model versions that names the one to serve."""
DUE_SECONDS: Final = 30.0
"""Time between two looks whether the log is due for compaction."""


def data_directory(name: str) -> Path:
    """A file or folder of data that comes with riskd: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    packaged = package / "_data" / name
    if packaged.exists():
        return packaged
    return package.parent / name if name == "models" else package.parent / "data" / name


def load_release(settings: Settings) -> Release:
    """The release that the settings name.

    Raises InvalidFile with the problems of every policy and model file.
    """
    policies_dir = Path(settings.release.policies or data_directory("policies"))
    models_dir = Path(settings.release.models or data_directory("models"))
    compiler, definitions = CelCompiler(NAMES), {feature.name: feature.definition for feature in FEATURES}
    digest = blake2b(schema().encode(), digest_size=8)
    problems: list[Problem] = []
    policies, scorers = {}, {}
    for domain in DOMAINS:
        try:
            policy_file = policies_dir / f"{domain}.yaml"
            policies[domain] = load_policy(policy_file, compiler)
            digest.update(policies[domain].digest.encode())
        except InvalidPolicy as error:
            problems += error.problems
        try:
            bundle = models_dir / domain / _champion(models_dir / domain)
            scorers[domain] = load_model(bundle, definitions, domain=domain)
            digest.update((bundle / "manifest.json").read_bytes())
        except InvalidModel as error:
            problems += error.problems
    if problems:
        raise InvalidFile(problems)
    return Release(digest.hexdigest(), policies, scorers)


def _champion(models: Path) -> str:
    alias = models / CHAMPION
    try:
        version = alias.read_text(encoding="utf-8").strip()
    except OSError as error:
        remedy = "write the version to serve into it, one word"
        raise InvalidModel([Problem(str(alias), error.strerror or "unreadable", remedy)]) from error
    if not version or not (models / version).is_dir():
        raise InvalidModel([Problem(str(alias), f"names no version here: {version!r}", "name one of the directories")])
    return version


def open_geo(settings: Settings) -> GeoIp:
    """The geo databases that are there. Raises InvalidGeo for those that are there and bad."""
    geo = settings.geo
    named = {"city": geo.city, "asn": geo.asn, "anonymous": geo.anonymous}
    replaced = [kind for kind, path in named.items() if path]
    installed = sorted(Path(geo.dir).glob("*.mmdb"))
    chosen = [path for path in installed if not any(kind in path.name for kind in replaced)]
    return open_databases([*chosen, *(Path(path) for path in named.values() if path)])


def open_databases(paths: Sequence[Path]) -> GeoIp:
    """These geo databases. Raises InvalidGeo with the problems of all of them."""
    return GeoIp.open(paths, read_asn_table(data_directory("asns.csv")), Timezones())


def open_store(settings: Settings) -> HistoryStore:
    """The history store that the settings name. Raises InvalidStore, InvalidSettings."""
    if settings.store.kind == "memory":
        return MemoryStore()
    if settings.store.kind == "redis":
        return _redis_store(settings)
    return LmdbStore(Path(settings.store.path), map_size=settings.store.map_size_mb * 1_048_576)


def _redis_store(settings: Settings) -> RedisStore:
    """Raises InvalidSettings for certificates that cannot be used; servers may come later."""
    chosen, url = settings.store, read_url(settings.store.url)
    tls = None
    if url.tls:
        try:
            tls = ssl.create_default_context(cafile=chosen.tls_ca or None)
            if chosen.tls_cert:
                tls.load_cert_chain(chosen.tls_cert, chosen.tls_key)
        except (ssl.SSLError, OSError) as error:
            what = f"certificates that cannot be used: {error}"
            raise InvalidSettings([Problem("store.tls_ca, store.tls_cert", what, "give PEM files")]) from error
    access = Access(
        username=url.username,
        password=settings.secrets.store_password.reveal(),
        database=url.database,
        tls=tls,
        seconds=chosen.connect_timeout_ms / 1000,
    )
    addresses = [Address(host, port) for host, port in url.nodes] or [Address(path=url.path)]
    return RedisStore(addresses, access, chosen.connections)


@contextmanager
def open_engine(settings: Settings, meter: Meter | None = None, worker: int = 0) -> Iterator[Engine]:
    """An engine with everything that the settings name, and its housekeeping; closed on leaving.

    Raises InvalidFile (policy, model, geo, settings) with every problem before anything is opened for writing.
    """
    meter = meter or NullMeter()
    release, geo = _load(settings)
    peppers = obtain_peppers(settings)
    bounds = Bounds(
        segment_bytes=settings.log.segment_mb * 1_048_576,
        segment_seconds=settings.log.segment_minutes * 60,
        keep_bytes=settings.log.keep_mb * 1_048_576,
        keep_seconds=settings.log.keep_days * 86_400,
        slow_seconds=settings.log.slow_ms / 1000,
    )
    base = open_store(settings)
    mark = _first_mark(base, peppers)
    store, pseudonyms = keyed(base, peppers, mark, meter)
    parts = Parts(
        store=store,
        geo=geo,
        agents=AgentParser(),
        log=FileDecisionLog(Path(settings.log.dir), worker, meter, bounds),
        meter=meter,
        pseudonyms=pseudonyms,
        clock=time.time,
        attributes=frozenset(settings.attributes.names),
        edge=_edge(settings),
    )
    _announce(release, geo, meter)
    engine, stop = Engine(parts, release), threading.Event()
    keeper = threading.Thread(
        target=_keep,
        args=(settings, engine, base, (mark.layers, peppers), stop),
        name="housekeeping",
        daemon=True,
    )
    keeper.start()
    compactor = threading.Thread(target=_compact, args=(settings, engine, meter, stop), name="compaction", daemon=True)
    compactor.start()
    try:
        yield engine
    finally:
        stop.set()
        keeper.join()
        compactor.join()
        engine.close()


def keyed(base: HistoryStore, peppers: Sequence[bytes], mark: Mark, meter: Meter) -> tuple[HistoryStore, Pseudonyms]:
    """A store as these peppers name its records, and what names them. While records are moved under the last pepper,
    those that are asked for move first; at other times there is nothing in between.

    Raises InvalidSettings when they are not the peppers that the store was written with.
    """
    layers = list(peppers[1:])
    if mark.checks and mark.checks != checks(peppers)[: len(mark.checks)]:
        what = "not the peppers that the store was written with" if len(layers) >= mark.layers else "lines are missing"
        remedy = "bring back the whole file, all lines in their order: without it no history is found"
        raise InvalidSettings([Problem("secrets.pepper_file", what, remedy)])
    if len(layers) > mark.layers + 1:
        remedy = f"leave {mark.layers + 2} lines, run `riskd pepper rotate`, and add the next one after it"
        raise InvalidSettings([Problem("secrets.pepper_file", "more than one new pepper at a time", remedy)])
    if len(layers) == mark.layers:
        return CachingStore(base, meter), Pseudonyms(peppers[0], layers)
    origins = Origins()
    return CachingStore(RekeyingStore(base, origins, Layer(layers[-1])), meter), Pseudonyms(peppers[0], layers, origins)


def checks(peppers: Sequence[bytes]) -> tuple[str, ...]:
    """What tells peppers apart: the first 32 bits of a pseudonym of nobody under each."""
    return tuple(Pseudonyms(pepper).digest("", "", "pepper", "")[:4].hex() for pepper in peppers)


def _first_mark(base: HistoryStore, peppers: Sequence[bytes]) -> Mark:
    """What the store says of its layers. A new store is told of those that there are.

    Of a store that cannot be asked yet the worst is assumed: that its records still move under the last pepper.
    """
    try:
        if len(peppers) > 1 and base.size()[0] == 0:
            write_mark(base, Mark(len(peppers) - 1, checks(peppers)))
        return read_mark(base)
    except Unavailable:
        return Mark(max(len(peppers) - 2, 0))


def open_archive(settings: Settings) -> FileLogArchive:
    """What the decision log has kept."""
    log = settings.log
    return FileLogArchive(Path(log.dir), log.segment_minutes * 60.0, log.compact_minutes * 60.0)


def open_subjects(settings: Settings, engine: Engine) -> Subjects:
    """Whoever answers for the subjects of an engine."""
    return Subjects(engine, open_archive(settings))


def kept_seconds(release: Release) -> dict[str, float]:
    """Seconds that each identity domain keeps its lines of the decision log."""
    return {domain: float(policy.retention.log) for domain, policy in release.policies.items()}


@contextmanager
def open_learner(settings: Settings, *, trial: bool = False) -> Iterator[Engine]:
    """An engine that learns from the past, beside a service that may be running: no decision log, no metrics.

    A `trial` has a store and a pepper of its own, which it forgets. Raises InvalidFile as `open_engine` does, also
    where the store that the settings name would be forgotten.
    """
    if settings.store.kind == "memory" and not trial:
        what = "what is learned into memory is forgotten when the import ends"
        raise InvalidSettings([Problem("store.kind", what, "name the store of the service, as `lmdb`")])
    release, geo = _load(settings)
    base = MemoryStore() if trial else open_store(settings)
    peppers = [secrets.token_bytes(32)] if trial else obtain_peppers(settings)
    store, pseudonyms = keyed(base, peppers, _first_mark(base, peppers), NullMeter())
    parts = Parts(
        store=store,
        geo=geo,
        agents=AgentParser(),
        log=NullLog(),
        meter=NullMeter(),
        pseudonyms=pseudonyms,
        clock=time.time,
    )
    engine = Engine(parts, release)
    try:
        yield engine
    finally:
        engine.close()


def reload(settings: Settings, engine: Engine, meter: Meter) -> None:
    """Decide by the policies, models and geo databases that are on disk now.

    Raises InvalidFile with the problems of all of them; then nothing has changed.
    """
    release, geo = _load(settings)
    engine.install(release, geo)
    _announce(release, geo, meter)


def _load(settings: Settings) -> tuple[Release, GeoIp]:
    """What SIGHUP reads again. Raises InvalidFile with every problem."""
    try:
        release = load_release(settings)
    except InvalidFile as error:
        raise InvalidFile([*error.problems, *_geo_problems(settings)]) from error
    return release, open_geo(settings)


def _geo_problems(settings: Settings) -> Sequence[Problem]:
    try:
        open_geo(settings)
    except InvalidGeo as error:
        return error.problems
    return ()


def _announce(release: Release, geo: GeoIp, meter: Meter) -> None:
    """Tell what is in use. Of several databases of one kind the oldest counts; a kind that is gone is 0."""
    for kind in DATABASES:
        built = [database.build_epoch for database in geo.databases() if database.kind == kind]
        meter.geo_built(kind, min(built, default=0))
    for domain, policy in release.policies.items():
        for name, journey in policy.journeys.items():
            meter.friction_budget(domain, name, journey.friction_budget or 0.0)
    meter.installed(release.id, {domain: scorer.version for domain, scorer in release.scorers.items()})


def _edge(settings: Settings) -> Place | None:
    edge = settings.geo.edge
    return Place("", edge[0], edge[1], 0.0) if edge else None


def _compact(settings: Settings, engine: Engine, meter: Meter, stop: threading.Event) -> None:
    """Compact the log whenever nobody has for `log.compact_minutes`, until told to stop."""
    archive = open_archive(settings)
    while not stop.wait(DUE_SECONDS):
        try:
            if archive.state().compacted + settings.log.compact_minutes * 60 <= time.time():
                archive.compact(kept_seconds(engine.release), stop)
        except Unavailable:
            meter.failed("compaction")


def _keep(
    settings: Settings,
    engine: Engine,
    base: HistoryStore,
    known: tuple[int, list[bytes]],
    stop: threading.Event,
) -> None:
    """Sweep expired records, and look for a rotation of the pepper, until told to stop.

    `known`: how many layers the store had, and the peppers.
    """
    meter = engine.parts.meter
    sweeper = Sweeper(base, meter)
    while not stop.wait(settings.store.sweep_s):
        try:
            sweeper.sweep()
            mark, peppers = read_mark(base), obtain_peppers(settings)
            if known != (mark.layers, peppers):
                engine.rekey(*keyed(base, peppers, mark, meter))
                known = mark.layers, peppers
                _LOG.info("pepper", extra={"fields": {"layers": len(peppers) - 1, "moved": mark.layers}})
        except Unavailable:
            meter.failed("store")
        except InvalidSettings as error:
            meter.failed("reload")
            _LOG.error("pepper_refused", extra={"fields": {"problems": [str(each) for each in error.problems]}})
