"""`riskd demo`: shows riskd at work, with a story of sign-ins, or with a training from beginning to end."""

from __future__ import annotations

from riskd.cli.demo.command import add_parser

__all__ = ["add_parser"]
