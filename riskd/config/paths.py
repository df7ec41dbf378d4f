"""The paths of the data that ships with riskd, and of the directories that replace it."""

from __future__ import annotations

from pathlib import Path

from riskd.config.settings import Settings


def data_directory(name: str) -> Path:
    """The path of a file or folder that ships with riskd: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "_data" / name
    if packaged.exists():
        return packaged
    return package.parent / name if name == "models" else package.parent / "data" / name


def release_folders(settings: Settings) -> tuple[Path, Path]:
    """The directories of policies and of models: those in the settings, or the ones that ship with riskd."""
    chosen = settings.release
    return Path(chosen.policies or data_directory("policies")), Path(chosen.models or data_directory("models"))
