"""The proxy's configuration agrees with riskd and with docs/http.md. tests/e2e/test_http_doc.py runs it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest

from riskd.config import Settings
from riskd.server.grpc_server import SERVICE, Options
from tests.e2e.proxy import PAGE, cluster, configuration, connections, http_filter

LIMITS: Final = dict(re.findall(r"^\| `([\w.]+)` \| (\w+) \|", PAGE, re.MULTILINE))
SHIPPED: Final = configuration()


def named(name: str, within: object) -> Iterator[object]:
    """The values of every field of this name."""
    if isinstance(within, dict):
        for key, value in within.items():
            if key == name and not isinstance(value, dict):
                yield value
            yield from named(name, value)
    elif isinstance(within, list):
        for each in within:
            yield from named(name, each)


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_of_the_page_is_in_force(name: str) -> None:
    """The page gives the name and the value of each limit as the configuration has them."""
    part = connections(SHIPPED) if name == "max_concurrent_streams" else SHIPPED  # the cluster has one of its own
    part = http_filter(part, "local_ratelimit")["descriptors"] if name == "tokens_per_fill" else part
    assert [str(value) for value in named(name, part)] == [LIMITS[name]]


def test_the_proxy_finds_riskd_where_it_is() -> None:
    """Address, service and largest message are riskd's defaults, and only its service is reachable."""
    (place,) = cluster(SHIPPED)["load_assignment"]["endpoints"][0]["lb_endpoints"]
    server = Settings().server
    assert place["endpoint"]["address"]["socket_address"] == {"address": server.host, "port_value": server.port}
    assert http_filter(SHIPPED, "buffer")["max_request_bytes"] == server.max_message_kb * 1024
    assert http_filter(SHIPPED, "grpc_json_transcoder")["services"] == [SERVICE]
    (host,) = connections(SHIPPED)["route_config"]["virtual_hosts"]
    assert {route["match"]["prefix"] for route in host["routes"]} == {f"/{SERVICE}/"}
    (check,) = cluster(SHIPPED)["health_checks"]
    assert check["grpc_health_check"]["service_name"] == SERVICE


def test_the_proxy_waits_longer_than_riskd() -> None:
    """riskd itself ends silent and old streams, so that their callers hear why."""
    (host,) = connections(SHIPPED)["route_config"]["virtual_hosts"]
    longest = host["routes"][0]["route"]["max_stream_duration"]["max_stream_duration"]
    options = Options()
    assert float(connections(SHIPPED)["stream_idle_timeout"].rstrip("s")) > options.stream_silent_s
    assert options.stream_age_s < float(longest.rstrip("s")) <= options.connection_grace_s
