"""`riskd policy test`: runs policy cases like a test runner."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riskd.cli import settings
from riskd.cli.terminal import print_json
from riskd.config import data_directory
from riskd.core.errors import InvalidPolicy, Problem
from riskd.core.features import NAMES
from riskd.core.policy import Policy

if TYPE_CHECKING:
    from riskd.adapters.policy_file import Case
    from riskd.offline.policies.cases import CaseReport, Result

_POLICY: Final = (
    "is a policy, and has no cases",
    "write some into `tests` beside it, under its name, or run riskd's own with it: `riskd policy test --policies DIR`",
)


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `policy test`."""
    purpose = "run policy cases; exit code 1 if one fails, 2 if a file is refused"
    parser = actions.add_parser(
        "test",
        help=purpose,
        description=f"Test policies: {purpose}.",
        epilog="exit codes: 0 all pass; 1 a case fails; 2 a file is refused",
    )
    parser.add_argument(
        "paths",
        metavar="PATH",
        type=Path,
        nargs="*",
        help="file or directory of cases, or a policy file or directory of policies with cases in `tests` beside it "
        "(default: the policies that come with riskd)",
    )
    parser.add_argument(
        "--policies",
        metavar="DIR",
        type=Path,
        help="policies to test (default: those in the directory above the cases)",
    )
    settings.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.offline.policies.cases import run_cases

    begun = time.perf_counter()
    own = sorted((data_directory("policies") / "tests").glob("*.yaml"))
    there = [file for file in own if args.policies is None or (args.policies / file.name).exists()]
    report = run_cases(_load(args.paths or there or own, args.policies, settings.declared(args)))
    if args.json:
        print_json(report)
    else:
        _print(report, time.perf_counter() - begun)
    return 1 if report.failed else 0


def _load(
    given: list[Path], policies: Path | None, attributes: tuple[str, ...] | None
) -> list[tuple[Policy, list[Case]]]:
    """The policy and the cases of every file. `attributes`: those that they may name, if that is known.

    Raises InvalidPolicy with the mistakes of all of them.
    """
    from riskd.adapters.cel_rules import CelCompiler
    from riskd.adapters.policy_file import load_cases, load_policy

    compiler, known, loaded = CelCompiler(NAMES), {}, []
    problems: dict[Problem, None] = {}
    for path in given:
        files = _files(path)
        if not files:
            problems[Problem(str(path), "has no files of cases", "name them *.yaml")] = None
        for file in files:

            def policy_of(domain: str, cases: Path = file) -> Policy:
                source = (policies or cases.parent.parent) / f"{domain}.yaml"
                if not source.exists():
                    what = f"has cases of the policy {source}, which is not there"
                    raise InvalidPolicy([Problem(str(cases), what, "name the directory of policies: --policies DIR")])
                if source not in known:
                    known[source] = load_policy(source, compiler, attributes=attributes)
                return known[source]

            try:
                loaded.append(load_cases(file, policy_of, attributes))
            except InvalidPolicy as error:
                problems |= dict.fromkeys([Problem(str(file), *_POLICY)] if _is_policy(file) else error.problems)
    if problems:
        raise InvalidPolicy(list(problems))
    return loaded


def _files(path: Path) -> list[Path]:
    """The case files that a path stands for: itself, those in it, or those in `tests` beside a policy."""
    if path.is_dir():
        inside = path / "tests"
        return sorted((inside if inside.is_dir() else path).glob("*.yaml"))
    cases = path.parent / "tests" / path.name
    return [cases if cases.is_file() else path]


def _is_policy(file: Path) -> bool:
    return file.is_file() and b"\njourneys:" in file.read_bytes()


def _print(report: CaseReport, seconds: float) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for file in dict.fromkeys(result.file for result in report.results):
        results = [result for result in report.results if result.file == file]
        failed = [result for result in results if not result.passed]
        mark = Text("failed" if failed else "passed", "bold red" if failed else "green")
        console.print(mark, f"{file}: {len(results) - len(failed)} of {len(results)}")
        for result in failed:
            console.print(_explained(result))
    for domain, rules in report.unproven.items():
        if rules:
            console.print(Text(f"{domain}: no case hits {', '.join(rules)}", "yellow"))
    counts = f"{report.passed} passed, {report.failed} failed in {seconds:.1f} s"
    console.print(Text(counts, "bold red" if report.failed else "bold green"))


def _explained(result: Result) -> str:
    rows = [f"  {result.file}:{result.line}: {result.journey}: {result.description}"]
    for difference in result.differences:
        if difference.expected[:1] in "-+" and difference.got[:1] in "-+":
            names = " ".join(filter(None, (difference.expected, difference.got)))
            rows.append(f"    {difference.part:<12} {names}")
        else:
            rows.append(f"    {difference.part:<12} expected {difference.expected}, got {difference.got}")
    return "\n".join(rows)
