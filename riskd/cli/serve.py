"""`riskd serve`: the service, until it is told to stop."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from resource import RLIMIT_CORE, setrlimit
from typing import Final

from riskd.cli.settings import add_arguments, given
from riskd.cli.version import version
from riskd.config import Settings, is_loopback

_LOG: Final = logging.getLogger("riskd.serve")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `serve`."""
    parser = commands.add_parser(
        "serve",
        description="Serve assessments over gRPC. Runs until SIGTERM or SIGINT; a second one stops at once. Policies, "
        "models and geo databases are read again when they change, or at SIGHUP; what is refused stays as it was. "
        "Where somebody activated a release, that decides instead: `riskd release`. Events go to stderr as JSON lines.",
        epilog="exit codes: 0 stopped as told; 2 refused: settings, a file that they name, or a port",
    )
    parser.add_argument("--host", help="address of the gRPC service (server.host)")
    parser.add_argument("--port", metavar="N", help="port of the gRPC service; 0 takes a free one (server.port)")
    parser.add_argument("--workers", metavar="N", help="worker processes (server.workers)")
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
    # The memory of a worker holds what no file may: subjects, addresses, peppers.
    setrlimit(RLIMIT_CORE, (0, 0))
    if not settings.server.tls_cert and not is_loopback(settings.server.host):
        _LOG.warning("plaintext", extra={"fields": {"host": settings.server.host, "remedy": "set server.tls_cert"}})
    return supervise(settings, version(), partial(_announce, settings))


def _announce(settings: Settings, facts: Mapping[str, str]) -> None:
    print(
        f"riskd serves {facts['address']}; metrics {facts['metrics']}; release {facts['release']}; {_geo(settings)}",
        flush=True,
    )


def _geo(settings: Settings) -> str:
    geo, attribution = settings.geo, Path(settings.geo.dir) / "attribution.txt"
    chosen = [Path(path).name for path in (geo.city, geo.asn, geo.anonymous) if path]
    names = chosen or sorted(path.name for path in Path(geo.dir).glob("*.mmdb"))
    if not names:
        return "geo none, so place and route are gaps: riskd geo install"
    return f"geo {', '.join(names)}" + (f" (credits: {attribution})" if attribution.is_file() else "")
