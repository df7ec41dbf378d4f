"""Directories of policies and models whose answers a test can tell apart."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from riskd.config import Settings, data_directory, load
from riskd.releases import Releases
from riskd.wiring import open_releases

MODELS: Final = data_directory("models")


def policies(directory: Path, valid_for: str) -> Path:
    """The shipped policies with another `valid_for` in every journey."""
    shutil.copytree(data_directory("policies"), directory)
    for path in directory.glob("*.yaml"):
        text, changed = re.subn(r"valid_for: \S+", f"valid_for: {valid_for}", path.read_text())
        assert changed
        path.write_text(text)
    return directory


def settings(state: Path, **more: str) -> Settings:
    """Settings of a service with this state directory."""
    return load(None, {}, {"state.dir": str(state), **more})


def releases(state: Path, **more: str) -> Releases:
    """The releases of that service."""
    return open_releases(settings(state, **more))


def created(state: Path, valid_for: str) -> str:
    """Create a release with this `valid_for` and return its id."""
    folder = policies(state / f"candidate-{valid_for}", valid_for)
    return releases(state).create(folder, MODELS, "test", valid_for).id
