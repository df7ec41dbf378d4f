"""What the commands on models share: their flags, and opening models."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from riskd.cli.settings import add_arguments, given
from riskd.config import Settings, release_folders
from riskd.core.attempt import DOMAINS
from riskd.core.features import DEFINITIONS

if TYPE_CHECKING:
    from riskd.adapters.model_registry import Registry
    from riskd.core.forest import Forest


def add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    purpose: str,
    work: object,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    """Add an action on models, with the flags that all of them have."""
    parser = actions.add_parser(name, help=purpose, description=purpose, epilog=epilog)
    add_arguments(parser)
    add_models(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=work)
    return parser


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the flag that names the models, which `opened` reads. The parser must take settings, too."""
    parser.add_argument("--models", metavar="DIR", help="directory of models (release.models)")


def add_name(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name one model."""
    parser.add_argument("domain", metavar="DOMAIN", choices=DOMAINS, help=f"one of {', '.join(DOMAINS)}")
    parser.add_argument("version", metavar="VERSION", nargs="?", help="version (default: the champion)")


def opened(args: argparse.Namespace) -> tuple[Settings, Registry]:
    """The settings, and the models that they name."""
    from riskd.adapters.model_registry import Registry

    settings = given(args, {"release.models": args.models}).settings
    return settings, Registry(release_folders(settings)[1])


def loaded(trusted: Sequence[str], path: Path, domain: str = "") -> Forest:
    """A bundle, loaded as by a service that trusts these keys. Raises InvalidModel."""
    from riskd.adapters.model_file import load_model

    return load_model(path, DEFINITIONS, domain=domain, trusted=trusted)
