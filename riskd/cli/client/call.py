"""What every call of the command line needs: a channel, the caller's token, what an error says, and tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status.rpc_status import from_call
from rich.console import Console
from rich.table import Table
from rich.text import Text

from riskd.config import is_loopback
from riskd.core.errors import InvalidSettings, Problem

BAD_INPUT: Final = 2
NO_ANSWER: Final = 3
FAILED: Final = 1
_EXIT: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: BAD_INPUT,
    grpc.StatusCode.UNAVAILABLE: NO_ANSWER,
    grpc.StatusCode.DEADLINE_EXCEEDED: NO_ANSWER,
    grpc.StatusCode.CANCELLED: NO_ANSWER,
    grpc.StatusCode.RESOURCE_EXHAUSTED: NO_ANSWER,
}
_HINTS: Final = {
    grpc.StatusCode.UNAVAILABLE: "`riskd serve` says where it serves once it does; --target names another place, "
    "--ca is for TLS",
    grpc.StatusCode.UNIMPLEMENTED: "that is not served there: `subjects.serve` and `release.serve` say where it is",
}
"""What to look at after an error that gRPC itself makes."""


@contextmanager
def connect(args: argparse.Namespace) -> Iterator[grpc.Channel]:
    """A channel that does not wait for a server to appear. Raises InvalidSettings for unreadable files."""
    if args.ca is None:
        channel = grpc.insecure_channel(args.target)
    else:
        channel = grpc.secure_channel(
            args.target, grpc.ssl_channel_credentials(_bytes(args.ca), _bytes(args.key), _bytes(args.cert))
        )
    with channel:
        yield channel


def bearer(args: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """The metadata of a call that show the caller's token, if there is one.

    Raises InvalidSettings for an unreadable file, and for a token that would cross a network in plaintext.
    """
    token = (_bytes(args.token_file) or b"").decode("utf-8", "replace").strip()
    if args.token_file and not (token and token.isascii() and token.isprintable()):
        raise InvalidSettings([Problem(args.token_file, "holds no token", "`riskd caller new` prints one")])
    if token and args.ca is None and not _stays_here(args.target):
        what = f"would go to {args.target} in plaintext, for all on the way to read"
        raise InvalidSettings([Problem("--token-file", what, "give --ca, so that the connection is encrypted")])
    return (("authorization", f"Bearer {token}"),) if token else ()


def _stays_here(target: str) -> bool:
    return target.startswith("unix:") or is_loopback(target.rpartition(":")[0].strip("[]"))


def _bytes(file: str | None) -> bytes | None:
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InvalidSettings([Problem(file, f"cannot be read: {error.strerror}")]) from error


def failed(error: grpc.RpcError) -> int:
    """Tell why a call failed; the exit code."""
    for line in _explain(error):
        print(f"riskd: {line}", file=sys.stderr)
    return _EXIT.get(error.code(), FAILED)


def _explain(error: grpc.RpcError) -> Iterator[str]:
    """The status of a call that failed: a line for it, and one for each violation."""
    status, info, bad = from_call(error), ErrorInfo(), BadRequest()
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
        detail.Unpack(bad)
    yield (
        f"{error.code().name} {info.reason}: {error.details()}"
        if info.reason
        else f"{error.code().name}: {error.details()}"
    )
    if not info.reason and (hint := _HINTS.get(error.code())):
        yield f"  {hint}"
    for violation in bad.field_violations:
        yield f"  {violation.field}: {violation.description}"


def listed(console: Console, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table, if it has rows."""
    if rows:
        table = Table(*heads, box=None, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print()
        console.print(table)
