"""`riskd model`: what people do with models before and while one decides."""

from __future__ import annotations

from riskd.cli.model.command import add_parser

__all__ = ["add_parser"]
