"""`riskd serve`: run the service until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from resource import RLIMIT_CORE, setrlimit
from typing import Final

from riskd.cli.settings import add_arguments, given
from riskd.config import Settings, is_loopback
from riskd.version import version

_LOG: Final = logging.getLogger("riskd.serve")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `serve`."""
    parser = commands.add_parser(
        "serve",
        description="Serve assessments over gRPC. SIGTERM or SIGINT shuts the service down gracefully; a second one "
        "stops it at once. Policies, models and geo databases are reloaded when they change, and on SIGHUP; if a new "
        "version is refused, the previous one stays in use. An activated release (`riskd release`) takes the place of "
        "the policy and model directories. The service logs to stderr as JSON lines.",
        epilog="exit codes: 0 stopped by a signal; 1 a process kept dying at the start; 2 refused: wrong settings, an "
        "unusable file, or a port in use",
    )
    parser.add_argument("--host", help="address to listen on (server.host)")
    parser.add_argument("--port", metavar="N", help="port of the gRPC service; 0 picks a free one (server.port)")
    parser.add_argument("--workers", metavar="N", help="number of worker processes (server.workers)")
    parser.add_argument("--metrics-port", metavar="N", help="port of /metrics, /healthz and /readyz (metrics.port)")
    add_arguments(parser)
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.server import json_log
    from riskd.server.processes.supervisor import supervise

    short = {
        "server.host": args.host,
        "server.port": args.port,
        "server.workers": args.workers,
        "metrics.port": args.metrics_port,
    }
    settings = given(args, short).settings
    json_log.configure(settings.server.log_level)
    # A core dump would hold subjects, addresses and peppers in clear text.
    setrlimit(RLIMIT_CORE, (0, 0))
    if not settings.server.tls_cert and not is_loopback(settings.server.host):
        _LOG.warning("plaintext", extra={"fields": {"host": settings.server.host, "remedy": "set server.tls_cert"}})
    return supervise(settings, version(), partial(_announce, settings))


def _announce(settings: Settings, facts: Mapping[str, str]) -> None:
    where = f"{facts['address']}; metrics {facts['metrics']}"
    print(f"riskd serves {where}; release {facts['release']}; {_geo(settings)}", flush=True)
    _notify(f"READY=1\nSTATUS=serves {where}")


def _notify(state: str) -> None:
    """Tell the service manager, if one started this process and wants to know (sd_notify(3))."""
    if name := os.environ.get("NOTIFY_SOCKET"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(state.encode(), f"\0{name[1:]}" if name.startswith("@") else name)


def _geo(settings: Settings) -> str:
    geo, attribution = settings.geo, Path(settings.geo.dir) / "attribution.txt"
    chosen = [Path(path).name for path in (geo.city, geo.asn, geo.anonymous) if path]
    names = chosen or sorted(path.name for path in Path(geo.dir).glob("*.mmdb"))
    if not names:
        return "geo none (place and route are gaps; run `riskd geo install`)"
    return f"geo {', '.join(names)}" + (f" (credits: {attribution})" if attribution.is_file() else "")
