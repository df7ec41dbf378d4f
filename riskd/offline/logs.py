"""Finds the logs that the command line names, of services, datasets or simulations, and reads their rows."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from riskd.adapters.decision_log import DECISIONS, log_in
from riskd.core.errors import UNDECODABLE, InvalidFile, Problem
from riskd.counts import Counts
from riskd.offline.decision_rows import read_rows
from riskd.offline.labels import LabelSource
from riskd.offline.rows import Rows
from riskd.offline.truth import FILE as TRUTH
from riskd.progress import Begin

MADE: Final = "world.json"
"""A simulation's description of itself."""


class _Settings(Struct, frozen=True):
    seed: int
    users: int
    days: float


class _Made(Struct, frozen=True):
    """The part of `world.json` that identifies a world."""

    settings: _Settings
    varied: int | None = None


class Log(Struct, frozen=True):
    """A decision log. `truth`: the truth of the simulation that wrote it, None for a live log."""

    directory: Path
    truth: Path | None

    @property
    def name(self) -> str:
        """The log's name in a model bundle: how a simulated world was made, else the directory's name without its
        path."""
        directory = self.directory.parent if self.directory.name == DECISIONS else self.directory
        try:
            made = msgspec.json.decode((directory / MADE).read_bytes(), type=_Made)
        except (OSError, *UNDECODABLE):
            return directory.name
        settings, varied = made.settings, made.varied
        size = f"{settings.users:,} users, {settings.days:g} days"
        return f"simulated world {settings.seed} ({size}{'' if varied is None else f', assumptions drawn by {varied}'})"


def is_dataset(name: str) -> bool:
    """Whether a directory or URL is a dataset and not a log. It does not import Arrow."""
    return "://" in name or (Path(name) / "manifest.json").is_file()


def log_at(path: Path, truth: Path | None = None) -> Log:
    """The log in a directory, with its truth if the directory is a simulation's.

    Raises InvalidFile if there is no such directory.
    """
    directory, beside = log_in(path), (path / TRUTH, path.parent / TRUTH)
    if not directory.is_dir():
        remedy = "name the log.dir of a service, or what `riskd simulate` wrote"
        raise InvalidFile([Problem(str(path), "is not a directory", remedy)])
    return Log(directory, truth or next((file for file in beside if file.is_file()), None))


def labels_of(logs: Sequence[Log], wanted: LabelSource | None) -> LabelSource:
    """Where labels come from: as `wanted`, else from the truth if all logs have one. Raises InvalidFile."""
    lacking = [log for log in logs if log.truth is None]
    if wanted == "truth" and lacking:
        remedy = "name the file with --truth, or use --labels outcomes"
        raise InvalidFile([Problem(str(log.directory), "has no truth.jsonl", remedy) for log in lacking])
    return wanted or ("outcomes" if lacking else "truth")


def read_log(log: Log, domain: str, labels: LabelSource, counts: Counts, begin: Begin) -> Rows:
    """The log's rows of a domain. `counts` counts its unreadable lines. Raises InvalidFile if there are no rows."""
    rows = read_rows(log.directory, domain, truth=log.truth, by_truth=labels == "truth", counts=counts, begin=begin)
    if not len(rows):
        raise InvalidFile([Problem(str(log.directory), f"has no assessment of domain {domain}", "name another log")])
    return rows


def digest(parts: Sequence[Rows]) -> str:
    """One SHA-256 for the rows of several logs."""
    return (
        parts[0].digest() if len(parts) == 1 else sha256("".join(part.digest() for part in parts).encode()).hexdigest()
    )


def attacks_of(rows: Rows) -> dict[str, int]:
    """The number of rows of each class of attack."""
    names, counts = np.unique(rows.attacks, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True) if name}
