"""Releases on disk, which of them have a role, and the processes that follow it."""

from __future__ import annotations

from riskd.adapters.release_store.members import Member, Statement, members
from riskd.adapters.release_store.store import FileReleases

__all__ = ["FileReleases", "Member", "Statement", "members"]
