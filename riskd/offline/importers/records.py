"""Records out of a file of any size, in bounded memory: JSON lines, JSON arrays, CSV or log lines, compressed or not.

A record that cannot be read is a record too, with its place and what is wrong, so that nothing is left out silently.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TextIO

import msgspec
from msgspec import Struct

LONGEST: Final = 1 << 20
"""Characters of a record: what is longer is none."""
STANDARD_INPUT: Final = "-"
_CHUNK: Final = 1 << 18
_PEEK: Final = 1 << 16
_DECODER: Final = msgspec.json.Decoder(dict[str, object])
_PYTHON_DECODER: Final = json.JSONDecoder()
_SCALAR: Final = r'(?:"(?:[^"\\]|\\.)*"|-?[0-9][-+.0-9eE]*|true|false|null)'
_MEMBER: Final = rf'"[^"\\]*"\s*:\s*{_SCALAR}'
_ENVELOPE: Final = re.compile(rf'\{{\s*(?:{_MEMBER}\s*,\s*)*"(?:value|[Rr]ecords|events|logs|items)"\s*:\s*\[')
_CLOSING: Final = re.compile(rf"\s*(?:,\s*{_MEMBER}\s*)*\}}")
_BLANK: Final = re.compile(r"\s*")
_BETWEEN: Final = re.compile(r"[\s,]*")


class Record(Struct, frozen=True):
    """One record. `text` is all of it; `row` None when it cannot be read, and then `fault` says why.

    One without a text is no record: the file can be read no further, and what it lacks there may still come.
    """

    line: int
    text: str
    row: dict[str, object] | None
    fault: str = ""


class Input:
    """An open file. `size` in bytes, None where it is not known."""

    def __init__(self, name: str, file: BinaryIO, size: int | None) -> None:
        self.name = name
        self.size = size
        self._counted = _Counted(file)

    @property
    def position(self) -> int:
        """Bytes read so far, as they are in the file."""
        return self._counted.count

    def records(self, *, lines: bool) -> Iterator[Record]:
        """Every record in order. `lines`: what is not JSON is a log, not CSV."""
        last = 1
        try:
            for record in _records(self._counted, lines=lines):
                last = record.line
                yield record
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield Record(last, "", None, f"the compressed data are damaged or cut short: {error}")
        except (UnicodeError, OSError) as error:
            yield Record(last, "", None, f"cannot be read any further: {error}")


@contextmanager
def open_input(name: str) -> Iterator[Input]:
    """A file by its path, or standard input for `-`. Raises OSError."""
    if name == STANDARD_INPUT:
        yield Input("standard input", sys.stdin.buffer, None)
        return
    with Path(name).open("rb", buffering=0) as file:
        yield Input(name, file, Path(name).stat().st_size or None)


class _Counted(io.RawIOBase):
    """A file that knows how much of it was read."""

    def __init__(self, file: BinaryIO) -> None:
        self.count = 0
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # what io calls it with
        found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        self.count += len(found)
        return len(found)


def _records(raw: io.RawIOBase, *, lines: bool) -> Iterator[Record]:
    file = io.BufferedReader(raw, _CHUNK)
    if file.peek(2)[:2] == b"\x1f\x8b":
        file = io.BufferedReader(gzip.GzipFile(fileobj=file), _CHUNK)  # type: ignore[arg-type]  # it is one, but says not
    head = file.peek(_PEEK)[:2]
    encoding = "utf-16" if head in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = _Text(io.TextIOWrapper(file, encoding, errors="surrogateescape", newline=""))
    text.more()
    text.skip(_BLANK)
    start = text.buffer[text.at : text.at + _PEEK]
    if start.startswith("[") or _ENVELOPE.match(start):
        return _arrays(text)
    if start.startswith("{"):
        return _objects(text)
    return _log(text) if lines else _table(text)


class _Text:
    """A stretch of a text, with the place where it is read."""

    def __init__(self, stream: TextIO) -> None:
        self.buffer = ""
        self.at = 0
        self.line = 1
        self.ended = False
        self._stream = stream

    def more(self) -> bool:
        """Read on; whether there was anything."""
        chunk = self._stream.read(_CHUNK)
        self.ended = not chunk
        self.buffer, self.at = self.buffer[self.at :] + chunk, 0
        return bool(chunk)

    def take(self, end: int) -> str:
        """Everything up to `end`, which is then read."""
        taken = self.buffer[self.at : end]
        self.line += taken.count("\n")
        self.at = end
        return taken

    def skip(self, pattern: re.Pattern[str]) -> bool:
        """Skip all that matches, whose end may not be in the buffer yet; whether anything follows."""
        while True:
            match = pattern.match(self.buffer, self.at)
            self.take(match.end() if match else self.at)
            if self.at < len(self.buffer):
                return True
            if not self.more():
                return False

    def found(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """What matches here; reads on until it is whole, or cannot be any more."""
        while (match := pattern.match(self.buffer, self.at)) is None:
            if len(self.buffer) - self.at > LONGEST or not self.more():
                return None
        return match

    def lines(self) -> Iterator[str]:
        """Line by line. One that is too long comes without its end, and one character longer than allowed."""
        while self.at < len(self.buffer) or self.more():
            end = self.buffer.find("\n", self.at)
            while end < 0 and len(self.buffer) - self.at <= LONGEST and self.more():
                end = self.buffer.find("\n", self.at)
            if end >= 0 or self.ended:
                yield self.take(end + 1 if end >= 0 else len(self.buffer))
                continue
            yield self.take(self.at + LONGEST + 1)
            while (end := self.buffer.find("\n", self.at)) < 0:
                self.take(len(self.buffer))
                if not self.more():
                    return
            self.take(end + 1)


def _objects(text: _Text) -> Iterator[Record]:
    """JSON lines. A line that is damaged says nothing of the next one."""
    for line, number in _numbered(text):
        if len(line) > LONGEST:
            yield Record(number, line, None, f"a line of more than {LONGEST} characters")
        elif line.strip():
            record = _decoded(line, number)
            whole = record.row is not None or line.endswith("\n")
            yield record if whole else Record(number, "", None, f"the last line is cut short: {record.fault}")


def _decoded(line: str, number: int) -> Record:
    text = line.strip()
    try:
        return Record(number, text, _DECODER.decode(text))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return Record(number, text, None, f"not a JSON object on one line: {error}")


def _numbered(text: _Text) -> Iterator[tuple[str, int]]:
    number = text.line
    for line in text.lines():
        yield line, number
        number = text.line


def _arrays(text: _Text) -> Iterator[Record]:
    """Arrays of objects, one after another, each bare or inside an object (`{"value": [...]}`)."""
    while text.skip(_BLANK):
        envelope = None if text.buffer[text.at] == "[" else text.found(_ENVELOPE)
        if text.buffer[text.at] != "[" and envelope is None:
            yield Record(text.line, "", None, "neither an array of events nor an object with one")
            return
        text.take(envelope.end() if envelope else text.at + 1)
        for record in _elements(text):
            yield record
            if not record.text:
                return
        if envelope and text.skip(_BLANK):
            if (closing := text.found(_CLOSING)) is None:
                yield Record(text.line, "", None, "more follows the array of events inside its object")
                return
            text.take(closing.end())


def _elements(text: _Text) -> Iterator[Record]:
    """Up to the end of the array. A record without text is the last that can be read."""
    while text.skip(_BETWEEN):
        if text.buffer[text.at] == "]":
            text.take(text.at + 1)
            return
        line = text.line
        found = _element(text)
        if isinstance(found, str):
            yield Record(line, "", None, f"{found}, and what follows in this array with it")
            return
        value, end = found
        taken = text.take(end)
        if isinstance(value, dict):
            yield Record(line, taken, value)
        else:
            yield Record(line, taken, None, "not a JSON object")
    yield Record(text.line, "", None, "the array does not end: the file is cut short")


def _element(text: _Text) -> tuple[object, int] | str:
    """The value here and where it ends, or what is wrong. Reads on until it is whole."""
    while True:
        try:
            return _PYTHON_DECODER.raw_decode(text.buffer, text.at)
        except (ValueError, RecursionError) as error:
            if len(text.buffer) - text.at > LONGEST:
                return f"not JSON, or more than {LONGEST} characters"
            if not text.more():
                return f"not JSON: {error}" if isinstance(error, RecursionError) else "cut short, or not JSON"


def _log(text: _Text) -> Iterator[Record]:
    for line, number in _numbered(text):
        if len(line) > LONGEST:
            yield Record(number, line, None, f"a line of more than {LONGEST} characters")
        elif not line.endswith("\n"):
            yield Record(number, "", None, "the last line has no end: it may be half written")
        elif line.strip():
            yield Record(number, line.strip(), {"line": line.strip()})


def _table(text: _Text) -> Iterator[Record]:
    """CSV (RFC 4180), with commas or semicolons, and a header."""
    lines = text.lines()
    header = next(lines, "")
    rows = csv.reader(_before(header, lines), delimiter=";" if header.count(";") > header.count(",") else ",")
    columns: list[str] = []
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Record(number, f"{number}", None, f"not CSV: {error}")
            continue
        if row is None:
            return
        if not columns:
            columns = [column.strip() for column in row]
        elif row:
            yield _tabled(columns, row, number)


def _before(header: str, lines: Iterator[str]) -> Iterator[str]:
    yield header
    yield from lines


def _tabled(columns: list[str], row: list[str], number: int) -> Record:
    whole = "\x1f".join(row)
    if len(row) != len(columns):
        return Record(number, whole, None, f"{len(row)} columns, where the header has {len(columns)}")
    if any("\udc80" <= character <= "\udcff" for character in whole) if not whole.isascii() else False:
        return Record(number, whole, None, "not UTF-8")
    return Record(number, whole, dict(zip(columns, row, strict=True)))
