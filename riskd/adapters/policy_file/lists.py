"""Reads the lists of a policy, from the policy file itself or from text files beside it with one entry a line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import blake2b
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import yaml

from riskd.adapters.policy_file.document import Document
from riskd.core.address import parse
from riskd.core.errors import Problem
from riskd.core.lists import KINDS, NamedList, of_networks
from riskd.host.files import cause

LIST_NAME: Final = r"[a-z][a-z0-9_]{0,63}"
MOST_LISTS: Final = 64
LONGEST: Final = 100_000
"""Most entries of a list. They take about 10 MB of memory in each process."""
LARGEST: Final = 4 * 1024 * 1024
"""Most bytes of a list file."""
_FILE: Final = r"[\w][\w.-]{0,99}"
"""A file name without a directory: a release copies only the directory of the policy."""
_NAME: Final = r"\S{1,200}"


class ListReader:
    """Reads lists. `digest` is over the contents of every list file that was read."""

    def __init__(self, document: Document, directory: Path) -> None:
        self.document = document
        self.digest = blake2b(digest_size=16)
        self._directory = directory
        self._read: dict[tuple[str, str], NamedList | None] = {}
        self._one_list = cache(self._list)  # tenants share the lists that they do not change

    def lists(self, node: yaml.Node | None) -> dict[str, tuple[NamedList, yaml.Node]]:
        """The lists by name, each with the node of its name."""
        document = self.document
        found: dict[str, tuple[NamedList, yaml.Node]] = {}
        entries = document.entries(node, "lists")
        if node is not None and len(entries) > MOST_LISTS:
            document.wrong(node, "too_many", "join some of them", what="lists", limit=MOST_LISTS)
        for name, key_node, value_node in entries:
            known = document.word(key_node, "a list", LIST_NAME, "a name in lower_snake_case")
            each = self._one_list(name, value_node)
            if known and each is not None:
                found[name] = each, key_node
        return found

    def _list(self, name: str, node: yaml.Node) -> NamedList | None:
        document = self.document
        fields = document.fields(node, f"list {name}", (), tuple(KINDS))
        if isinstance(node, yaml.MappingNode) and len(fields) != 1 and len(node.value) == len(fields):
            document.wrong(node, "list_of_one_kind", f"use one of {', '.join(KINDS)}", name=name)
        if len(fields) != 1:
            return None
        ((kind, entries),) = fields.items()
        if isinstance(entries, yaml.ScalarNode):
            return self._file(entries, kind)
        texts = [self._entry(item, name) for item in document.items(entries, f"list {name}")]
        if isinstance(entries, yaml.SequenceNode) and not texts:
            document.wrong(entries, "empty_list", "add entries, or remove it", what=f"list {name}")
        places = (
            (text, (document.where, item.start_mark.line + 1, item.start_mark.column + 1))
            for text, item in zip(texts, document.items(entries, name), strict=True)
            if text is not None
        )
        return self._built(kind, places)

    def _entry(self, node: yaml.Node, name: str) -> str | None:
        """The text of an entry, whatever its YAML type: NO is Norway here, and 64496 needs no quotes."""
        return node.value if isinstance(node, yaml.ScalarNode) else self.document.text(node, f"an entry of list {name}")

    def _file(self, node: yaml.ScalarNode, kind: str) -> NamedList | None:
        """The list in a file, in which `#` begins a comment. None if there are problems."""
        document = self.document
        name = document.text(node, "a list's file", _FILE, "the name of a file beside this one")
        if name is None or (name, kind) in self._read:
            return self._read.get((name, kind)) if name else None
        path, content = self._directory / name, b""
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST + 1)
            if len(content) > LARGEST:
                document.wrong(node, "list_unreadable", file=name, why=f"more than {LARGEST} bytes")
                return None
            text = content.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            document.wrong(node, "list_unreadable", file=name, why=cause(error))
            return None
        self.digest.update(content)
        found = self._built(kind, _lines(text, str(path)))
        if found is not None and found == NamedList(kind):
            document.wrong(node, "empty_list", "add entries, or remove it", what=f"list file {name}")
        self._read[name, kind] = found
        return found

    def _built(self, kind: str, entries: Iterator[tuple[str, tuple[str, int, int]]]) -> NamedList | None:
        """The list, or None if an entry is bad. `entries`: texts with their file, line and column."""
        members: list[str] = []
        ranges: list[tuple[int, int, int]] = []
        bad = 0
        for count, (text, place) in enumerate(entries, 1):
            if count > LONGEST:
                self._note(place, "too_many", "split it", what="entries of one list", limit=LONGEST)
                return None
            network = _network(text) if kind == "networks" else None
            if network is not None:
                ranges.append(network)
            elif kind != "networks" and re.fullmatch(_FORMS[kind][0], text):
                members.append(text.removeprefix("AS") if kind == "asns" else text)
            else:
                bad += 1
                expected = _FORMS[kind][1]
                self._note(place, "wrong_format", what="the entry", value=text[:60], expected=expected)
                if bad == _SHOWN:
                    return None
        if bad:
            return None
        return of_networks(ranges) if kind == "networks" else NamedList(kind, frozenset(members))

    def _note(self, place: tuple[str, int, int], code: str, remedy: str = "", **parts: object) -> None:
        where, line, column = place
        self.document.problems.append(Problem(where, self.document.worded(code, **parts), remedy, line, column))


_SHOWN: Final = 20
"""Most bad entries of a list that are reported."""
_FORMS: Final[Mapping[str, tuple[str, str]]] = {
    "networks": ("", "an address, or a network whose host bits are zero, such as 192.0.2.0/24"),
    "asns": (r"(AS)?[1-9]\d{0,9}", "the number of an autonomous system, such as AS64496"),
    "countries": (r"[A-Z]{2}", "an ISO 3166-1 alpha-2 code, such as NO"),
    "issuers": (_NAME, "an issuer"),
    "device_ids": (_NAME, "a device identifier"),
}


def _network(text: str) -> tuple[int, int, int] | None:
    """IP version, first and last address; None if the text is not a network. IPv4-mapped addresses count as IPv4."""
    try:
        network = ip_network(text)
    except ValueError:
        return None
    first, version, extent = int(network.network_address), network.version, network.num_addresses
    if version == 6 and extent <= 2**32:
        client = parse(str(network.network_address))
        if client is not None and client.version == 4:
            first, version = client.value, 4
    return version, first, first + extent - 1


def _lines(text: str, where: str) -> Iterator[tuple[str, tuple[str, int, int]]]:
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if entry:
            yield entry, (where, number, line.index(entry) + 1)
