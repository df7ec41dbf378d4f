"""Where rows come from, by what the command line names: decision logs, simulations, data sets."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
from msgspec import Struct

from riskd.adapters.decision_log import DECISIONS, log_in
from riskd.core.errors import UNDECODABLE, InvalidFile, Problem
from riskd.counts import Counts
from riskd.offline.decision_rows import read_rows
from riskd.offline.rows import Rows
from riskd.offline.truth import FILE as TRUTH

Labels = Literal["truth", "outcomes"]
MADE: Final = "world.json"
"""What a simulation says of itself."""


class _Settings(Struct, frozen=True):
    seed: int
    users: int
    days: float


class _Made(Struct, frozen=True):
    """The part of `world.json` that names a world."""

    settings: _Settings
    varied: int | None = None


class Log(Struct, frozen=True):
    """A decision log. `truth` is that of the simulation that wrote it, None for a live one."""

    directory: Path
    truth: Path | None

    @property
    def name(self) -> str:
        """What a bundle says of it: how a world was made, else its own name, and no directory of the machine."""
        directory = self.directory.parent if self.directory.name == DECISIONS else self.directory
        try:
            made = msgspec.json.decode((directory / MADE).read_bytes(), type=_Made)
        except (OSError, *UNDECODABLE):
            return directory.name
        settings, varied = made.settings, made.varied
        size = f"{settings.users:,} users, {settings.days:g} days"
        return f"simulated world {settings.seed} ({size}{'' if varied is None else f', assumptions drawn by {varied}'})"


def is_dataset(name: str) -> bool:
    """Whether a directory, or a URL, is that of a dataset and not of a log. Needs no Arrow."""
    return "://" in name or (Path(name) / "manifest.json").is_file()


def log_at(path: Path, truth: Path | None = None) -> Log:
    """The log in a directory; a simulation's directory has both its log and its truth.

    Raises InvalidFile when there is neither.
    """
    directory, beside = log_in(path), (path / TRUTH, path.parent / TRUTH)
    if not directory.is_dir():
        raise InvalidFile(
            [
                Problem(
                    str(path),
                    "is not a directory",
                    "name the directory of a service's setting log.dir, or one that `riskd simulate` wrote",
                )
            ]
        )
    return Log(directory, truth or next((file for file in beside if file.is_file()), None))


def labels_of(logs: Sequence[Log], wanted: Labels | None) -> Labels:
    """Whose word labels are: as wanted, else the truth where all logs have one. Raises InvalidFile."""
    lacking = [log for log in logs if log.truth is None]
    if wanted == "truth" and lacking:
        remedy = "name it with --truth, or take labels from outcomes"
        raise InvalidFile([Problem(str(log.directory), "has no truth", remedy) for log in lacking])
    return wanted or ("outcomes" if lacking else "truth")


def read_log(log: Log, domain: str, labels: Labels, counts: Counts) -> Rows:
    """Its rows of a domain. `counts` is told of lines that are no records. Raises InvalidFile when there are none."""
    rows = read_rows(log.directory, domain, truth=log.truth, by_truth=labels == "truth", counts=counts)
    if not len(rows):
        raise InvalidFile([Problem(str(log.directory), f"has no assessment of domain {domain}", "name another log")])
    return rows


def digest(parts: Sequence[Rows]) -> str:
    """One SHA-256 for the rows of several sources."""
    return (
        parts[0].digest() if len(parts) == 1 else sha256("".join(part.digest() for part in parts).encode()).hexdigest()
    )


def attacks_of(rows: Rows) -> dict[str, int]:
    """Rows of each class of attack that is named."""
    names, counts = np.unique(rows.attacks, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True) if name}
