"""Everything that the pages name exists: files, links, commands, make targets, settings, metrics and codes."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from grpc import StatusCode

from riskd._proto.riskd.v1 import assessment_pb2, risk_pb2
from riskd.cli.main import build_parser, main
from riskd.config import FIELDS
from riskd.core.attempt import DOMAINS, OUTCOMES
from riskd.core.context import SOURCES
from riskd.core.decide import LEARNING, RESTRICTED_METHOD
from riskd.core.features import FEATURES
from riskd.core.requirement import Tier
from riskd.metrics.table import METRICS
from riskd.server.faults import FAULTS
from riskd.shared_signals.metrics import METRICS as RECEIVER

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/**/*.md")])
MODULES = sorted(path for path in ROOT.glob("riskd/**/*.py") if "_proto" not in path.parts)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PARTS = (
    "State",
    "Question",
    "Decision",
    "Why",
    "Options",
    "Measurement",
    "What holds it",
    "What would change our mind",
)
"""The parts of a decision record, in order."""
LAWS = {
    law
    for path in ROOT.glob("tests/**/test_*.py")
    for law in re.findall(r"^(?:    )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}
REGENERATED = re.findall(r"riskd (\w+) --markdown >(\S+)", MAKEFILE)
OUTSIDE_SETTINGS = {"RISKD_CONFIG", "RISKD_PEPPER", "RISKD_STORE_PASSWORD", "RISKD_GEO_DIR", "RISKD_PORT"}
OUTSIDE_SETTINGS |= {f"RISKD_CLIENT_{flag}" for flag in ("CA", "CERT", "KEY", "TOKEN_FILE")}
"""Variables that are no settings: those that riskd reads otherwise, and RISKD_PORT, which Kubernetes sets."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def code(path: Path) -> tuple[str, ...]:
    """All text between single backticks, without code blocks."""
    plain = re.sub(r"```[^`]*```|^    [^\n]*$", "", text(path), flags=re.MULTILINE)
    return tuple(re.findall(r"`([^`\n]+)`", plain))


@cache
def blocks(path: Path) -> tuple[str, ...]:
    """All lines of shell blocks and of indented blocks."""
    shell = [line for block in re.findall(r"```sh\n(.*?)```", text(path), re.DOTALL) for line in block.splitlines()]
    plain = re.sub(r"```.*?```", "", text(path), flags=re.DOTALL)
    return (*shell, *re.findall(r"^    (\S.*)$", plain, re.MULTILINE))


@cache
def command_line() -> argparse.ArgumentParser:
    return build_parser()


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as links name them."""
    headings = re.findall(r"^#+ (.+)$", text(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def wrong(is_right: Callable[[Path, str], bool], find: Callable[[Path], Iterable[str]], *files: Path) -> list[str]:
    """What is found in these files, or in all pages, and is not right, with the name of the file."""
    return [f"{name(file)}: {found}" for file in files or PAGES for found in find(file) if not is_right(file, found)]


def test_every_relative_link_has_a_target() -> None:
    """Every relative link names an existing file and, if it has an anchor, a heading of that file."""

    def links(page: Path) -> list[str]:
        plain = re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)
        return [link for link in re.findall(r"\]\(([^)\s]+)\)", plain) if "://" not in link]

    def leads(page: Path, link: str) -> bool:
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        return target.exists() and (not anchor or anchor in anchors(target))

    assert wrong(leads, links) == []


def test_every_file_named_exists() -> None:
    """Every path in backticks below a folder of the repository exists; `*` and `<...>` stand for any name."""
    folders = "riskd|tests|docs|data|models|proto|benchmarks|deploy|requirements|third_party"

    def exists(_: Path, words: str) -> bool:
        pattern = re.sub(r"<[^>]*>", "*", words).rstrip("/")
        return any(ROOT.glob(pattern)) or any((ROOT / "proto").glob(pattern))

    assert wrong(exists, matching(rf"(?:{folders})/[\w./*<>-]+")) == []


def matching(pattern: str) -> Callable[[Path], list[str]]:
    """Finds the words in backticks that match."""
    return lambda page: [words for words in code(page) if re.fullmatch(pattern, words)]


def test_every_test_named_exists() -> None:
    """Every test that a page names exists."""
    assert wrong(lambda _, law: law in LAWS, matching(r"test_\w+")) == []


def test_every_file_of_the_flow_page_exists() -> None:
    """Every row of docs/flow.md names files that exist."""
    rows = re.findall(r"^\| .* \| (`riskd/.*`) \|$", text(ROOT / "docs" / "flow.md"), re.MULTILINE)
    files = [file for row in rows for file in re.findall(r"`([^`]+)`", row)]
    assert len(files) > 25
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_every_command_of_a_block_parses(capsys: pytest.CaptureFixture[str]) -> None:
    """The command-line parser accepts every riskd command in a shell block."""

    def commands(page: Path) -> list[str]:
        return [found[1] for line in blocks(page) if (found := re.match(r"(?:\.venv/bin/)?riskd ([^>&|#]*)", line))]

    def parses(_: Path, command: str) -> bool:
        try:
            command_line().parse_args(shlex.split(command))
        except SystemExit:
            return False
        return True

    assert wrong(parses, commands) == [], capsys.readouterr().err


def test_every_command_named_exists() -> None:
    """Every riskd command in backticks, in pages and modules, consists of existing sub-commands and flags."""

    def commands(file: Path) -> list[str]:
        return [found[1] for words in code(file) if (found := re.match(r"(?:python -m )?riskd ([^>&|]*)", words))]

    def exists(_: Path, command: str) -> bool:
        parser, words = command_line(), shlex.split(command)
        while (choices := subcommands(parser)) and words and not words[0].startswith("-") and not words[0].isupper():
            if words[0] not in choices:
                return False
            parser, words = choices[words[0]], words[1:]
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        return flags <= parser._option_string_actions.keys()

    assert wrong(exists, commands, *PAGES, *MODULES) == []


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def parsers() -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands and sub-commands, without the top-level one."""
    waiting = list(subcommands(command_line()).values())
    while waiting:
        parser = waiting.pop()
        yield parser
        waiting += subcommands(parser).values()


