"""`riskd log`: inspects, queries, exports and compacts the decision log."""

from __future__ import annotations

from riskd.cli.log.command import add_parser

__all__ = ["add_parser"]
