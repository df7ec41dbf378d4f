"""During an upgrade and after a rollback, this version reads what a newer one wrote, without what it does not know."""

from __future__ import annotations

import json
from typing import Final

import msgspec

from riskd.core import record, replies
from riskd.core.history import DAY, Delta, History, decode, encode, fold
from riskd.core.pseudonym import SEAL_BYTES
from riskd.core.record import Signals
from tests.core.builders import NOW
from tests.decision_log import decision, outcome, security_event
from tests.server.world import ASSESSMENT

MORE: Final = {"more": {"than": ["this", 1.0]}}


def test_a_newer_reply_is_read() -> None:
    """A reply with more fields, as a newer riskd on the same store keeps it, is given again."""
    stored = replies.encode(ASSESSMENT, bytes(SEAL_BYTES))
    fields = msgspec.msgpack.decode(stored[SEAL_BYTES:])
    assert replies.decode(bytes(SEAL_BYTES) + msgspec.msgpack.encode(fields | MORE)) == ASSESSMENT


def test_a_newer_line_is_read() -> None:
    """A line of the log with more fields, in its facts and signals too, is read without them."""
    assessed = decision(1, NOW, signals=Signals(platform="Windows"))
    for known in (assessed, outcome(1, NOW, "challenge_passed"), security_event(1, NOW, "account_enabled")):
        fields = json.loads(record.encode(known)) | MORE
        for part in ("facts", "signals"):
            if part in fields:
                fields[part] |= MORE
        assert record.decode(json.dumps(fields).encode()) == known


def test_newer_marks_stay() -> None:
    """A change to a history keeps marks of kinds that this version does not know."""
    history = History(marks={"news": [(int(NOW), 7)]})
    fold(history, Delta(b"k", NOW, NOW + DAY, (("attempt", "", 1),), (("payment", (int(NOW),)),), keep=DAY))
    assert decode(encode(history)).marks == {"news": [(int(NOW), 7)], "payment": [(int(NOW),)]}
