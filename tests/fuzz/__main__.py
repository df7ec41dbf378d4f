"""Fuzz what reads bytes, guided by the branches that they reach (atheris): `make fuzz`.

Each target has a process of its own, so that a crash of a library ends it alone. What was found is kept under
`build/fuzz/TARGET`, to go on from.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CORPUS: Final = ROOT / "build" / "fuzz"
RSS_MIB: Final = 2048
"""Using more memory than this is a failure."""
SLOW_S: Final = 5
"""An input that takes longer is a failure."""
LONGEST: Final = 65_536
NAMES: Final = (
    *("requests", "outcomes", "events", "policies", "models", "geo", "settings", "callers"),
    *("tokens", "claims", "keys", "streams", "log", "store", "histories", "imports", "texts"),
)
"""The targets of `tests.fuzz.targets`, which may only be imported after instrumentation."""


def fuzz(name: str, seconds: int) -> tuple[int, float, str]:
    """Run one target; return the number of inputs, the seconds, and the end of its output if it failed."""
    begun, corpus = time.monotonic(), CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-rss_limit_mb={RSS_MIB}", f"-timeout={SLOW_S}", f"-max_len={LONGEST}"]
    command = [sys.executable, "-m", "tests.fuzz", "--one", name, *limits, "-print_final_stats=1"]
    command += [f"-artifact_prefix={CORPUS}/{name}-", str(corpus)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    failed = "" if done.returncode == 0 and found else (done.stdout + done.stderr)[-3000:]
    return int(found[1]) if found else 0, time.monotonic() - begun, failed


def one(name: str, flags: list[str]) -> None:
    """Run one target in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=["riskd"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS

    target, corpus = TARGETS[name], Path(flags[-1])
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *flags], target)
    atheris.Fuzz()


def main() -> int:
    """0 if nothing was found, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"which: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--seconds", type=int, default=360, help="for each target")
    options = parser.parse_args()
    chosen = options.targets or list(NAMES)
    if unknown := set(chosen) - set(NAMES):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    print("| target | inputs | a second | seconds | found |\n|---|---|---|---|---|", flush=True)
    total, all_well = 0, True
    for name in chosen:
        inputs, seconds, failed = fuzz(name, options.seconds)
        total, all_well = total + inputs, all_well and not failed
        told = "something" if failed else "nothing"
        print(f"| {name} | {inputs} | {inputs / seconds:.0f} | {seconds:.0f} | {told} |", flush=True)
        if failed:
            print(failed, file=sys.stderr, flush=True)
    print(f"{total} inputs", flush=True)
    return 0 if all_well else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[3:])
    sys.exit(main())
