"""`riskd release`: create, inspect, activate, roll out and roll back the releases of this host."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from riskd.cli import rollout
from riskd.cli.arguments import deadline, user
from riskd.cli.model.opening import add_models
from riskd.cli.policy.diff import compared, show
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import print_json, print_table
from riskd.config import release_folders
from riskd.core.activation import Activation, ActivationRequest, StoredRelease
from riskd.core.errors import Problem, UnknownRelease
from riskd.wording import when

if TYPE_CHECKING:
    from riskd.releases import Activated, Releases

_EXIT: Final = """\
exit codes: 0 done, even if no service is running; 2 refused: all problems are listed, and nothing has changed. The
command reads and writes `release.dir`: run it as the user of the service and with its settings."""
_ACTIONS: Final = {
    "create": "check policies and models, and keep a copy of them as a release",
    "list": "list the releases of this host and their roles, newest first",
    "show": "show one release and its activations",
    "shadow": "create a release from the challenger models, and score it in shadow",
    "activate": "make a release decide, in every process of this host or in none",
    "follow": "decide by the policy and model directories of the settings again, and follow their changes",
    "rollback": "restore what decided before the latest activation",
    "compare": "compare the releases of a rollout on the log: how many were challenged, and what came of it",
    "diff": "show how the policies and models of two releases differ",
}
_READING: Final = ("list", "show", "compare", "diff")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `release` and its actions."""
    release = commands.add_parser(
        "release", description="Create, activate, roll out and roll back releases: the policies and models that decide."
    )
    actions = release.add_subparsers(required=True, metavar="ACTION")
    parsers = {}
    for name, purpose in _ACTIONS.items():
        parsers[name] = parser = actions.add_parser(name, help=purpose, description=purpose, epilog=_EXIT)
        add_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(handler=_run, action=name)
    parsers["show"].add_argument("release", metavar="RELEASE", nargs="?", help="release id (default: the active one)")
    parsers["activate"].add_argument("release", metavar="RELEASE", help="release id, or at least its first 4 digits")
    portion = parsers["activate"].add_mutually_exclusive_group()
    portion.add_argument(
        "--percent",
        metavar="P",
        type=float,
        default=100.0,
        help="decide for P percent of the subjects only, always the same ones; raising P keeps those it already covers",
    )
    portion.add_argument(
        "--shadow", action="store_true", help="decide nothing: score each attempt after the active release answered it"
    )
    rollout.add_arguments(parsers["compare"])
    parsers["diff"].add_argument("old", metavar="OLD", help="id of the first release")
    parsers["diff"].add_argument("new", metavar="NEW", help="id of the second release")
    for name in ("create", "shadow"):
        parsers[name].add_argument("--policies", metavar="DIR", help="directory of policies (release.policies)")
        add_models(parsers[name])
    for name in ("create", "shadow", "activate", "follow", "rollback"):
        parsers[name].add_argument(
            "--reason", metavar="TEXT", default="", help="why, as `riskd release show` prints it"
        )
        parsers[name].add_argument(
            "--actor", metavar="NAME", default="", help="who asked for it (default: the user who runs this command)"
        )
    for name in ("shadow", "activate", "follow", "rollback"):
        parsers[name].add_argument(
            "--timeout",
            metavar="SECONDS",
            type=deadline,
            default=30.0,
            help="how long to wait until all processes have loaded it (default: %(default)g)",
        )


def _run(args: argparse.Namespace) -> int:
    from riskd.releases import FollowRequest
    from riskd.wiring import open_releases

    short = {f"release.{each}": getattr(args, each, None) for each in ("policies", "models")}
    settings = given(args, short, writes=args.action not in _READING).settings
    releases = open_releases(settings)
    if "actor" in args:
        args.actor = args.actor or user()
    if args.action == "create":
        _print_release(releases, releases.create(*release_folders(settings), args.actor, args.reason), args)
    elif args.action == "shadow":
        _shadow(releases, release_folders(settings), args)
    elif args.action == "list":
        _list(releases, args)
    elif args.action == "show":
        _show(releases, args)
    elif args.action == "activate":
        _activate(releases, args)
    elif args.action == "compare":
        return rollout.compare(releases, args)
    elif args.action == "follow":
        request = FollowRequest(resume=True, actor=args.actor, reason=args.reason)
        _report(releases.follow(*release_folders(settings), request, args.timeout), args)
    elif args.action == "rollback":
        _report(releases.rollback(args.actor, args.reason, args.timeout), args)
    else:
        _diff(releases, args)
    return 0


