"""What commands print: tables and progress for people, JSON for scripts, and files that are written."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riskd.progress import Begin, Progress
from riskd.wording import quantity

if TYPE_CHECKING:
    from rich.console import Console

    from riskd.core.errors import Problem

WIDE: Final = 160
"""Columns where nobody says how many there are: in a pipe or a file."""
_WORD: Final = re.compile(r"\s*(?:(?:[^\s_]|\s%)+_*|_+)")
"""What of a cell stays in one line, with the space before it: a sign of per cent stays with its figure."""
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


def plain(text: str) -> str:
    """A text that came from outside, in one line that moves, colours and names nothing on a terminal."""
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def complain(what: object) -> None:
    """Tell standard error what is wrong; it may quote what came from outside."""
    print("riskd:", "\n".join(map(plain, str(what).split("\n"))), file=sys.stderr)


def tell_unreadable(count: int, first: Sequence[Problem]) -> None:
    """Tell standard error how many lines of a log are no records, and of the first few where they are and why, so that
    somebody looks at them; of none, nothing."""
    if count:
        rest = [f"and {count - len(first):,} more"] if count > len(first) else []
        many = quantity(count, "line is no record", "lines are no records")
        complain("\n".join([f"{many}:", *map(str, first), *rest]))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print a table for people: figures below each other, and no word cut; a cell may have several lines. A terminal
    that is too narrow for its columns has a cell a line.
    """
    from rich.table import Table
    from rich.text import Text

    from riskd.offline.page import are_figures

    shown = console()
    if title:
        shown.print(Text(title, "bold"))
    rows = [["\n".join(map(plain, cell.split("\n"))) for cell in row] for row in rows]
    columns = list(zip(head, *rows, strict=True))
    if (found := fitted(columns, shown.width)) is None:
        label = max(map(len, head))
        for row in rows:
            cells = [cell.replace("\n", ", ") for cell in row]
            told = (f"  {name:{label}}  {cell}" for name, cell in zip(head[1:], cells[1:], strict=True) if cell)
            shown.print(Text("\n".join((f"{head[0]} {cells[0]}".strip(), *told))), soft_wrap=True)
        return
    gap, widths = found
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False)
    for (name, *cells), width in zip(columns, widths, strict=True):
        table.add_column(Text(broken(name, width)), width=width, justify="right" if are_figures(cells) else "left")
    for row in rows:
        lines = (broken(cell, width) for cell, width in zip(row, widths, strict=True))
        table.add_row(*(Text(said, _STYLES.get(cell, "")) for cell, said in zip(row, lines, strict=True)))
    shown.print(table)


def fitted(columns: Sequence[Sequence[str]], room: int) -> tuple[int, list[int]] | None:
    """The gap between columns and the width of each, their heads included, with which a table fits into `room`.

    Heads are broken between words where they must be, then cells, those of the column that has most to spare first.
    None where whole words do not fit.
    """
    widths = [max(1, *map(len, column)) for column in columns]
    torn = [max([1, *(len(word.strip()) for cell in each for word in _WORD.findall(cell))]) for each in columns]
    whole = [max([least, *map(len, cells)]) for least, (_, *cells) in zip(torn, columns, strict=True)]
    for least, gap in ((whole, 2), (whole, 1), (torn, 2), (torn, 1)):
        left = room - gap * (len(columns) - 1)
        if sum(least) <= left:
            while sum(widths) > left:
                most = max(range(len(widths)), key=lambda at: widths[at] - least[at])
                widths[most] -= 1
            return gap, widths
    return None


def broken(cell: str, width: int) -> str:
    """A cell in lines of at most `width`, unless a word is longer: names are broken behind an underscore."""
    lines = [""]
    for word in _WORD.findall(cell):
        if len(lines[-1]) + len(word) <= width or not lines[-1]:
            lines[-1] += word if lines[-1] else word.lstrip()
        else:
            lines.append(word.lstrip())
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines of which the columns line up."""
    rows = [[plain(cell) for cell in row] for row in rows]
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
