"""Everything that reads bytes from outside: each target accepts any bytes and raises only the errors that it
declares."""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from google.protobuf.message import DecodeError
from msgspec import Struct

from riskd._proto.riskd.v1 import risk_pb2
from riskd.adapters.asn_table import read_asn_table
from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.decision_log.files import read_segment
from riskd.adapters.geoip import GeoIp
from riskd.adapters.memory import MemoryStore
from riskd.adapters.model_file.bundle import _compile, _decode
from riskd.adapters.policy_file.reader import read_policy
from riskd.adapters.timezones import Timezones
from riskd.adapters.user_agent import AgentParser
from riskd.config import load
from riskd.config.paths import data_directory
from riskd.core import receipts, record, replies, stored
from riskd.core.address import parse
from riskd.core.assessment import Assessment
from riskd.core.attempt import SecurityEvent
from riskd.core.errors import RiskdError
from riskd.core.features import DEFINITIONS, NAMES
from riskd.core.model import ForestDocument
from riskd.core.pseudonym import Pseudonyms
from riskd.core.rekey import DOCUMENTS
from riskd.core.stored import Change
from riskd.offline.importers import SOURCES
from riskd.offline.importers.event import Skipped
from riskd.offline.importers.learner import Learner, Scope
from riskd.offline.importers.records import open_input
from riskd.ports import HistoryStore
from riskd.server import translate
from riskd.server.identity.callers_file import read_callers
from riskd.shared_signals.stream import Refused
from riskd.shared_signals.streams_file import read_streams
from riskd.shared_signals.subject import NotUsed
from tests.bench import LOGIN, Bench
from tests.cases.world import NOW, attempt
from tests.fuzz.tokens import claims, key_sets, keys, payloads, token, tokens
from tests.shipped import shipped_release

