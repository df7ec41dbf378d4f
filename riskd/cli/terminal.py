"""What commands print: tables and progress for people, JSON for scripts; and the files that they read and write."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import msgspec

from riskd.core.errors import InvalidSettings, Problem
from riskd.host.files import SHARED, cause, put
from riskd.progress import Begin, Progress
from riskd.wording import quantity

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import ProgressColumn

WIDE: Final = 160
"""Columns to use in a pipe or a file, which have no width."""
_WORD: Final = re.compile(r"\s*(?:(?:[^\s_]|\s%)+_*|_+)")
"""The unbreakable part of a cell, with the space before it. A per-cent sign stays with its figure."""
_STYLES: Final = {"ok": "green", "NO": "bold red"}


def show_count(number: int, what: str) -> None:
    """Show on stderr how many things there are so far, if it is a terminal. What is printed next replaces it."""
    if sys.stderr.isatty():
        print(f"{quantity(number, what)}\r", end="", file=sys.stderr, flush=True)


def print_json(value: object, file: TextIO | None = None) -> None:
    """Print a value as indented JSON, to stdout unless another file is given. NaN becomes null."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), file=file)


def console() -> Console:
    """A console on standard output, `WIDE` columns wide if that is not a terminal."""
    from rich.console import Console

    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=WIDE)


def plain(text: str) -> str:
    """A text from outside on one line, with control characters escaped, so that it cannot act on a terminal."""
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def complain(what: object) -> None:
    """Print an error to stderr. It may quote text from outside, so control characters are escaped."""
    print("riskd:", "\n".join(map(plain, str(what).split("\n"))), file=sys.stderr)


def report_unreadable(count: int, first: Sequence[Problem]) -> None:
    """Print to stderr how many lines of a log are unreadable, where the first few are, and why; nothing if none is."""
    if count:
        rest = [f"and {count - len(first):,} more"] if count > len(first) else []
        complain("\n".join([f"{quantity(count, 'unreadable line')}:", *map(str, first), *rest]))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print a table for people: numbers are right-aligned, and words are never cut. A cell may have several lines.

    If the terminal is too narrow for the columns, every cell gets a line of its own.
    """
    from rich.table import Table
    from rich.text import Text

    from riskd.offline.page import are_figures

    shown = console()
    if title:
        shown.print(Text(title, "bold"))
    rows = [["\n".join(map(plain, cell.split("\n"))) for cell in row] for row in rows]
    columns = list(zip(head, *rows, strict=True))
    if (fit := fitted(columns, shown.width)) is None:
        label = max(map(len, head))
        for row in rows:
            cells = [cell.replace("\n", ", ") for cell in row]
            lines = (f"  {name:{label}}  {cell}" for name, cell in zip(head[1:], cells[1:], strict=True) if cell)
            shown.print(Text("\n".join((f"{head[0]} {cells[0]}".strip(), *lines))), soft_wrap=True)
        return
    gap, widths = fit
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False)
    for (name, *cells), width in zip(columns, widths, strict=True):
        table.add_column(Text(broken(name, width)), width=width, justify="right" if are_figures(cells) else "left")
    for row in rows:
        lines = (broken(cell, width) for cell, width in zip(row, widths, strict=True))
        table.add_row(*(Text(line, _STYLES.get(cell, "")) for cell, line in zip(row, lines, strict=True)))
    shown.print(table)


def print_section(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print an empty line and a table, unless it has no rows."""
    if rows:
        print()
        print_table(head, rows)


def fitted(columns: Sequence[Sequence[str]], room: int) -> tuple[int, list[int]] | None:
    """The gap between columns and the width of each column with which a table fits into `room` characters.

    The first entry of each column is its head. If necessary, heads are broken between words first, then cells,
    beginning with the column that can shrink most. Returns None if the table does not fit without cutting words.
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
    """A cell broken into lines of at most `width`, except for longer words. Names may be broken after an underscore."""
    lines = [""]
    for word in _WORD.findall(cell):
        if len(lines[-1]) + len(word) <= width or not lines[-1]:
            lines[-1] += word if lines[-1] else word.lstrip()
        else:
            lines.append(word.lstrip())
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines of text with aligned columns."""
    rows = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. Cells are Markdown, too: the caller escapes `|` in them."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join(lines) + "\n"


def save(path: Path, text: str) -> None:
    """Write a text file atomically. Raises InvalidSettings if it cannot be written."""
    with writing(path):
        put(path, text.encode(), SHARED)


@contextmanager
def reading(file: object) -> Iterator[None]:
    """Turns an error of reading a file into InvalidSettings."""
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings([Problem(str(file), f"cannot be read: {cause(error)}")]) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an error of writing a file into InvalidSettings."""
    try:
        yield
    except OSError as error:
        raise InvalidSettings([Problem(str(path), f"cannot be written: {error.strerror}")]) from error


def bars(*columns: ProgressColumn, stay: bool = False) -> Bars:
    """Progress bars of these columns on stderr, if that is a terminal. `stay`: they are not erased at the end."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    terminal = Console(stderr=True)
    return Bars(*columns, console=terminal, transient=not stay, disable=not terminal.is_terminal)


@contextmanager
def progress() -> Iterator[Begin]:
    """Progress bars, one for each step, which stay when it is done."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with bars(*columns, stay=True) as shown:

        def begin(step: str, total: int) -> Progress:
            task = shown.add_task(step, total=max(total, 1))
            return lambda done: shown.advance(task, done)

        yield begin
