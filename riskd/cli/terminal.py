"""What commands print: tables and progress for people, JSON for scripts, and files that are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riskd.progress import Begin, Progress

if TYPE_CHECKING:
    from rich.console import Console

WIDE: Final = 160
"""Columns where nobody says how many there are: in a pipe or a file."""
_STYLES: Final = {"ok": "green", "NO": "bold red"}


def print_json(value: object) -> None:
    """Print a value for scripts."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def console() -> Console:
    """Standard output for people, `WIDE` where it is no terminal."""
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDE)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table for people."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in head:
        table.add_column(name, no_wrap=name in ("domain", "version", "role", "release"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    console().print(table)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines of which the columns line up."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of a reference page. Cells are Markdown; a `|` in one is escaped by whoever writes it."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join(lines) + "\n"


def when(moment: float) -> str:
    """A moment for people: 2026-11-26 14:05Z."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%MZ")


def save(path: Path, text: str) -> None:
    """Write a file. Raises InvalidSettings when it cannot be written."""
    from riskd.core.errors import InvalidSettings, Problem

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidSettings([Problem(str(path), f"cannot be written: {error.strerror}")]) from error


@contextmanager
def progress() -> Iterator[Begin]:
    """A bar for each step on a terminal, on stderr; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    told = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Bars(*columns, console=told, disable=not told.is_terminal) as bars:

        def begin(step: str, total: int) -> Progress:
            task = bars.add_task(step, total=max(total, 1))
            return lambda done: bars.advance(task, done)

        yield begin
