"""An engine with a file log and a subject service, and people who sign in there, for tests of subjects' rights."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from hypothesis import strategies as st

from riskd.adapters.decision_log import Bounds, FileDecisionLog, FileLogArchive
from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.core.assessment import Assessment
from riskd.core.attempt import EVENTS, OUTCOMES, Outcome, SecurityEvent
from riskd.core.history import decode
from riskd.core.stored import PLACE, payload
from riskd.engine import Engine
from riskd.ports import HistoryStore
from riskd.subjects import Exported, Subject, Subjects
from tests.bench import counting, parts
from tests.cases.world import NOW, PSEUDONYMS, attempt
from tests.decision_log import read_segments
from tests.shipped import shipped_release

PEOPLE: Final = ("anne", "bert", "cleo")
PAYEE: Final = {"payee": "mallory"}
"""An attribute whose values are counted."""
RELEASE: Final = counting(shipped_release(), *PAYEE)


class Office:
    """An engine on a store and a file log, with the subject service."""

    def __init__(self, directory: Path, store: HistoryStore | None = None) -> None:
        self.now, self.directory, self.store = NOW, directory / "log", store or MemoryStore()
        self.archive = FileLogArchive(self.directory, 1.0, 1.0)
        self.log = self._opened()
        made = parts(
            store=self.store,
            log=self.log,
            clock=lambda: self.now,
            attributes=frozenset(PAYEE),
        )
        self.engine = Engine(made, RELEASE)
        self.layers = 0
        self.subjects = Subjects(self.engine, self.archive, lambda: self.layers)

    def _opened(self) -> FileDecisionLog:
        return FileDecisionLog(self.directory, 0, NullMeter(), Bounds())

    def sign_in(self, who: str, kind: str = "confirmed_legitimate", **words: object) -> Assessment:
        """One attempt with its outcome. All of them name the same payee."""
        answer = self.engine.assess(attempt({"subject": who, "attributes": PAYEE, **words}), 10.0)
        self.tell(answer, kind)
        return answer

    def tell(self, answer: Assessment, kind: str) -> int:
        return self.engine.record(Outcome(assessment_id=answer.id, kind=kind), 10.0).taught

    def hear(self, who: str, kind: str) -> None:
        """Record a security event about a subject."""
        self.engine.record_event(
            SecurityEvent(
                domain="customer",
                subject=who,
                issuer="https://idp.example",
                kind=kind,
                level="high" if kind == "risk_level_change" else "",
                credential_type="password" if kind.startswith("credential") else "",
                hijacked=kind == "account_disabled",
            ),
            10.0,
        )

    def erase(self, who: str) -> dict[str, int]:
        return self.subjects.erase(named(who), 10.0).records

    def export(self, who: str, size: int = 500) -> list[Exported]:
        page = self.subjects.export(named(who), size, b"")
        found = list(page.records)
        while page.token:
            page = self.subjects.export(named(who), size, page.token)
            assert len(page.records) <= 3 * size
            found += page.records
        return found

    def records(self) -> dict[bytes, bytes]:
        """Everything in the store."""
        found: dict[bytes, bytes] = {}
        keys, cursor = self.store.walk(b"", 1000)
        while True:
            found |= {key: record for key, record in zip(keys, self.store.load(keys), strict=True) if record}
            if not cursor:
                return found
            keys, cursor = self.store.walk(cursor, 1000)

    def of(self, who: str) -> dict[bytes, bytes]:
        """The records in a subject's place."""
        return {key: record for key, record in self.records().items() if key.startswith(pseudonym(who)[:PLACE])}

    def lines(self, who: str) -> list[bytes]:
        """The log lines of a subject."""
        return [line for line in read_segments(self.directory) if pseudonym(who)[:PLACE].hex().encode() in line]

    def compact(self) -> None:
        """Compact the log with every segment finished."""
        self.log.close()
        assert self.archive.compact({}, threading.Event()) is not None


def named(who: str) -> Subject:
    return Subject("", "customer", who)


def pseudonym(who: str) -> bytes:
    return PSEUDONYMS.digest("", "customer", "subject", who)


steps = st.fixed_dictionaries(
    {
        "who": st.sampled_from(PEOPLE),
        "with": st.sampled_from(["laptop", "phone"]),
        "from": st.sampled_from(["home", "mobile"]),
        "journey": st.sampled_from(["login", "recovery", "payment"]),
        "request_id": st.sampled_from(["", "r-1", "r-2"]),
        "kind": st.sampled_from(OUTCOMES),
        "event": st.sampled_from(["", "", "", *EVENTS]),
        "later": st.sampled_from([0.0, 60.0, 86_400.0, 1_209_600.0]),
    }
)


def lived(office: Office, history: list[dict[str, object]]) -> list[tuple[str, Assessment]]:
    """Run a script of sign-ins, outcomes and security events."""
    answers = []
    for step in history:
        words = dict(step)
        who, kind, later = str(words.pop("who")), str(words.pop("kind")), words.pop("later")
        assert isinstance(later, float)
        office.now += later
        if event := str(words.pop("event")):
            office.hear(who, event)
        if words["request_id"]:
            words["request_id"] = "-".join(str(words[name]) for name in ("request_id", "with", "from", "journey"))
        answers.append((who, office.sign_in(who, kind, **words)))
    return answers


def total(record: bytes) -> int:
    return sum(decode(payload(record)).tallies.of("sign_in")[""][1:])