def named(releases: Releases, beginning: str) -> str:
    """The id of the only release that begins with these 4 or more digits; else `beginning` itself."""
    matches = [each.id for each in releases.files.all() if len(beginning) >= 4 and each.id.startswith(beginning)]
    return matches[0] if len(matches) == 1 else beginning


def _activate(releases: Releases, args: argparse.Namespace) -> None:
    request = ActivationRequest(
        release=named(releases, args.release),
        percent=args.percent,
        shadow=args.shadow,
        actor=args.actor,
        reason=args.reason,
    )
    _report(releases.activate(request, args.timeout), args)


def _shadow(releases: Releases, folders: tuple[Path, Path], args: argparse.Namespace) -> None:
    """Create a release from the challengers and activate it in shadow.

    Raises InvalidModel if no domain has a challenger, and what `Releases.activate` raises.
    """
    from riskd.adapters.model_registry import stage

    policies, models = folders
    with TemporaryDirectory(prefix="riskd-") as staged:
        challengers = stage(models, Path(staged))
        listed = ", ".join(f"{domain} {version}" for domain, version in challengers.items())
        reason = args.reason or f"challengers: {listed}"
        release = releases.create(policies, Path(staged), args.actor, reason)
    request = ActivationRequest(release=release.id, shadow=True, actor=args.actor, reason=reason)
    _report(releases.activate(request, args.timeout), args)


def _report(done: Activated, args: argparse.Namespace) -> None:
    if args.json:
        print_json(done)
        return
    print(_roles(done.activation))
    for name in done.late:
        print(f"{name} has not loaded it yet, but will")


def _roles(activation: Activation) -> str:
    parts = [f"active {activation.release}"]
    if activation.candidate:
        parts.append(f"candidate {activation.candidate} for {activation.percent:g} % of the subjects")
    if activation.shadow:
        parts.append(f"shadow {activation.shadow}")
    return f"activation {activation.number}: {', '.join(parts)}"


def _role(activation: Activation | None, release: str) -> str:
    if activation is None:
        return ""
    if release == activation.candidate:
        return f"candidate, {activation.percent:g} %"
    return {activation.shadow: "shadow", activation.release: "active"}.get(release, "")


def _list(releases: Releases, args: argparse.Namespace) -> None:
    active, stored = releases.active(), releases.files.all()
    if args.json:
        print_json({"active": active, "releases": stored})
        return
    if not stored:
        print("There is no release yet (`riskd release create` makes one). The directories of the settings decide.")
        return
    rows = []
    for each in stored:
        models = "\n".join(f"{domain} {version}" for domain, version in each.models.items())
        by = each.actor.replace(", ", "\n")
        rows.append((each.id, _role(active, each.id), when(each.created), by, models, each.reason))
    print_table(("release", "role", "created", "by", "models", "why"), rows)


def _show(releases: Releases, args: argparse.Namespace) -> None:
    active = releases.active()
    if not args.release and not (active and active.release):
        what = "none is active: the policy and model directories of the settings decide"
        raise UnknownRelease([Problem("release", what, "give the id of one; `riskd release list` lists them")])
    name = named(releases, args.release) if args.release or not active else active.release
    _print_release(releases, releases.files.find(name), args)


def _print_release(releases: Releases, release: StoredRelease, args: argparse.Namespace) -> None:
    past = [activation for activation in releases.files.activations() if release.id in activation.named]
    policies, models = releases.files.folders(release.id)
    if args.json:
        print_json({"release": release, "policies": str(policies), "models": str(models), "activations": past})
        return
    print(f"release   {release.id}")
    print(f"role      {_role(releases.active(), release.id) or 'none'}")
    print(f"created   {when(release.created)} by {release.actor}" + (f": {release.reason}" if release.reason else ""))
    print(f"models    {', '.join(f'{domain} {version}' for domain, version in release.models.items())}")
    print(f"files     {policies}, {models}")
    for each in past:
        why = f": {each.reason}" if each.reason else ""
        back = f", which restores {each.restores}" if each.restores else ""
        print(f"{when(each.time)}  {_roles(each)}{back}, by {each.actor}{why}")


def _diff(releases: Releases, args: argparse.Namespace) -> None:
    old, new = (releases.files.find(named(releases, name)) for name in (args.old, args.new))
    models = {
        domain: [old.models.get(domain, ""), new.models.get(domain, "")]
        for domain in sorted({*old.models, *new.models})
        if old.models.get(domain) != new.models.get(domain)
    }
    policies = compared(releases.files.folders(old.id)[0], releases.files.folders(new.id)[0])
    if args.json:
        print_json({"old": old.id, "new": new.id, "models": models, "policies": policies})
        return
    for domain, (before, after) in models.items():
        print(f"{domain}: model {before or 'none'} becomes {after or 'none'}")
    show(policies)
