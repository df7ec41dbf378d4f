"""Plays the demo's story over gRPC, and prints the answers with their reasons and latencies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
import msgspec
import yaml
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table
from rich.text import Text

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd._proto.riskd.v1.assessment_pb2 import Tier
from riskd.cli.client.assess import outcome_request
from riskd.cli.client.connection import PATIENT
from riskd.cli.client.status import failed
from riskd.config import data_directory
from riskd.core.attempt import Attempt, Device, Network, Outcome
from riskd.server.translate import request
from riskd.wording import quantity

STYLES: Final = {
    "BASELINE": "green",
    "STEP_UP": "yellow",
    "PHISHING_RESISTANT": "dark_orange",
    "HARDWARE_BOUND": "dark_orange",
    "IDENTITY_PROOF": "red",
    "DENY": "bold red",
}
REASONS: Final = 4
_KEY: Final = (
    "Each answer begins with the tier to require and the score: the probability, 0 to 1, that the attempt is not the "
    "owner's. Below are what to ask of the person, if anything; the reasons, with how much each adds to the score in "
    "log-odds, or `rule` for a rule of the policy; and the gaps: facts that are missing."
)
_STALE: Final = (
    "The answers also named gaps as `stale`, because the geo data are older than `geo.stale_days`: {}. "
    "docs/runbooks/geo-data-stale.md says how to get newer ones."
)
_NEXT: Final = """
Next:
  README.md             start a service of your own, and ask it ("Ask a running service")
  docs/client.md        call it from a sign-in flow in Python (and client-node.md, client-go.md, client-java.md)
  docs/browser.md       send what a browser can tell: device, language, typing
  docs/concepts.md      the terms used here
  data/policies/        the policies that decided
  models/customer/      the model that scored the customers: every weight, and why"""


class _Outcome(Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    amr: tuple[str, ...] = ()


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    """Attempts of one kind: `times` of them, or one for each of `subjects`. The story file explains the fields."""

    who: str
    journey: str
    with_: str = msgspec.field(name="with")
    from_: str = msgspec.field(name="from")
    credential_result: str = "succeeded"
    attempt: dict[str, object] = {}
    session_hours: float | None = None
    days_ago: float = 0.0
    minutes_ago: float = 0.0
    every_days: float = 0.0
    times: int = 1
    subjects: int = 1
    outcomes: tuple[_Outcome, ...] = ()
    show: str = "each"


class Chapter(Struct, frozen=True, forbid_unknown_fields=True):
    """A title, an explanation, and the attempts."""

    title: str
    text: str
    steps: tuple[Step, ...]


class _Part(Struct, frozen=True, forbid_unknown_fields=True):
    domain: str = ""
    subject: str = ""
    device: Device | None = None
    network: Network | None = None


class Story(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole story. `who`, `with` and `from` are parts that the steps refer to by name."""

    who: dict[str, _Part]
    with_: dict[str, _Part] = msgspec.field(name="with")
    from_: dict[str, _Part] = msgspec.field(name="from")
    chapters: tuple[Chapter, ...] = ()


class _Played(Struct, frozen=True):
    step: Step
    attempt: Attempt
    response: risk_pb2.AssessResponse
    last: bool


def play(target: str) -> int:
    """Play the story to the service at `target`. Returns 0 if every call was answered, else a client's exit code."""
    text = (data_directory("demo") / "story.yaml").read_text(encoding="utf-8")
    story, console = msgspec.convert(yaml.safe_load(text), Story), Console(highlight=False)
    seconds: list[float] = []
    stale: set[str] = set()
    console.print(_KEY)
    try:
        with grpc.insecure_channel(target, PATIENT) as channel:
            stub = risk_pb2_grpc.RiskServiceStub(channel)
            for chapter in story.chapters:
                console.print(Text(f"\n{chapter.title}", style="bold"))
                console.print(Text(chapter.text, style="dim"))
                for step in chapter.steps:
                    for played in _steps(stub, story, step, seconds):
                        stale.update(gap.source for gap in played.response.gaps if gap.why == "stale")
                        if step.show == "each" or (step.show == "last" and played.last):
                            console.print(_answer(played))
    except grpc.RpcError as error:
        return failed(error)
    console.print(_latencies(seconds), soft_wrap=True)
    if stale:
        console.print(_STALE.format(", ".join(sorted(stale))))
    return 0