ROOT: Final = Path(__file__).parents[2]
DAMAGED: Final = (msgspec.DecodeError, struct.error, DecodeError)
"""What a codec raises on foreign bytes; readers of a store or a log treat it as damage."""
_SCRATCH: Final = Path(tempfile.mkdtemp(prefix="riskd-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
Read = Callable[[bytes], object]


class Target(Struct, frozen=True):
    """A function that reads bytes. `seeds` are valid inputs; `raises` lists what it may raise besides RiskdError."""

    read: Read
    seeds: Callable[[], list[bytes]]
    raises: tuple[type[Exception], ...] = ()

    def __call__(self, data: bytes) -> None:
        """Read the bytes."""
        with suppress(RiskdError, *self.raises):
            self.read(data)


@cache
def bench() -> Bench:
    """An engine with a store in memory."""
    return Bench(shipped_release(), MemoryStore())


def assess(data: bytes) -> None:
    """Handle a request from its bytes to its answer."""
    request = risk_pb2.AssessRequest.FromString(data)
    answer = bench().engine.assess(translate.attempt(request), 10.0)
    _responses().response(answer).SerializeToString()
    _read_back()


def _read_back() -> None:
    """Every logged line is a valid record."""
    logged = bench().log.lines
    while logged:
        try:
            record.decode(logged.pop())
        except msgspec.DecodeError as error:
            raise AssertionError(error) from error


@cache
def _responses() -> translate.Answers:
    return translate.Answers()


def tell(data: bytes) -> None:
    """Handle an outcome from its bytes."""
    bench().engine.record(translate.outcome(risk_pb2.RecordOutcomeRequest.FromString(data)), 10.0)
    _read_back()


def hear(data: bytes) -> None:
    """Handle a security event from its bytes."""
    request = risk_pb2.RecordSecurityEventRequest.FromString(data)
    bench().engine.record_event(translate.security_event(request), 10.0)
    _read_back()


def events() -> list[bytes]:
    """A risk level change, and a compromised password."""
    usual = {"domain": 1, "subject": LOGIN.subject, "issuer": "https://idp.example"}
    level = risk_pb2.RecordSecurityEventRequest(**usual, risk_level_change={"current_level": 3})  # type: ignore[arg-type]
    stolen = risk_pb2.RecordSecurityEventRequest(**usual, credential_compromise={"credential_type": "password"})  # type: ignore[arg-type]
    return [level.SerializeToString(), stolen.SerializeToString()]


def requests() -> list[bytes]:
    """A minimal and a full request."""
    full = attempt({"request_id": "r-1", "attributes": {"plan": "gold"}})
    return [translate.request(each).SerializeToString() for each in (LOGIN, full)]


def outcomes() -> list[bytes]:
    """An outcome of an existing assessment."""
    told = risk_pb2.RecordOutcomeRequest(assessment_id=bench().assess(LOGIN).id)
    told.confirmed_legitimate.SetInParent()
    return [told.SerializeToString()]


@cache
def compiler() -> CelCompiler:
    """The compiler of conditions."""
    return CelCompiler(NAMES)


def policy(data: bytes) -> None:
    """Read a policy and compile its conditions."""
    read_policy(str(_SCRATCH / "customer.yaml"), data.decode("utf-8", "replace"), compiler(), now=NOW)


def policies() -> list[bytes]:
    """The shipped policies."""
    return [path.read_bytes() for path in sorted(data_directory("policies").glob("*.yaml"))]


def model(data: bytes) -> None:
    """Read a forest and compute a score."""
    forest = _compile(_SCRATCH, _decode(_SCRATCH / "forest.json", data, ForestDocument), DEFINITIONS, "fuzz")
    forest.score([0.0] * len(NAMES))


def models() -> list[bytes]:
    """The shipped models."""
    return [path.read_bytes() for path in sorted(data_directory("models").glob("*/*/forest.json"))]


@cache
def _geography() -> tuple[dict[int, str], Timezones]:
    return dict(read_asn_table(data_directory("asns.csv"))), Timezones()


_ADDRESSES: Final = tuple(address for text in ("81.2.69.142", "2001:218::1", "1.128.0.1") if (address := parse(text)))


def geo(data: bytes) -> None:
    """Open a database and look up addresses."""
    path = _SCRATCH / "fuzz.mmdb"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    lookup = GeoIp.open([path], *_geography())
    for address in _ADDRESSES:
        lookup.locate(address, NOW)


def databases() -> list[bytes]:
    """Small databases of each kind, and the smallest broken ones."""
    folder = ROOT / "tests" / "data" / "maxmind"
    good = sorted(folder.glob("*.mmdb"), key=lambda path: path.stat().st_size)[:2]
    bad = sorted((folder / "bad").glob("*.mmdb"), key=lambda path: path.stat().st_size)[:8]
    return [path.read_bytes() for path in (*good, *bad)]


def settings(data: bytes) -> None:
    """Read a TOML file of settings."""
    path = _SCRATCH / "riskd.toml"
    path.write_bytes(data)
    load(str(path), {}, {"state.dir": str(_SCRATCH)})


def callers(data: bytes) -> None:
    """Read a callers file."""
    path = _SCRATCH / "callers.toml"
    path.write_bytes(data)
    read_callers(path, mutual=True)


def segment(data: bytes) -> None:
    """Read every line of a log segment; a bad line does not stop the reading."""
    path = _SCRATCH / "20260101T000000.000000-w0-1.jsonl"
    path.write_bytes(data)
    for line in read_segment(path):
        with suppress(*DAMAGED):
            record.decode(line)


@cache
def lines() -> bytes:
    """Log lines of an assessment, its outcome and a security event."""
    one = Bench(shipped_release(), MemoryStore())
    one.tell(one.assess(LOGIN), "confirmed_legitimate")
    one.engine.record_event(SecurityEvent(domain="customer", subject=LOGIN.subject, kind="account_enabled"), 10.0)
    return b"".join(line + b"\n" for line in one.log.lines)


_PSEUDONYMS: Final = Pseudonyms(b"p" * 32)


def kept(data: bytes) -> None:
    """Read a record of the store as each kind."""
    for read in (
        lambda: stored.history(data, 0.0),
        lambda: stored.document(data, 0.0),
        lambda: receipts.decode(stored.payload(data), b"x" * 8, _PSEUDONYMS),
        lambda: replies.decode(stored.payload(data)),
    ):
        with suppress(*DAMAGED):
            read()


def records() -> list[bytes]:
    """The records that one sign-in and its outcome leave."""
    store = MemoryStore()
    one = Bench(shipped_release(), store)
    one.tell(one.assess(LOGIN), "confirmed_legitimate")
    keys, _ = store.walk(b"", 100)
    return [found for found in store.load(keys) if found]


@cache
def _account() -> tuple[Bench, Assessment]:
    """An engine with an account that signed in before, and the answer that it got then."""
    one = Bench(shipped_release(), MemoryStore())
    answer = one.assess(attempt({"attributes": {"plan": "gold"}}))
    one.tell(answer, "confirmed_legitimate")
    return one, answer


def _histories(store: HistoryStore) -> list[bytes]:
    return [key for key in store.walk(b"", 1000)[0] if key[-1:] not in DOCUMENTS]


def lived(data: bytes) -> None:
    """Assess, learn and take back by histories that can be decoded, whatever they hold."""
    one, answer = _account()
    whole = stored.pack(math.inf, data)
    try:
        stored.history(whole, 0.0)
    except DAMAGED:
        return
    held = _histories(one.store)
    there = zip(held, one.store.load(held), strict=True)
    assert one.store.replace([Change(key, before, whole) for key, before in there])
    again = one.assess(attempt({"attributes": {"plan": "gold"}}))
    for told, kind in ((again, "confirmed_fraud"), (answer, "confirmed_legitimate")):
        one.tell(told, kind)
    one.log.lines.clear()


def past() -> list[bytes]:
    """The histories of that account."""
    store = _account()[0].store
    return [stored.payload(found) for found in store.load(_histories(store)) if found]


def imported(data: bytes) -> None:
    """Read an export as one of each identity provider, and learn from its events."""
    path = _SCRATCH / "export"
    path.write_bytes(data)
    for source in SOURCES.values():
        learner = Learner(bench().engine, Scope(domain="customer"))
        with open_input(str(path)) as opened:
            rows = [found.row for found in opened.records(lines=source.lines) if found.row is not None]
        for at, event in enumerate([source.read(row, "") for row in rows]):
            if not isinstance(event, Skipped):
                learner.deltas(event, at, NOW)


def exports() -> list[bytes]:
    """An export of each provider and form."""
    return [path.read_bytes() for path in sorted((ROOT / "tests" / "data" / "imports").glob("*.[jcl]*"))]


def text(data: bytes) -> None:
    """Parse a client's texts: an address, a user agent."""
    said = data.decode("utf-8", "replace")
    parse(said)
    _agents().parse(said, said[:16], None)


@cache
def _agents() -> AgentParser:
    return AgentParser()


def streams(data: bytes) -> None:
    """Read a streams file."""
    path = _SCRATCH / "streams.yaml"
    path.write_bytes(data)
    (_SCRATCH / "stream.token").write_text("a-token")
    read_streams(path)


_STREAMS: Final = b"""streams:
  idp:
    issuer: https://idp.example.com/1
    audience: riskd
    domain: customer
    subject: {format: iss_sub, issuers: [https://idp.example.com]}
    critical_subject_members: [tenant]
    poll: {endpoint: https://idp.example.com/poll, token_file: stream.token, interval: 30s}
"""
_CALLERS: Final = b'[gateway]\ntoken_sha256 = ["' + b"0" * 64 + b'"]\ntenants = ["*"]\nmethods = ["assessor"]\n'

TARGETS: Final[dict[str, Target]] = {
    "requests": Target(assess, requests, DAMAGED),
    "outcomes": Target(tell, outcomes, DAMAGED),
    "events": Target(hear, events, DAMAGED),
    "policies": Target(policy, policies),
    "models": Target(model, models),
    "geo": Target(geo, databases),
    "settings": Target(settings, lambda: [b'[server]\nport = 1\nhost = "::1"\n[attributes]\nnames = ["a"]\n']),
    "callers": Target(callers, lambda: [_CALLERS]),
    "tokens": Target(token, tokens, (Refused, NotUsed)),
    "claims": Target(claims, payloads, (Refused, NotUsed)),
    "keys": Target(keys, key_sets),
    "streams": Target(streams, lambda: [_STREAMS]),
    "log": Target(segment, lambda: [lines()]),
    "store": Target(kept, records),
    "histories": Target(lived, past),
    "imports": Target(imported, exports),
    "texts": Target(text, lambda: [b"81.2.69.142", b"2001:db8::1", b"Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0"]),
}
"""Everything that riskd reads from outside, or wrote earlier."""
