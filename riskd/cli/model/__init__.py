"""`riskd model`: work on models before and while they decide."""

from __future__ import annotations

from riskd.cli.model.command import add_parser

__all__ = ["add_parser"]
