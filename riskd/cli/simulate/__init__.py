"""`riskd simulate`: a made world, its audit, and its page."""

from __future__ import annotations

from riskd.cli.simulate.command import add_parser

__all__ = ["add_parser"]
