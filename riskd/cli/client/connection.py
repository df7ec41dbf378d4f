"""How commands reach a running service: the channel, its certificates, and the caller's token."""

from __future__ import annotations

import argparse
import json
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc

from riskd.cli.terminal import reading
from riskd.config import is_loopback
from riskd.core.errors import InvalidSettings, Problem

_RETRY: Final = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
PATIENT: Final = (("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": _RETRY}]})),)
"""Channel options with which gRPC retries a call while the service is too busy for it. For the demo, which can wait."""


@contextmanager
def connect(args: argparse.Namespace, options: Sequence[tuple[str, int | str]] = ()) -> Iterator[grpc.Channel]:
    """A channel to `--target`, which need not be up yet. It is plaintext without `--ca` and on a Unix socket.

    Raises InvalidSettings for a target without a port, and for certificates and keys that cannot be used.
    """
    problems = [*_target(args.target), *([] if args.target.startswith("unix:") else _identity(args))]
    if problems:
        raise InvalidSettings(problems)
    if args.ca is None or args.target.startswith("unix:"):
        channel = grpc.insecure_channel(args.target, options)
    else:
        channel = grpc.secure_channel(
            args.target, grpc.ssl_channel_credentials(_bytes(args.ca), _bytes(args.key), _bytes(args.cert)), options
        )
    with channel:
        yield channel


def call_metadata(args: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """The metadata that carry the caller's token in a call; empty without `--token-file`.

    Raises InvalidSettings if the file is unreadable, or if the token would cross a network in plaintext.
    """
    token = (_bytes(args.token_file) or b"").decode("utf-8", "replace").strip()
    if args.token_file and not (token and token.isascii() and token.isprintable()):
        raise InvalidSettings([Problem(args.token_file, "holds no token", "`riskd caller new` creates one")])
    if token and args.ca is None and not _stays_here(args.target):
        what = f"would be sent to {args.target} in plaintext"
        raise InvalidSettings([Problem("--token-file", what, "give --ca, so that the connection is encrypted")])
    return (("authorization", f"Bearer {token}"),) if token else ()


def _target(target: str) -> Iterator[Problem]:
    """A problem if the target has no port: gRPC would use 443."""
    host, _, port = target.rpartition(":")
    bare_ipv6 = ":" in host and not host.startswith("[")
    named = "://" in target or target.startswith(("unix", "dns:", "ipv4:", "ipv6:"))
    if not named and (not host or bare_ipv6 or not port.isdecimal()):
        yield Problem("--target", f"{target!r} is not HOST:PORT", "write 127.0.0.1:50551, or [::1]:50551")


def _identity(args: argparse.Namespace) -> Iterator[Problem]:
    """The problems of the certificates and the key. gRPC explains little, and aborts if the key is missing."""
    if args.ca is None:
        if args.cert or args.key:
            yield Problem("--cert" if args.cert else "--key", "is not used without TLS", "give --ca, too")
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Comments beside the certificates may be in any language.
        context.load_verify_locations(cadata=(_bytes(args.ca) or b"").decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        remedy = "name the PEM certificate of the authority that signed the server's certificate"
        yield Problem(args.ca, "holds no PEM certificate", remedy)
    yield from load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), (args.cert, args.key), ("--cert", "--key"))


def load_pair(
    context: ssl.SSLContext, pair: tuple[str | None, str | None], flags: tuple[str, str]
) -> Iterator[Problem]:
    """Load a certificate and its key into the context, if both are given. Yields why that cannot be done.

    Raises InvalidSettings if a file cannot be read.
    """
    certificate, key = pair
    if bool(certificate) != bool(key):
        given, other = flags if certificate else flags[::-1]
        yield Problem(given, f"needs {other}", "give both, or neither")
    elif certificate:
        _bytes(certificate), _bytes(key)
        try:
            context.load_cert_chain(certificate, key, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            why = (getattr(error, "reason", "") or "not PEM").lower().replace("_", " ")
            remedy = "both must be PEM, belong together, and the key must have no password"
            yield Problem(certificate, f"and its key {key} cannot be used: {why}", remedy)


def _stays_here(target: str) -> bool:
    return target.startswith("unix:") or is_loopback(target.rpartition(":")[0].strip("[]"))


def _bytes(file: str | None) -> bytes | None:
    if file is None:
        return None
    with reading(file):
        return Path(file).read_bytes()
