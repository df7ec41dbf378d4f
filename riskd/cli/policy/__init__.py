"""`riskd policy`: what people do with policies before a service reads them."""

from __future__ import annotations

from riskd.cli.policy.command import add_parser

__all__ = ["add_parser"]
