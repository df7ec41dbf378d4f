"""How clients of the command line reach a service: the channel, its certificates, the caller's token."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from riskd.config import is_loopback
from riskd.core.errors import InvalidSettings, Problem


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
