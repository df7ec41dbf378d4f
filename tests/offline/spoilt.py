"""Lines of a real log, damaged in every way that leaves valid JSON, deterministically by seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Final

from riskd.core.record import AssessmentRecord, Record, RepeatRecord, ShadowRecord, decode, encode
from tests.doubles import ListLog
from tests.offline.town import Town

Path = tuple[str | int, ...]
"""A position in a line: keys and indexes, from the outside in."""
LEAVES: Final = (
    *("null", "true", "false", "0", "1", "-1", "-0.0", "0.5", "1e308", "-1e308", "5e-324", "1e15", "1764252300000"),
    *("4611686018427387904", "-9223372036854775808", "18446744073709551616", "1" + 400 * "0", "1e999", "-1e999"),
    *('""', '"0"', '"NaN"', '"Infinity"', '"\\u0000"', '"a\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u001b[2J"'),
    *('"\\n"', '"\\ud83d\\udca9"', '"Å"', '"٣"', '"-"', '"=="', '"AAAAAAA="', '"AAAA"', '"customer"', '"DENY"'),
    *(json.dumps("x" * 5000), json.dumps("f" * 31), json.dumps("F" * 32), json.dumps("0" * 32), json.dumps("0" * 34)),
    *("[]", "{}", "[[]]", "[null]", '[""]', '{"":""}', '{"a":null}', "[1e308,1e308,1e308]", "[" * 3000 + "]" * 3000),
)
"""Replacements for a value: other types, nothing, too much, and look-alikes."""


def lines() -> list[bytes]:
    """The log of a real engine, with a line of every type."""
    log = ListLog()
    Town(log, seed=6, apart=600.0, gossip=0.3).live(40)
    first = next(one for line in log.lines if isinstance(one := decode(line), AssessmentRecord))
    return [*log.lines, *map(encode, _beside(first))]


def _beside(one: AssessmentRecord) -> tuple[Record, ...]:
    """A repeated answer, and the answer of another release in shadow."""
    usual = {name: getattr(one, name) for name in RepeatRecord.__struct_fields__ if hasattr(one, name)}
    other = {name: getattr(one, name) for name in ShadowRecord.__struct_fields__ if hasattr(one, name)}
    return RepeatRecord(**usual), ShadowRecord(**other, beside=one.release)


def spoilt(of: list[bytes], random: Random) -> Iterator[bytes]:
    """An endless sequence. Half of the changes are to rare leaves rather than to numbers of the vector."""
    while True:
        line = random.choice(of)
        root = json.loads(line)
        paths = list(_paths(root))
        if random.random() < 0.5:
            paths = [path for path in paths if path[0] not in ("vector", "contributions")]
        yield _spoilt(line, root, random.choice(paths), random)


def _spoilt(line: bytes, root: object, path: Path, random: Random) -> bytes:
    value = root
    for name in path:
        value = value[name]  # type: ignore[index]
    way = random.randrange(10)
    if way == 0:
        return _flipped(line, random)
    if way == 1:
        return json.dumps(root, sort_keys=random.random() < 0.5).encode()
    if way == 2:
        return _text(root, path, None).encode()
    if way == 3 and isinstance(path[-1], str):
        return _text(root, path, f"{_text(value, (), None)},{json.dumps(path[-1])}:{random.choice(LEAVES)}").encode()
    if way == 4 and isinstance(value, list):
        return _text(root, path, json.dumps(value[: random.randrange(len(value) + 1)])).encode()
    if way == 5 and isinstance(value, list):
        return _text(root, path, json.dumps(value * random.choice((2, 100)))).encode()
    if way == 6 and isinstance(value, str):
        at = random.randrange(len(value) + 1)
        return _text(
            root, path, json.dumps(value[:at] + random.choice("\0\x7f\ud800Å0zZ/-") + value[at + 1 :])
        ).encode()
    if way == 7 and isinstance(value, float | int) and not isinstance(value, bool):
        return _text(root, path, json.dumps(random.choice((-value, value * 1000, value * 1e12, int(value))))).encode()
    return _text(root, path, random.choice(LEAVES)).encode()


def _flipped(line: bytes, random: Random) -> bytes:
    """One bit is flipped, and it is still JSON."""
    while True:
        changed = bytearray(line)
        changed[random.randrange(len(line))] ^= 1 << random.randrange(8)
        try:
            json.loads(changed)
        except ValueError:
            continue
        if b"\n" not in changed and b"\0" not in changed:
            return bytes(changed)


def _paths(value: object, to: Path = ()) -> Iterator[Path]:
    """Paths to everything in the value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield (*to, name)
        yield from _paths(each, (*to, name))


def _text(value: object, path: Path, instead: str | None) -> str:
    """The JSON of the value with the part at a path replaced, or removed if `instead` is None."""
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(name)}:{_inside(each, path, name, instead)}"
            for name, each in value.items()
            if instead is not None or path != (name,)
        ]
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        parts = [
            _inside(each, path, at, instead) for at, each in enumerate(value) if instead is not None or path != (at,)
        ]
        return "[" + ",".join(parts) + "]"
    return json.dumps(value)


def _inside(value: object, path: Path, name: str | int, instead: str | None) -> str:
    if path[:1] != (name,):
        return _text(value, (), instead)
    return instead if len(path) == 1 and instead is not None else _text(value, path[1:], instead)
