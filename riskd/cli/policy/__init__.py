"""`riskd policy`: work on policies before a service loads them."""

from __future__ import annotations

from riskd.cli.policy.command import add_parser

__all__ = ["add_parser"]
