"""Reads records from a file of any size in bounded memory: JSON lines, JSON arrays, CSV or log lines, also with gzip.

A record that cannot be read is returned, too, with its place and what is wrong, so that nothing is dropped silently.
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
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, TextIO

import msgspec
from msgspec import Struct

LONGEST: Final = 1 << 20
"""The longest record, in characters. A longer one is reported as unreadable."""
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
    """One record. `text`: all of it; `row`: None if it cannot be read, and then `fault` says why.

    An empty `text` means that the file cannot be read any further. The missing part may still be appended later.
    """

    line: int
    text: str
    row: dict[str, object] | None
    fault: str = ""


class Input:
    """An open file. `size`: in bytes, None if unknown."""

    def __init__(self, name: str, file: BinaryIO, size: int | None) -> None:
        self.name = name
        self.size = size
        self._counted = _Counted(file)

    @property
    def position(self) -> int:
        """Bytes of the file (as stored) that were read so far."""
        return self._counted.count

    def records(self, *, lines: bool) -> Iterator[Record]:
        """Every record in order. `lines`: a file that is not JSON is a log, not CSV."""
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
    """Open a file by its path, or standard input for `-`. Raises OSError."""
    if name == STANDARD_INPUT:
        yield Input("standard input", sys.stdin.buffer, None)
        return
    with Path(name).open("rb", buffering=0) as file:
        yield Input(name, file, Path(name).stat().st_size or None)


class _Counted(io.RawIOBase):
    """A file that counts how many bytes were read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self.count = 0
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # what io calls it with
        chunk = self._file.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self.count += len(chunk)
        return len(chunk)


def _records(raw: io.RawIOBase, *, lines: bool) -> Iterator[Record]:
    file = io.BufferedReader(raw, _CHUNK)
    if file.peek(2)[:2] == b"\x1f\x8b":
        file = io.BufferedReader(gzip.GzipFile(fileobj=file), _CHUNK)  # type: ignore[arg-type]  # not typed as raw
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
    """A buffered text with a read position."""

    def __init__(self, stream: TextIO) -> None:
        self.buffer = ""
        self.at = 0
        self.line = 1
        self.ended = False
        self._stream = stream

    def more(self) -> bool:
        """Read another chunk. Returns whether there was one."""
        chunk = self._stream.read(_CHUNK)
        self.ended = not chunk
        self.buffer, self.at = self.buffer[self.at :] + chunk, 0
        return bool(chunk)

    def take(self, end: int) -> str:
        """Consume and return everything up to `end`."""
        taken = self.buffer[self.at : end]
        self.line += taken.count("\n")
        self.at = end
        return taken

    def skip(self, pattern: re.Pattern[str]) -> bool:
        """Skip what matches, reading on if the match may continue. Returns whether anything follows."""
        while True:
            match = pattern.match(self.buffer, self.at)
            self.take(match.end() if match else self.at)
            if self.at < len(self.buffer):
                return True
            if not self.more():
                return False

    def found(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The match at the current position. Reads on until it is complete, or cannot match any more."""
        while (match := pattern.match(self.buffer, self.at)) is None:
            if len(self.buffer) - self.at > LONGEST or not self.more():
                return None
        return match

    def lines(self) -> Iterator[str]:
        """Line by line. A line that is too long is cut to one character more than allowed."""
        while self.at < len(self.buffer) or self.more():
            end = self.buffer.find("\n", self.at)
            while end < 0 and len(self.buffer) - self.at <= LONGEST and self.more():
                end = self.buffer.find("\n", self.at)
            if end >= 0 or self.ended:
                yield self.take(end + 1 if end >= 0 else len(self.buffer))
                continue
            cut = self.take(self.at + LONGEST + 1)
            while (end := self.buffer.find("\n", self.at)) < 0:
                self.take(len(self.buffer))
                if not self.more():
                    break
            self.take(end + 1)
            yield cut


def _objects(text: _Text) -> Iterator[Record]:
    """JSON lines. A damaged line does not affect the next one."""
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
    """Arrays of objects, one after another, each on its own or inside an object (`{"value": [...]}`)."""
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
    """The elements up to the end of the array. A record without text is the last that can be read."""
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
    """The value at the current position and where it ends, or what is wrong. Reads on until the value is complete."""
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
    """CSV (RFC 4180) with a header, separated by commas or semicolons."""
    begun, lines = text.line, text.lines()
    header = next(lines, "")
    rows = csv.reader(chain([header], lines), delimiter=";" if header.count(";") > header.count(",") else ",")
    columns: list[str] = []
    while True:
        number = begun + rows.line_num
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


def _tabled(columns: list[str], row: list[str], number: int) -> Record:
    whole = "\x1f".join(row)
    if len(row) != len(columns):
        return Record(number, whole, None, f"{len(row)} columns, where the header has {len(columns)}")
    if not whole.isascii() and any("\udc80" <= character <= "\udcff" for character in whole):
        return Record(number, whole, None, "not UTF-8")
    return Record(number, whole, dict(zip(columns, row, strict=True)))
