"""A running Envoy with `deploy/envoy/envoy.yaml`, on free ports of loopback."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import yaml
from msgspec import Struct

from tests.e2e.clients.pages import commands
from tests.e2e.service import PATIENCE, ROOT, eventually
from tests.security.authority import Authority

PAGE: Final = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
FILE: Final = ROOT / "deploy" / "envoy" / "envoy.yaml"
FOLDER: Final = "/etc/envoy/"
"""Where the configuration expects its files."""
ENVOY: Final = str(Path(sys.executable).with_name("envoy"))
SERVICE: Final = "riskd.v1.RiskService"
Configuration = dict[str, Any]
Change = Callable[[Configuration], object]


def configuration() -> Configuration:
    """The configuration as it is shipped."""
    parsed = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert isinstance(parsed, dict)
    return parsed


def listener(parsed: Configuration) -> Any:  # noqa: ANN401 - YAML
    return parsed["static_resources"]["listeners"][0]


def connections(parsed: Configuration) -> Any:  # noqa: ANN401 - YAML
    """The part that handles HTTP."""
    return listener(parsed)["filter_chains"][0]["filters"][0]["typed_config"]


def transport(parsed: Configuration) -> Any:  # noqa: ANN401 - YAML
    """The part that handles TLS."""
    return listener(parsed)["filter_chains"][0]["transport_socket"]["typed_config"]


def http_filter(parsed: Configuration, name: str) -> Any:  # noqa: ANN401 - YAML
    (found,) = [each for each in connections(parsed)["http_filters"] if each["name"] == f"envoy.filters.http.{name}"]
    return found["typed_config"]


def cluster(parsed: Configuration) -> Any:  # noqa: ANN401 - YAML
    return parsed["static_resources"]["clusters"][0]


def merge(into: Configuration, other: Mapping[str, Any]) -> None:
    """Add the fields of a block, as a reader of the page would."""
    for name, value in other.items():
        if isinstance(value, dict) and name in into:
            merge(into[name], value)
        else:
            into[name] = value


def command(*begin: str) -> list[str]:
    """The words of the page's only command that begins like this."""
    (found,) = [words for words in commands(PAGE) if words[: len(begin)] == [*begin]]
    return found


def describe(folder: Path) -> None:
    """Write the description of the messages with the page's command."""
    _, *words = command("python", "-m", "grpc_tools.protoc")
    made = [word.replace(FOLDER, f"{folder}/") for word in words]
    subprocess.run([sys.executable, *made], cwd=ROOT, check=True, timeout=PATIENCE)


def moved(parsed: Configuration, folder: Path) -> str:
    """The configuration with its files in a folder, as JSON, which is YAML."""
    return json.dumps(parsed).replace(FOLDER, f"{folder}/")


class Proxy(Struct, frozen=True):
    """An Envoy that is ready."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    """Its files, with `ca.crt` for clients."""
    authority: Authority

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.address}"

    def trust(self) -> ssl.SSLContext:
        """TLS of a client that trusts the authority."""
        return ssl.create_default_context(cadata=self.authority.certificate.decode())

    def post(
        self, method: str, message: object, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], str]:
        """Status, headers and body of a call in JSON; `message` is sent as it is if it is text."""
        said = message if isinstance(message, str) else json.dumps(message)
        named = {"content-type": "application/json", **(headers or {})}
        request = urllib.request.Request(f"{self.url}/{SERVICE}/{method}", said.encode(), named)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE, context=self.trust()) as answer:
                return answer.status, dict(answer.headers), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read().decode()

    def page(self, path: str) -> str:
        """A page of Envoy itself."""
        url = f"http://{(self.folder / 'admin').read_text(encoding='ascii')}{path}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return str(answer.read().decode())

    def healthy(self) -> int:
        """The number of services that answer its health checks."""
        metrics = self.page("/stats/prometheus")
        (found,) = re.findall(r"^envoy_cluster_membership_healthy\S+ (\d+)$", metrics, re.MULTILINE)
        return int(found)


@contextmanager
def proxied(folder: Path, services: Sequence[str], *changes: Change, ready: bool = True) -> Iterator[Proxy]:
    """An Envoy in front of services at these addresses, with these changes of the configuration."""
    authority, parsed = Authority(), configuration()
    folder.mkdir(parents=True, exist_ok=True)
    describe(folder)
    issued = authority.issue("localhost", hosts=["127.0.0.1", "localhost"])
    (folder / "tls.crt").write_bytes(issued.certificate)
    (folder / "tls.key").write_bytes(issued.key)
    (folder / "ca.crt").write_bytes(authority.certificate)
    places = [{"endpoint": {"address": socket_address(*each.rsplit(":", 1))}} for each in services]
    cluster(parsed)["load_assignment"]["endpoints"] = [{"lb_endpoints": places}]
    with ExitStack() as stack:
        port = stack.enter_context(reserved()).getsockname()[1]
        listener(parsed)["address"] = socket_address("127.0.0.1", str(port))
        parsed["admin"]["address"] = socket_address("127.0.0.1", "0")
        for change in changes:
            change(parsed)
        (folder / "envoy.yaml").write_text(moved(parsed, folder), encoding="utf-8")
        log = stack.enter_context((folder / "envoy.log").open("wb"))
        files = ["--config-path", str(folder / "envoy.yaml"), "--admin-address-path", str(folder / "admin")]
        options = ["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"]
        process = stack.enter_context(subprocess.Popen([ENVOY, *files, *options], stdout=log, stderr=log))
        stack.callback(process.kill)
        proxy = Proxy(process, port, folder, authority)
        eventually(lambda: started(proxy, len(services) if ready else 0))
        yield proxy
        assert process.poll() is None, (folder / "envoy.log").read_text(encoding="utf-8")


def started(proxy: Proxy, healthy: int) -> bool:
    """Whether Envoy serves, with so many healthy services."""
    assert proxy.process.poll() is None, "Envoy ended; see envoy.log"
    with suppress(OSError, ValueError):  # no file yet, an empty one, or no answer
        return proxy.page("/ready") == "LIVE\n" and proxy.healthy() >= healthy
    return False


@contextmanager
def reserved() -> Iterator[socket.socket]:
    """A free port that nobody else is given. It is bound and does not listen; Envoy may bind it as well."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield held


def socket_address(host: str, port: str) -> Configuration:
    return {"socket_address": {"address": host, "port_value": int(port)}}
