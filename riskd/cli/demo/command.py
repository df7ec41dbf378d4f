"""`riskd demo`: starts a service, plays a story of sign-ins to it, and prints its answers."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from riskd.core.errors import InvalidSettings, Problem

START_SECONDS: Final = 30
STOP_SECONDS: Final = 15
_DATABASES: Final = ("RISKD_GEO__CITY", "RISKD_GEO__ASN", "RISKD_GEO__ANONYMOUS")
_READY: Final = re.compile(r"riskd serves (\S+); metrics (\S+);")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `demo`."""
    parser = commands.add_parser(
        "demo",
        description="Start a service, send it a story of realistic sign-ins and attacks, and print the answers. "
        "Installs the geo databases first if it can; without them it runs too, and says what is missing. Keeps its "
        "histories in a temporary directory, which it removes.",
        epilog="exit codes: 0 every call was answered; 1 one was not; 2 refused",
    )
    parser.add_argument(
        "--no-geo",
        action="store_true",
        help="run without geo databases; with --train: install none, use those of the settings",
    )
    parser.add_argument("--workers", metavar="N", default="2", help="worker processes (default: %(default)s)")
    parser.add_argument(
        "--keep", action="store_true", help="keep the service running at the end until Enter is pressed"
    )
    train = parser.add_argument_group(
        "training",
        "With --train, instead of the story: simulate two worlds, train a model, judge it, promote it, swap it into a "
        "running service and score with it. Needs the extra `train` and takes some minutes.",
    )
    train.add_argument("--train", action="store_true", help="train a model")
    train.add_argument(
        "--out",
        type=Path,
        default=Path("train-demo"),
        metavar="DIR",
        help="new directory for all files (default: %(default)s)",
    )
    train.add_argument(
        "--users", type=int, default=800, metavar="N", help="people in each world (default: %(default)s)"
    )
    train.add_argument("--days", type=float, default=365.0, metavar="N", help="days to simulate (default: %(default)g)")
    train.add_argument(
        "--attack-share",
        type=float,
        default=0.06,
        metavar="P",
        help="share of attacks among all attempts (default: 0.06)",
    )
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.cli.client import story

    if args.train:
        return _train(args)

    with tempfile.TemporaryDirectory(prefix="riskd-demo-") as state:
        environment = {"RISKD_STATE__DIR": state}
        if args.no_geo:
            environment |= {"RISKD_GEO__DIR": f"{state}/no-geo", **dict.fromkeys(_DATABASES, "")}
        else:
            _install_geo()
        with _service(args.workers, environment) as (target, metrics, line):
            print(f"\n{line}\n", flush=True)
            code = story.play(target)
            story.finish(metrics, Path(state))
            if args.keep:
                print("\nPress Enter to stop the service. ", end="", flush=True)
                sys.stdin.readline()  # '' at its end, by Ctrl-D
    print("\nThe service has stopped.")
    return code


def _train(args: argparse.Namespace) -> int:
    from riskd.cli.demo import train

    try:
        if not args.no_geo:
            _install_geo()
        size = train.Size(users=args.users, days=args.days, attack_share=args.attack_share)
        code = train.run(args.out.absolute(), size, _service)
    except OSError as error:
        remedy = "give --out a directory that is not there yet"
        raise InvalidSettings([Problem("--out", f"{args.out}: {error.strerror}", remedy)]) from error
    if not code:
        print("The service has stopped.")
    return code


def _install_geo() -> None:
    """Install the geo databases with npm; continue without them if npm is missing."""
    command = [sys.executable, "-m", "riskd", "geo", "install"]
    if subprocess.run(command, check=False).returncode != 0:
        print("Continuing without geo databases: place and network operator will be gaps.", flush=True)


@contextmanager
def _service(workers: str, environment: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """A service on free ports. Yields its address, its metrics page and what it printed. Shut down gracefully at the
    end."""
    command = [sys.executable, "-m", "riskd", "serve", "--port", "0", "--metrics-port", "0", "--workers", workers]
    log = Path(environment["RISKD_STATE__DIR"]) / "events.jsonl"
    with log.open("wb") as events:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=events, env=os.environ | environment)
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            ready = _READY.match(line)
            if ready is None:
                process.wait(START_SECONDS)
                sys.stderr.write(log.read_text(encoding="utf-8"))
                raise SystemExit(process.returncode or 1)
            yield ready[1], ready[2], line.strip()
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)
