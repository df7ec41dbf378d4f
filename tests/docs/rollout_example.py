"""A rollout for docs/releases.md: a candidate that is too strict, and the page's output of `riskd release compare`.

`python -m tests.docs.rollout_example` rewrites the output.
"""

from __future__ import annotations

import io
import re
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from random import Random
from typing import Final

from riskd.cli.rollout import show
from riskd.core.record import Record, written
from riskd.offline.policies.rollout import Rollout, compare
from riskd.progress import ignore_progress
from tests.decision_log import SEGMENT, decision, outcome, write
from tests.e2e.service import ROOT

PAGE: Final = ROOT / "docs" / "releases.md"
BLOCK: Final = re.compile(r"(?<=<!-- compare -->\n```text\n).+?(?=```)", re.DOTALL)
BEGIN: Final = 1_795_608_000.0
ROLLOUT: Final = Rollout(active="9b1de0c25a7f4e38", candidate="4f0c6a91d2e85b73", percent=5, begin=BEGIN)
HOURS: Final = 6
ACCOUNTS: Final = 8_000
ASKED: Final = {"active": 0.04, "candidate": 0.15}
"""The share that each release challenges."""
ENDS: Final = ("challenge_passed",) * 8 + ("challenge_failed", "challenge_abandoned")


def lines() -> list[Record]:
    """Six hours of a day: some accounts come often, one in twenty is the candidate's, and a few are attacked."""
    random, found = Random(1), list[Record]()
    for account in range(ACCOUNTS):
        side = "candidate" if random.random() < ROLLOUT.percent / 100 else "active"
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            number, time = len(found), BEGIN + random.random() * HOURS * 3600
            asked = random.random() < ASKED[side]
            tier = ("DENY" if random.random() < 0.05 else "STEP_UP") if asked else "BASELINE"
            one = decision(
                number,
                time,
                release=getattr(ROLLOUT, side),
                subject=f"{account:032x}",
                journey=random.choice(("login", "login", "login", "payment")),
                tier=tier,
                satisfied=not asked,
                credential_result="failed" if random.random() < 0.03 else "succeeded",
            )
            found.append(one)
            if tier == "STEP_UP" and one.credential_result != "failed":
                found.append(outcome(number, time + 20, random.choice(ENDS)))
            if random.random() < 0.0008:
                found.append(outcome(number, time + 9 * 3600, "confirmed_fraud"))
    return sorted(found, key=written)


def printed() -> str:
    """What the command prints of it."""
    with tempfile.TemporaryDirectory() as directory, redirect_stdout(io.StringIO()) as said:
        write(Path(directory) / SEGMENT, *lines())
        show(compare(Path(directory), ROLLOUT, 1, ignore_progress)[0])
    return "\n".join(line.rstrip() for line in said.getvalue().splitlines()) + "\n"


def page() -> str:
    """The page with that output."""
    return BLOCK.sub(lambda _: printed(), PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
