"""`riskd simulate`: runs a simulated world, audits it, and prints its reference page."""

from __future__ import annotations

from riskd.cli.simulate.command import add_parser

__all__ = ["add_parser"]
