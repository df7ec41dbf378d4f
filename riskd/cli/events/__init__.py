"""`riskd events`: the receiver of shared signals, and tools to set it up."""

from __future__ import annotations

from riskd.cli.events.command import add_parser

__all__ = ["add_parser"]
