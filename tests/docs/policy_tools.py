"""Rewrites the command outputs in docs/policy.md: `python -m tests.docs.policy_tools`.

Each output stands below a comment that names its command. The commands read a small random log (with a fixed seed) of
decisions by the shipped customer policy, `candidate.yaml`, which differs from that policy in three places, and a policy
case that fails.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from msgspec.structs import replace

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file import load_policy
from riskd.cli.main import main
from riskd.core import record
from riskd.core.context import Missing, Place, Route
from riskd.core.features import NAMES
from riskd.core.policy import Policy
from tests.decision_log import WHENCE, decided, decision, outcome, write

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "policy.md"
BLOCK: Final = re.compile(r"<!-- output: (riskd policy .*?) -->\n```text\n(.*?)```\n", re.DOTALL)
EDITS: Final = (
    ("STEP_UP: 0.02 #", "STEP_UP: 0.03 #"),
    ("    when: tor == 1.0\n    then: STEP_UP", "    when: tor == 1.0\n    then: PHISHING_RESISTANT"),
    ("      session: STEP_UP\n      history: STEP_UP", "      session: STEP_UP\n      history: PHISHING_RESISTANT"),
)
BEGUN: Final = 1_793_491_200.0
"""2026-11-01."""
DECISIONS: Final = 6_000


def prepare(directory: Path) -> None:
    """Write the files that the commands of the page read."""
    shipped = ROOT / "data" / "policies" / "customer.yaml"
    text = shipped.read_text(encoding="utf-8")
    (directory / "customer.yaml").write_text(text, encoding="utf-8")
    for old, new in EDITS:
        assert old in text, old
        text = text.replace(old, new, 1)
    (directory / "candidate.yaml").write_text(text, encoding="utf-8")
    policy = load_policy(shipped, CelCompiler(NAMES))
    write(directory / "decisions" / "20261101T000000.000000-w0-1.jsonl", *decisions(policy, Random(11)))
    cases = PAGE.read_text(encoding="utf-8").partition("```yaml\n# tests/")[2].partition("\n")[2].partition("```")[0]
    (directory / "tests").mkdir()
    (directory / "tests" / "customer.yaml").write_text(cases, encoding="utf-8")


def decisions(policy: Policy, random: Random) -> Iterator[record.Record]:
    """A month of sign-ins and payments: 98 % good, 2 % fraud, mostly with higher scores; most get an outcome.

    In a part of the sign-ins the credential is wrong. These get no outcome.
    """
    wrong = Random(7)
    for number in range(DECISIONS):
        fraud = random.random() < 0.02
        features = {
            "tor": float(random.random() < (0.1 if fraud else 0.01)),
            "new_device": float(random.random() < (0.7 if fraud else 0.08)),
            "hosting": float(random.random() < (0.1 if fraud else 0.005)),
            "history_depth": 40 * random.random(),
        }
        now = BEGUN + number * 30 * 86_400 / DECISIONS
        one = drawn(f"{random.getrandbits(128):032x}", now, features, fraud=fraud, random=random)
        failed = one.journey == "login" and wrong.random() < (0.5 if fraud else 0.06)
        one = decided(policy, replace(one, credential_result="failed") if failed else one)
        yield one
        if random.random() < (0.7 if fraud else 0.9) and not failed:
            kind = "confirmed_fraud" if fraud else "session_established" if one.satisfied else "challenge_passed"
            taught = 0 if fraud else 1
            yield outcome(0, now + 30, kind, assessment_id=one.id, journey=one.journey, taught=taught)


def drawn(name: str, now: float, features: dict[str, float], *, fraud: bool, random: Random) -> record.AssessmentRecord:
    """A random assessment record that the policy has not decided yet."""
    country = random.choice(["NO", "NO", "NO", "GB", "DE"])
    route = Route(2119, anonymizer="tor" if features["tor"] else "", hosting=bool(features["hosting"]))
    return decision(
        0,
        now,
        id=name,
        journey=random.choice(["login", "login", "payment"]),
        facts=record.Facts(
            now=now,
            network="192.0.2.0/24",
            values=WHENCE,
            place=Place(country, 60.0, 10.0, 50.0),
            route=route,
            agent=None,
            missing=() if random.random() < 0.98 else (Missing("history", "unavailable"),),
        ),
        vector=tuple(features.get(feature) for feature in NAMES),
        score=random.betavariate(1.2, 8) if fraud else random.betavariate(0.25, 60),
        release="5f1c3f6f8a2b7d10",
        model="hand-set-4",
        session=record.Authentication(amr=("pwd",), authentication_time=now - 60),
    )


def output(command: str) -> str:
    """What a command prints to stdout and stderr, with its durations replaced by fixed ones."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        main(shlex.split(command)[1:])
    text = re.sub(r"[ \t]+$", "", printed.getvalue(), flags=re.MULTILINE)
    text = re.sub(r"in [\d.]+ s, [\d,]+ a second", "in 0.3 s, 20,000 a second", text)
    return re.sub(r"failed in [\d.]+ s", "failed in 0.1 s", text)


def written(page: str) -> str:
    """The page with the present outputs of its commands."""
    with tempfile.TemporaryDirectory() as directory:
        prepare(Path(directory))
        with contextlib.chdir(directory):
            return BLOCK.sub(lambda block: f"<!-- output: {block[1]} -->\n```text\n{output(block[1])}```\n", page)


if __name__ == "__main__":
    os.environ["NO_COLOR"] = "1"
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