def _steps(stub: risk_pb2_grpc.RiskServiceStub, story: Story, step: Step, seconds: list[float]) -> Iterator[_Played]:
    now, count = time.time(), step.times * step.subjects
    for number in range(count):
        when = now - step.days_ago * 86_400 - step.minutes_ago * 60 + number * step.every_days * 86_400
        attempt = _attempt(story, step, when)
        if step.subjects > 1:
            attempt = replace(attempt, subject=f"leaked-{number}@shop.example")
        message = request(attempt)
        started = time.perf_counter()
        response = stub.Assess(message, timeout=5.0)
        seconds.append(time.perf_counter() - started)
        for outcome in step.outcomes:
            report = Outcome(assessment_id=response.assessment_id, kind=outcome.kind, amr=outcome.amr)
            stub.RecordOutcome(outcome_request(report), timeout=5.0)
        yield _Played(step, attempt, response, number == count - 1)


def _attempt(story: Story, step: Step, when: float) -> Attempt:
    who, on, whence = story.who[step.who], story.with_[step.with_], story.from_[step.from_]
    fields = dict(step.attempt)
    if step.session_hours is not None:
        times = {
            "start_time": when - step.session_hours * 3600,
            "authentication_time": when - step.session_hours * 3600,
        }
        session = fields.get("session", {})
        fields["session"] = times | (session if isinstance(session, dict) else {})
    fields |= {"domain": who.domain, "subject": who.subject, "journey": step.journey, "time": when}
    fields |= {"credential_result": step.credential_result, "network": msgspec.to_builtins(whence.network)}
    return msgspec.convert(fields | {"device": msgspec.to_builtins(on.device)}, Attempt)


def _answer(played: _Played) -> Table:
    step, response = played.step, played.response
    tier = Tier.Name(response.requirement.tier).removeprefix("TIER_")
    count = step.times * step.subjects
    often = f" (the last of {count})" if count > 1 else ""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=18)
    grid.add_row(
        Text(tier, style=STYLES.get(tier, "")),
        Text(f"{response.score:7.4f}  {step.journey} by {step.who} on {step.with_} from {step.from_}{often}"),
    )
    needed = response.requirement
    if tier not in ("BASELINE", "DENY"):
        acr, met = " ".join(needed.acr_values), ", already satisfied" if needed.satisfied else ""
        grid.add_row("", Text(f"require AAL{needed.aal} acr_values={acr!r} max_age={needed.max_age.seconds}{met}"))
    for reason in response.reasons[:REASONS]:
        moved = f"{reason.contribution:+.1f}" if reason.contribution else "rule"
        grid.add_row("", Text(f"{moved:>5}  {reason.code}: {reason.text}", style="dim"))
    gaps = [f"{gap.source} ({gap.why})" for gap in response.gaps if gap.why != "stale"]
    if gaps:
        grid.add_row("", Text(f"gaps: {', '.join(gaps)}", style="dim"))
    if response.next_signals:
        grid.add_row("", Text(f"next signals: {', '.join(response.next_signals)}", style="dim"))
    kinds = [outcome.kind.replace("_", " ") for outcome in step.outcomes]
    if kinds:
        grid.add_row("", Text(f"outcome: {', '.join(kinds)}", style="dim"))
    return grid


def _latencies(seconds: list[float]) -> str:
    ranked = sorted(seconds)
    at = {share: ranked[min(int(share * len(ranked)), len(ranked) - 1)] * 1e3 for share in (0.5, 0.9, 0.99)}
    return (
        f"\n{quantity(len(ranked), 'assessment')} over gRPC from one caller on this machine: "
        + ", ".join(f"p{share * 100:g} {value:.2f} ms" for share, value in at.items())
        + f", worst {ranked[-1] * 1e3:.2f} ms."
    )


def finish(metrics: str, state: Path) -> None:
    """Print where to look next."""
    segments = sorted((state / "decisions").glob("*.jsonl"))
    lines = sum(segment.read_bytes().count(b"\n") for segment in segments)
    print(
        f"The decision log has {quantity(lines, 'record')}; metrics are at {metrics} while the service runs (--keep)."
    )
    print(_NEXT)
