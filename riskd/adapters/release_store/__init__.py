"""Releases on disk: the releases, the activations, and the processes that follow them."""

from __future__ import annotations

from riskd.adapters.release_store.members import Member, Statement, members
from riskd.adapters.release_store.store import FileReleases

__all__ = ["FileReleases", "Member", "Statement", "members"]
