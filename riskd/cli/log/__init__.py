"""`riskd log`: what becomes of the decision log, and questions to it."""

from __future__ import annotations

from riskd.cli.log.command import add_parser

__all__ = ["add_parser"]
