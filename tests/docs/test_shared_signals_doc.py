"""docs/shared-signals.md says what the receiver does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from riskd.shared_signals import desk, receiver, stream
from riskd.shared_signals.event_types import EVENTS, SSF
from riskd.shared_signals.intake import NOT_USED
from riskd.shared_signals.keys import KINDS
from riskd.shared_signals.metrics import METRICS
from riskd.shared_signals.stream import FORMATS
from riskd.shared_signals.streams_file import STREAM_KEYS, read_streams

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "shared-signals.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading."""
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_streams_of_the_page_are_valid(tmp_path: Path) -> None:
    """The example of a streams file is valid and has two streams."""
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    for file in re.findall(r"(?:token|secret)_file: (\S+)", block):
        (tmp_path / file).write_text("a-token")
    file = tmp_path / "streams.yaml"
    file.write_text(block, encoding="utf-8")
    assert [each.name for each in read_streams(file)] == ["okta", "keycloak"]


def test_the_page_names_every_key_and_format() -> None:
    """The page names every key of a stream, of its subject and of its delivery, and every subject format."""
    told = section("The streams file")
    keys = {key for kind, both in STREAM_KEYS.items() if kind != "file" for key in (*both[0], *both[1])}
    words = {word for code in re.findall(r"`([^`]+)`", told) for word in re.split(r"[. ]", code)}
    assert keys <= words
    assert FORMATS.keys() <= words


def test_the_page_lists_every_event() -> None:
    """The page lists every event that the receiver reports, with the kind that it becomes, and every event about the
    stream itself."""
    told = section("Which events count")
    rows = re.findall(r"^\| (CAEP|RISC) `([\w-]+)`.* \| `(\w+)` \|", told, re.MULTILINE)
    of_subjects = {uri: name for uri, name in EVENTS.items() if not uri.startswith(SSF)}
    assert {f"{stream_of}/event-type/{name}" for stream_of, name, _ in rows} == {
        f"{uri.split('/')[4].upper()}/event-type/{name}" for uri, name in of_subjects.items()
    }
    assert [name.replace("-", "_") for _, name, _ in rows] == [kind for *_, kind in rows]
    assert all(f"`{name}`" in told for uri, name in EVENTS.items() if uri.startswith(SSF))
    assert f"`{NOT_USED}`" in told


def test_the_page_says_what_is_verified() -> None:
    """The page names every algorithm and every error code with which the receiver refuses a token."""
    told = section("What is verified")
    codes = {value for name, value in vars(stream).items() if name.startswith(("INVALID_", "AUTHENTICATION_"))}
    assert [word for word in (*KINDS, *codes) if f"`{word}`" not in told] == []


def test_the_page_lists_what_is_logged_and_counted() -> None:
    """The page lists every log event and every metric of the receiver."""
    told = section("What an operator sees")
    logged = set()
    for module in (desk, receiver):
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        logged |= set(re.findall(r"_LOG\.\w+\((?:[^\"()]|\([^)]*\))*\"(\w+)\"", text))
    assert len(logged) > 5
    assert [name for name in (*logged, *(metric.name for metric in METRICS)) if f"`{name}`" not in told] == []
