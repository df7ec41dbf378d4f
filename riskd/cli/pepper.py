"""`riskd pepper`: rotate the secret that keys all pseudonyms, without losing a history."""

from __future__ import annotations

import argparse
import time

from riskd.cli.arguments import number
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import bars, print_json
from riskd.wording import quantity


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `pepper` and its actions."""
    pepper = commands.add_parser("pepper", description="Rotate the pepper, the secret that keys all pseudonyms.")
    actions = pepper.add_subparsers(required=True, metavar="ACTION")
    for action, handler, purpose in (
        ("status", _status, "show the number of pepper layers, and how many records are still to be moved"),
        ("rotate", _rotate, "add a pepper, and move all stored records to it while services run"),
    ):
        more = ". If a rotation is interrupted, run it again: it continues" if action == "rotate" else ""
        parser = actions.add_parser(
            action,
            help=purpose,
            description=f"{purpose}{more}",
            epilog="exit codes: 0 done; 2 refused: a problem with the settings, the pepper or the store",
        )
        add_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")
        if action == "rotate":
            parser.add_argument(
                "--wait",
                type=number,
                metavar="SECONDS",
                help="how long to wait, before and after moving records, until running services have read the new "
                "pepper (default: store.sweep_s + 5)",
            )
        parser.set_defaults(handler=handler)


def _status(args: argparse.Namespace) -> int:
    from riskd.rotation import status

    state = status(given(args, writes=True).settings)
    if args.json:
        print_json(state)
        return 0
    print(f"pepper   {state.file}" + (f", mode {state.mode}" if state.mode else ""))
    print(f"layers   {state.layers} in the file, {state.moved} in the store")
    print(f"records  {state.records}, {state.left} still to be moved")
    if state.layers != state.moved:
        print("A rotation is running or was interrupted: `riskd pepper rotate` continues it.")
    return 0


def _rotate(args: argparse.Namespace) -> int:
    from rich.progress import TextColumn

    from riskd.rotation import rotate

    settings = given(args, writes=True).settings
    with bars(TextColumn("{task.description}")) as bar:
        task = bar.add_task("reading the store")

        def pause(usual: float) -> None:
            chosen = usual if args.wait is None else args.wait
            bar.update(task, description=f"waiting {chosen:g} s for services to read the new pepper")
            time.sleep(chosen)

        moved = rotate(
            settings, pause, lambda count: bar.update(task, description=f"{quantity(count, 'record')} moved")
        )
    if args.json:
        print_json({"moved": moved})
    else:
        print(f"{quantity(moved, 'record')} moved. Keep the whole pepper file: riskd needs all of its lines.")
    return 0