@pytest.mark.parametrize("parser", [*parsers()], ids=lambda parser: parser.prog)
def test_help_describes_every_command_and_argument(parser: argparse.ArgumentParser) -> None:
    """Every command has a description, and every argument has a help text."""
    assert parser.description
    silent = [action.dest for action in parser._actions if not action.help and not subcommands(parser)]
    assert silent == []
    assert parser.format_help().strip()


@pytest.mark.parametrize("parser", [*parsers()], ids=lambda parser: parser.prog)
def test_help_has_one_style(parser: argparse.ArgumentParser) -> None:
    """Descriptions are sentences, placeholders are in capitals, and exit codes begin a paragraph."""
    assert parser.description
    assert parser.description[0].isupper()
    assert parser.description.endswith((".", ")"))
    for action in parser._actions:
        if action.nargs != 0 and not action.choices:
            shown = action.metavar or action.dest.upper() if action.option_strings else action.metavar or action.dest
            assert str(shown).isupper(), f"{parser.prog} {shown}"
    told = [line for line in (parser.epilog or "").splitlines() if "xit code" in line]
    assert all(line.startswith("exit codes: 0 ") for line in told)


@pytest.mark.parametrize("parser", [*parsers()], ids=lambda parser: parser.prog)
def test_every_command_states_its_exit_codes(parser: argparse.ArgumentParser) -> None:
    """The help of every command lists its exit codes, including the one that `--exit-code` turns on."""
    if parser.get_default("handler"):
        (told,) = re.findall(r"^exit codes: 0 (.*)", parser.epilog or "", re.MULTILINE)
        assert "--exit-code" not in parser._option_string_actions or "; 1 " in told


def test_the_help_lists_every_command() -> None:
    """The help of `riskd` lists every command with its purpose."""
    parser = command_line()
    assert parser.epilog is not None
    assert set(re.findall(r"^  (\w+) +\S", parser.epilog, re.MULTILINE)) == subcommands(parser).keys()


