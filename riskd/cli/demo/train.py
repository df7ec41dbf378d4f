"""`riskd demo --train`: from a simulated world to a model in a running service, each step by its own command."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Final

import msgspec
from msgspec import Struct

from riskd.config import data_directory
from riskd.wording import quantity

VERSION: Final = "demo-1"
DOMAIN: Final = "customer"
SWAP_SECONDS: Final = 1.0
"""How long callers run before and after the swap."""
Service = Callable[[str, dict[str, str]], AbstractContextManager[tuple[str, str, str]]]
"""Starts a service, given workers and environment. Yields its address, its metrics page and what it printed."""


class Size(Struct, frozen=True, kw_only=True):
    """The size of the two worlds: one to train on, another one to evaluate on."""

    users: int = 800
    days: float = 365.0
    attack_share: float = 0.06


class Failed(Exception):
    """A command failed."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


def run(out: Path, size: Size, service: Service) -> int:
    """Run all steps, into directory `out`. Returns the exit code. Raises OSError if `out` cannot be made."""
    begun = time.monotonic()
    out.mkdir(parents=True, exist_ok=False)
    models, report = out / "models", out / "report"
    shutil.copytree(data_directory("models"), models)
    environment = {"RISKD_STATE__DIR": str(out / "state"), "RISKD_RELEASE__MODELS": str(models)}
    (out / "state").mkdir(mode=0o700)
    champion = models / DOMAIN / (models / DOMAIN / "champion").read_text(encoding="utf-8").strip()
    try:
        with _step(1, "Simulate two worlds of people and attackers: one to learn from, one to be judged by"):
            _simulate(out, size, environment)
        with _step(2, "Train boosted trees on top of the champion, calibrate them, and export them exactly"):
            learn = ("--log", out / "learn", "--domain", DOMAIN)
            _riskd(environment, "train", *learn, "--out", models / DOMAIN / VERSION)
        with _step(3, "Judge the model on the other world, beside champion, Freeman, rules of thumb and larger models"):
            judged = ("--log", out / "judge", "--trained-on", out / "learn", "--domain", DOMAIN)
            beside = ("--champion", champion, "--no-left-out", "--keep", "--out", report)
            _riskd(environment, "evaluate", models / DOMAIN / VERSION, *judged, *beside, quiet=True)
        with service("2", environment) as (target, _, line):
            _say(f"\n{line}")
            with _step(4, "Let the champion decide, check the candidate at the gate, and swap it in under load"):
                _swap(environment, target)
    except Failed as failed:
        return failed.code
    _say(f"\n{time.monotonic() - begun:.0f} s in all. The report: {report / 'evaluation.html'}")
    _say(f"The model and its card: {models / DOMAIN / VERSION / 'card.md'}")
    return 0


def _simulate(out: Path, size: Size, environment: dict[str, str]) -> None:
    """Simulate both worlds at once; the progress of the first one is shown."""
    wanted = (
        "--domain",
        DOMAIN,
        "--users",
        size.users,
        "--days",
        f"{size.days:g}",
        "--attack-share",
        size.attack_share,
    )
    judge = _command("simulate", "--out", out / "judge", "--seed", 2, *wanted)
    with subprocess.Popen(
        judge, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as beside:
        try:
            _riskd(environment, "simulate", "--out", out / "learn", "--seed", 1, *wanted)
            _tell(judge)
            output = beside.communicate()[0].decode()
        finally:
            beside.kill()  # still running only if the first one has failed
    if beside.returncode:
        _say(output)
        raise Failed(beside.returncode)
    _say("\n".join(output.splitlines()[-3:]))


def _swap(environment: dict[str, str], target: str) -> None:
    """Promote the model, then activate its release while callers keep calling."""
    from riskd.cli.client import swap

    _release(environment, "what the directories hold")
    before = swap.score(target)
    checked = ("model", "promote", DOMAIN, VERSION)
    if _riskd(environment, *checked, fails=True):
        _say("The gate refuses. This demonstration overrules it, which the history of the model records:")
        _riskd(environment, *checked, "--force", "a demonstration", quiet=True)
    with swap.calling(target) as traffic:
        time.sleep(SWAP_SECONDS)
        _release(environment, f"{DOMAIN} {VERSION}")
        swap.until(lambda: traffic.answers[VERSION] > 0, 10.0)
        time.sleep(SWAP_SECONDS)
    after = swap.score(target)
    by = ", ".join(f"{count:,} by {model}" for model, count in traffic.answers.items())
    worst = quantiles(traffic.seconds, n=100)[-1] * 1e3 if len(traffic.seconds) > 1 else 0.0
    calls = quantity(len(traffic.seconds), "call")
    _say(f"\n{calls} over gRPC meanwhile: {by}; {len(traffic.errors)} failed; p99 {worst:.1f} ms")
    for old, new in zip(before, after, strict=True):
        was, now = (f"{each.score:.4f} {each.tier:<10} by {each.model}" for each in (old, new))
        _say(f"  {old.name:<18} {was}  ->  {now}")
    if traffic.errors or not traffic.answers[VERSION] or any(each.model != VERSION for each in after):
        _say("\n".join(traffic.errors[:3]))
        raise Failed(1)


def _release(environment: dict[str, str], reason: str) -> None:
    """Create a release from the directories, and activate it."""
    command = _command("release", "create", "--reason", reason, "--json")
    _tell(command)
    done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise Failed(done.returncode)
    release = msgspec.json.decode(done.stdout)["release"]["id"]
    _riskd(environment, "release", "activate", release)


def _riskd(environment: dict[str, str], *words: object, fails: bool = False, quiet: bool = False) -> int:
    """Run one command, and print it as one would type it. Returns its exit code.

    Raises Failed unless it may fail. `quiet` shows only the last lines of its output.
    """
    command = _command(*words)
    _tell(command)
    output = subprocess.PIPE if quiet else None
    done = subprocess.run(command, env=os.environ | environment, stdout=output, check=False)
    if quiet:
        _say("\n".join(done.stdout.decode().splitlines()[-3:]))
    if done.returncode and not (fails and done.returncode == 1):
        raise Failed(done.returncode)
    return done.returncode


def _command(*words: object) -> list[str]:
    return [sys.executable, "-m", "riskd", *map(str, words)]


def _say(text: str) -> None:
    """Print a line before the output of the next command."""
    print(text, flush=True)


def _tell(command: list[str]) -> None:
    _say(f"$ riskd {shlex.join(command[3:])}")


@contextmanager
def _step(number: int, title: str) -> Iterator[None]:
    begun = time.monotonic()
    _say(f"\n{number}. {title}")
    yield
    _say(f"   {time.monotonic() - begun:.0f} s")
