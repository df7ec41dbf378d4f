"""Limits that keep the code small: sizes of modules and functions, comments, docstrings, and constructs that a module
must not use."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for path in (ROOT / "riskd").rglob("*.py") if "_proto" not in path.parts and path.stat().st_size)
CORE = [path for path in MODULES if path.is_relative_to(ROOT / "riskd/core")]
BROAD_EXCEPT = {
    "riskd/server/calls/boundary.py",  # the RPC boundary: an error of ours becomes INTERNAL and is counted
    "riskd/server/calls/streaming.py",  # the same for each attempt of a stream
    "riskd/host/background.py",  # background work: one failure must not end the thread
}
VAGUE_NAMES = {"base", "common", "helper", "helpers", "lib", "manager", "misc", "shared", "util", "utils"}
IMPURE_BUILTINS = {"__import__", "breakpoint", "compile", "eval", "exec", "input", "open", "print"}

SILENT = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), name(path))


def functions() -> Iterator[tuple[str, int]]:
    """Every function, with its length in lines without its docstring."""
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, Function):
                yield f"{name(path)}:{node.lineno} {node.name}", len(span(node)) - len(prose(node))


def span(node: ast.stmt) -> set[int]:
    """The line numbers of a statement."""
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def prose(*nodes: ast.AST) -> set[int]:
    """The line numbers of the docstrings of these nodes and of the strings below fields."""
    statements = (entry for node in nodes if isinstance(node, Documented) for entry in node.body)
    return {line for entry in statements if is_text(entry) for line in span(entry)}


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def proportions(path: Path) -> tuple[int, int, int]:
    """The numbers of lines of code, of comments and of docstrings."""
    documented = prose(*ast.walk(tree(path)))
    tokens = list(tokenize.generate_tokens(io.StringIO(path.read_text()).readline))
    spoken = (token for token in tokens if token.type not in SILENT)
    code = {line for token in spoken for line in range(token.start[0], token.end[0] + 1)}
    comments = sum(token.type == tokenize.COMMENT for token in tokens)
    return len(code - documented), comments, len(documented)


def check_spread(sizes: Sequence[int], at_most_median: float, at_most_p90: float) -> None:
    assert median(sizes) <= at_most_median
    assert quantiles(sizes, n=10, method="inclusive")[-1] <= at_most_p90


def test_modules_are_short() -> None:
    """A module has at most 400 lines; the median at most 120, the 90th percentile at most 300."""
    sizes = {name(path): len(path.read_text().splitlines()) for path in MODULES}

    assert {path: size for path, size in sizes.items() if size > 400} == {}
    check_spread(list(sizes.values()), 120, 300)


def test_functions_are_short() -> None:
    """A function has at most 60 lines; the median at most 8, the 90th percentile at most 30."""
    sizes = dict(functions())

    assert {function: size for function, size in sizes.items() if size > 60} == {}
    check_spread(list(sizes.values()), 8, 30)


def test_comments_are_few() -> None:
    """At most 8 lines in a hundred of a module have a comment; a short module may have two."""
    figures = {name(path): proportions(path) for path in MODULES}

    assert {path: comments for path, (code, comments, _) in figures.items() if comments > max(2, 0.08 * code)} == {}


def test_docstrings_are_neither_few_nor_many() -> None:
    """The public modules together have 10 to 40 lines of docstring for every hundred lines of code."""
    figures = [proportions(path) for path in MODULES if not path.name.startswith("_")]

    assert 0.10 <= sum(documented for *_, documented in figures) / sum(code for code, *_ in figures) <= 0.40


def test_broad_excepts_are_few() -> None:
    """Only the RPC boundary, for calls and for streams, and background work catch every exception, each in one
    place."""
    broad = [
        name(path)
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or {"Exception", "BaseException"} & names(node.type))
    ]

    assert set(broad) <= BROAD_EXCEPT
    assert len(broad) == len(set(broad))


def names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def test_core_calls_no_impure_builtin() -> None:
    """The core calls no builtin that does I/O, imports or evaluates code; import contracts cannot check this."""
    calls = {
        f"{name(path)}: {node.func.id}"
        for path in CORE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_BUILTINS
    }

    assert calls == set()


def test_values_are_frozen() -> None:
    """Every Struct is frozen, so that no thread can change a value that another reads."""
    thawed = [
        f"{name(path)}: {node.name}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        and any("Struct" in ast.unparse(base) for base in node.bases)
        and not any(keyword.arg == "frozen" and ast.unparse(keyword.value) == "True" for keyword in node.keywords)
    ]

    assert thawed == []


def test_no_module_has_a_vague_name() -> None:
    """No module or package has a name such as `utils` or `common`, which does not say what is inside."""
    assert [name(path) for path in MODULES if path.stem in VAGUE_NAMES or path.parent.name in VAGUE_NAMES] == []
