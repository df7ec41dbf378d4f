"""The settings of a deployment: their definitions, their sources, and their validation."""

from __future__ import annotations

from riskd.config.checks import is_loopback
from riskd.config.fields import FIELDS, Field
from riskd.config.paths import data_directory, release_folders
from riskd.config.pepper import add_pepper, obtain_peppers, pepper_file
from riskd.config.secret import Secret
from riskd.config.settings import Settings
from riskd.config.sources import Loaded, explain, load, read_toml
from riskd.config.store_url import read_url

__all__ = [
    "FIELDS",
    "Field",
    "Loaded",
    "Secret",
    "Settings",
    "add_pepper",
    "data_directory",
    "explain",
    "is_loopback",
    "load",
    "obtain_peppers",
    "pepper_file",
    "read_toml",
    "read_url",
    "release_folders",
]
