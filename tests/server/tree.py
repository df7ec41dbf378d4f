"""A process tree to test from outside: `tree.py GRACE[/HUNG[/REFUSED]] KIND...` runs a worker of each kind, and the
real monitor. REFUSED: this many forks fail once all serve.

Prints `ready FACTS` once, `problem TEXT` for each problem, and exits with the tree's code.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.config import Settings
from riskd.config.settings import Metrics, Server
from riskd.core.errors import InvalidSettings, Problem
from riskd.host.file_changes import FileChanges
from riskd.metrics.memory import MeterMemory
from riskd.server.processes import tree as processes
from riskd.server.processes.board import Board
from riskd.server.processes.link import Link, Serving, Stopping
from riskd.server.processes.supervisor import MONITOR, _monitor
from riskd.server.processes.tree import HUNG_SECONDS, ProcessTree, Task

WATCH: Final = 0.1
"""Seconds between two checks of the files, which is less than the monitor needs to start serving."""


def serve(meter: PrometheusMeter, link: Link) -> None:
    """A good worker: counts its starts as store failures, its reloads as reload failures."""
    meter.failed("store")
    link.send(Serving({"address": "127.0.0.1:1"}))
    for _ in link.reloads():
        meter.failed("reload")
    link.send(Stopping())


def refuse(_: PrometheusMeter, link: Link) -> None:
    """Will not work with this configuration."""
    raise InvalidSettings([Problem("store.kind", "is wrong", "mend it")])


def refuse_again(meter: PrometheusMeter, link: Link) -> None:
    """Is a good worker once; whoever takes its place looks at the configuration for a while, and refuses it."""
    if not link.restarted:
        return serve(meter, link)
    meter.failed("callers")
    time.sleep(1)
    return refuse(meter, link)


def crash(_: PrometheusMeter, link: Link) -> None:
    """Has a bug."""
    raise ValueError(link)


def late(meter: PrometheusMeter, link: Link) -> None:
    """Takes long to load, so that the service is told to stop before this worker is a good one."""
    time.sleep(1)
    os.kill(os.getppid(), signal.SIGTERM)
    while signal.SIGTERM not in signal.sigpending():
        time.sleep(0.01)
    serve(meter, link)


def hang(_: PrometheusMeter, link: Link) -> None:
    """Serves, and does not hear that it should stop."""
    link.send(Serving())
    while True:
        time.sleep(60)


def stuck(meter: PrometheusMeter, link: Link) -> None:
    """Waits for a dead disk: `main` sees to it that signals do not end it."""
    hang(meter, link)


class Changes(FileChanges):
    """Nothing changes; counts how often somebody asks when to look."""

    asked = 0

    @property
    def due(self) -> float:
        self.asked += 1
        return self._due

    @due.setter
    def due(self, moment: float) -> None:
        self._due = moment


def refusing(times: int) -> Callable[[], int]:
    """`os.fork` of a system that has no process to give, so many times."""
    fork, left = os.fork, [times]

    def forked() -> int:
        left[0] -= 1
        if left[0] >= 0:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork()

    return forked


KINDS: Mapping[str, Callable[[PrometheusMeter, Link], None]] = {
    "serve": serve,
    "refuse": refuse,
    "refuse_again": refuse_again,
    "crash": crash,
    "late": late,
    "hang": hang,
    "stuck": stuck,
}


def work(kind: str, memory: MeterMemory, index: int, link: Link) -> None:
    """One worker of a kind."""
    KINDS[kind](PrometheusMeter(memory, index), link)


def main(grace: str, *kinds: str) -> int:
    """Run the tree to its end."""
    memory = MeterMemory(len(kinds) + 1)
    names = [f"worker-{index}" for index in range(len(kinds))]
    board = Board([*names, MONITOR])
    settings = Settings(metrics=Metrics(port=0), server=Server(workers=len(kinds)))
    tasks = [Task(names[index], partial(work, kind, memory, index)) for index, kind in enumerate(kinds)]
    tasks.append(Task(MONITOR, partial(_monitor, settings, "test", memory, board), last=True))
    changes = Changes((), WATCH, time.monotonic())

    def announce(facts: Mapping[str, str]) -> None:
        sys.stdout.write(f"ready {json.dumps({**facts, 'pids': board.pids(), 'asked': changes.asked})}\n")
        sys.stdout.flush()

        if refused:
            os.fork, processes.BACKOFF_SECONDS = refusing(int(refused)), (1e-6, 1e-5)  # type: ignore[misc]  # final, but here
        if "stuck" in kinds:
            os.kill = lambda *_: None

    drain, hung, refused, *_ = f"{grace}//".split("/")
    tree = ProcessTree(tasks, board, float(drain), announce, changes, hung=float(hung or HUNG_SECONDS))
    code = tree.run()
    for problem in tree.problems:
        sys.stdout.write(f"problem {problem}\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
