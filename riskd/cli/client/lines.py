"""One call for each line of a file, several under way at a time. A line that is refused stops no other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import grpc

from riskd.cli.client.status import BAD_INPUT, explained, failed
from riskd.cli.terminal import complain, show_count
from riskd.core.errors import Problem

SHOWN: Final = 10
"""How many refused lines are shown."""
_ABOUT_ONE: Final = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
"""Errors that concern one line. With any other the next call would fail, too."""
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class Report:
    """What became of the lines so far."""

    def __init__(self) -> None:
        self.accepted = 0
        self.refused = 0
        self.done = 0
        """The line up to which all are accepted or refused."""
        self.first: list[Problem] = []
        self.stopped: grpc.RpcError | KeyboardInterrupt | None = None
        """Why it ended before the last line."""

    def refuse(self, number: int, what: str) -> None:
        """A line was refused. The first few are shown."""
        self.refused += 1
        if len(self.first) < SHOWN:
            self.first.append(Problem(f"line {number}", what))

    def as_json(self, accepted: str) -> dict[str, object]:
        """The counts, and the first refused lines. `accepted`: the word for lines that are not refused."""
        counts = {accepted: self.accepted, "refused": self.refused, "done_lines": self.done}
        return {**counts, "first_refused": self.first}

    def complain(self) -> None:
        """Print the first refused lines to stderr."""
        for problem in self.first:
            complain(problem)
        if self.refused > len(self.first):
            complain(f"and {self.refused - len(self.first):,} more")

    def exit_code(self, rest: str) -> int:
        """Say where to go on with the command `rest`, if it stopped, and return the exit code. An interruption is
        raised again."""
        if self.stopped is None:
            return BAD_INPUT if self.refused else 0
        complain(f"stopped after line {self.done}; the rest: tail -n +{self.done + 1} FILE | {rest}")
        if isinstance(self.stopped, KeyboardInterrupt):
            raise self.stopped
        return failed(self.stopped)


def call_each(
    call: Callable[[_Request], grpc.Future[_Response]],
    requests: Iterable[tuple[int, str, _Request]],
    report: Report,
    window: int,
    accepted: Callable[[_Response], object] = lambda _: None,
) -> None:
    """Make the call of each line: its number, what it is about, and its request.

    At most `window` calls wait for an answer. Calls about the same follow each other in the order of the file. An error
    that concerns more than one line, or Ctrl-C, ends it; the report has it.
    """
    waiting: deque[tuple[int, str, grpc.Future[_Response]]] = deque()

    def finish() -> None:
        number, _, under_way = waiting.popleft()
        try:
            accepted(under_way.result())
            report.accepted += 1
        except grpc.RpcError as error:
            if error.code() not in _ABOUT_ONE:
                raise
            report.refuse(number, "; ".join(each.strip() for each in explained(error)))
        report.done = number

    try:
        for number, one, request in requests:
            while len(waiting) >= window or any(other == one for _, other, _ in waiting):
                finish()
            waiting.append((number, one, call(request)))
            show_count(number, "line")
        while waiting:
            finish()
    except (grpc.RpcError, KeyboardInterrupt) as stopped:
        report.stopped = stopped