def test_every_make_target_exists() -> None:
    """Every `make x` in the pages is a target of the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))

    def named(page: Path) -> list[str]:
        return [found[1] for words in [*code(page), *blocks(page)] if (found := re.match(r"make ([\w-]+)", words))]

    assert wrong(lambda _, target: target in targets, named) == []


def test_every_setting_exists() -> None:
    """Every setting in the pages exists, whether written as `server.port` or as `RISKD_SERVER__PORT`."""
    sections = "|".join({field.section for field in FIELDS.values()})
    fields = FIELDS.keys() | {"secrets.pepper"}
    known = {field.variable for field in FIELDS.values()} | OUTSIDE_SETTINGS | {"RISKD_SECTION__FIELD"}

    def variables(page: Path) -> list[str]:
        return [variable for words in code(page) for variable in re.findall(r"RISKD_[A-Z_]+\b(?!\*)", words)]

    assert wrong(lambda _, field: field in fields, matching(rf"(?:{sections})\.[a-z_]+")) == []
    assert wrong(lambda _, variable: variable.endswith("_") or variable in known, variables) == []


@pytest.mark.parametrize("page", [page for page in PAGES if "```mermaid" in text(page)], ids=name)
def test_every_name_in_a_diagram_exists(page: Path) -> None:
    """Every call, tier, outcome and field that a diagram names exists."""
    calls = [method.name for method in risk_pb2.DESCRIPTOR.services_by_name["RiskService"].methods]
    known = {*calls, *Tier.__members__, *OUTCOMES, *assessment_pb2.Requirement.DESCRIPTOR.fields_by_name}
    for diagram in re.findall(r"```mermaid\n(.*?)```", text(page), re.DOTALL):
        _, _, body = diagram.partition("\n")
        named = re.findall(r"\b(?:[A-Z]\w*[a-z][A-Z]\w*|[a-zA-Z]+(?:_[a-zA-Z]+)+)\b", body)
        assert {word for word in named if word not in known} == set()


def test_every_code_exists() -> None:
    """Every upper-case code in the pages is a reason, an error, a gRPC status or a tier."""
    policies = [yaml.safe_load(text(ROOT / "data" / "policies" / f"{domain}.yaml")) for domain in DOMAINS]
    known = {feature.reason for feature in FEATURES} | {f"MISSING_{source.upper()}" for source in SOURCES}
    known |= {rule["reason"] for policy in policies for rule in policy["rules"]}
    known |= FAULTS.keys() | {code.name for code in StatusCode} | Tier.__members__.keys()
    known |= {"UPPER_SNAKE", "NOT_SERVING", LEARNING.code, RESTRICTED_METHOD.code}
    form = re.compile(r"(?!RISKD_)[A-Z]+(?:_[A-Z]+)+")
    pages = [page for page in PAGES if page.parent.name != "decisions"]
    found = {words: name(page) for page in pages for words in code(page) if form.fullmatch(words)}
    assert {words: page for words, page in found.items() if words not in known} == {}


def test_every_metric_exists() -> None:
    """Every name in the pages that begins with `riskd_` or `grpc_server_` is a metric."""
    known = {metric.name for metric in (*METRICS, *RECEIVER)}
    found = {words for page in PAGES for words in code(page) if re.fullmatch(r"(?:riskd|grpc_server)_[a-z_]+", words)}
    assert {re.sub(r"_(?:bucket|count|sum)$", "", words) for words in found} - known == set()


@pytest.mark.parametrize(("command", "file"), REGENERATED)
def test_make_docs_changes_nothing(command: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every generated page is what its command prints now."""
    assert main([command, "--markdown"]) == 0
    assert capsys.readouterr().out == text(ROOT / file), f"update it: make docs ({file})"


def test_make_docs_writes_these_pages() -> None:
    """`make docs` writes the pages of features, history, settings, metrics, errors and simulation."""
    assert {file for _, file in REGENERATED} == {
        f"docs/{page}.md" for page in ("features", "history", "settings", "metrics", "errors", "simulation")
    }


def test_the_changelog_begins_with_unreleased_changes() -> None:
    """The first section of the changelog is `[Unreleased]`."""
    (first, *_) = re.findall(r"^## (.+)$", text(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert first == "[Unreleased]"


def test_the_index_of_decisions_is_complete() -> None:
    """docs/decisions/README.md lists every record once, with the record's title."""
    directory = ROOT / "docs" / "decisions"
    listed = re.findall(r"^- \[(\d{4})\]\((\S+)\) (.+)$", text(directory / "README.md"), re.MULTILINE)
    records = [(path.name[:4], path.name, text(path).partition("\n")[0]) for path in directory.glob("0*.md")]
    assert sorted((number, file, f"# {number}. {title}") for number, file, title in listed) == sorted(records)


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "decisions").glob("0*.md")), ids=name)
def test_a_decision_has_its_parts_in_order(path: Path) -> None:
    """Every decision record has a state, a question, a decision and what would change it; all its parts are in the
    common order."""
    parts = re.findall(r"^\*\*([^*.]+)\.?\*\*", text(path), re.MULTILINE)
    assert [part for part in parts if part in PARTS] == [part for part in PARTS if part in parts]
    assert {*PARTS[:3], PARTS[-1]} <= set(parts)


def test_the_concepts_page_has_every_domain_and_tier() -> None:
    """docs/concepts.md names every domain, and all tiers in their order."""
    page = text(ROOT / "docs" / "concepts.md")
    assert " < ".join(Tier.__members__) in page
    assert [domain for domain in DOMAINS if f"`{domain}`" not in page] == []
