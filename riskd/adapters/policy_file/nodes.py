"""The nodes of a YAML text, with bounds on their depth and on aliases."""

from __future__ import annotations

from typing import Any, Final

import yaml
from yaml.composer import Composer, ComposerError

DEEPEST: Final = 12
"""Most levels of nesting. A policy has five."""
ALIASES: Final = 64
"""Most aliases, each of which repeats a part of the document."""


def top_node(text: str) -> yaml.Node | None:
    """The top node of a text without a byte order mark; None if it is empty. Raises yaml.YAMLError.

    libyaml takes a sixth of the time of PyYAML's own parser, whose errors say more and are those that are raised. What
    libyaml refuses and PyYAML's own parser accepts, is accepted; so is what only libyaml accepts, such as a tab behind
    a value.
    """
    try:
        return _Quick(text).get_single_node()
    except (yaml.YAMLError, OverflowError, ValueError):
        return _Telling(text).get_single_node()


class _Bounded(Composer):
    _levels = 0
    _aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """A node; raises if it is nested too deeply or is one alias too many."""
        self._aliases += self.check_event(yaml.AliasEvent)  # type: ignore[attr-defined]  # of the parser beside it
        self._levels += 1
        if self._aliases > ALIASES:
            self._refuse(f"more than {ALIASES} aliases", parent)
        if self._levels > DEEPEST:
            self._refuse(f"nested deeper than {DEEPEST} levels", parent)
        node = super().compose_node(parent, index)
        self._levels -= 1
        return node

    def compose_scalar_node(self, anchor: object) -> yaml.ScalarNode:
        """A text; raises if it has a lone surrogate, which cannot be encoded in UTF-8."""
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)  # type: ignore[arg-type]  # a wrong stub
        if not node.value.isascii() and any("\ud800" <= character <= "\udfff" for character in node.value):
            self._refuse("half a surrogate pair is not a character", node)
        return node

    def _refuse(self, why: str, parent: yaml.Node | None) -> None:
        raise ComposerError(None, None, why, parent.start_mark if parent else None)


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""A PyYAML that was built where libyaml is missing has no `CSafeLoader`."""


class _Quick(_Bounded, _Loader):  # type: ignore[misc]  # either of two classes
    def __init__(self, text: str) -> None:
        Composer.__init__(self)
        _Loader.__init__(self, text)


class _Telling(_Bounded, yaml.SafeLoader):
    def get_single_node(self) -> yaml.Node | None:
        """The top node. PyYAML passes escapes to `chr` unchecked, so its exceptions become composer errors here."""
        try:
            return super().get_single_node()
        except (OverflowError, ValueError) as error:
            raise ComposerError(None, None, "an escape is not a Unicode character", self.get_mark()) from error
