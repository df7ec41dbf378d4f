"""docs/tenants.md as it stands: its script, its files, its commands and its limit, with a real service and Envoy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
import pytest
import yaml

from riskd._proto.riskd.v1 import assessment_pb2, attempt_pb2, risk_pb2
from riskd.config import data_directory
from riskd.server.identity.callers import new_token, token_hash
from tests.e2e.clients import pages
from tests.e2e.proxy import Configuration, http_filter, merge, proxied
from tests.e2e.service import PATIENCE, ROOT, Service, attempt, environment, riskd, serving

PAGE: Final = (ROOT / "docs" / "tenants.md").read_text(encoding="utf-8")
ASSEMBLE, SAMPLE = pages.blocks(PAGE, "sh")
ACME, NEWCO, LIMIT = pages.blocks(PAGE, "yaml")
CALLS: Final = 8
"""Calls that the frugal proxy takes from one caller."""


def shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A script of the page, with `riskd` on the path."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "riskd").write_text(f'#!/bin/sh\nexec {sys.executable} -m riskd "$@"\n')
    (tools / "riskd").chmod(0o755)
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    return subprocess.run(
        ["sh", "-euc", script],
        cwd=folder,
        env=environment(folder, {"PATH": path, **variables}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of policies; that of customers was put together by the page's script."""
    folder = tmp_path_factory.mktemp("policies")
    shipped = data_directory("policies")
    rule = (
        "\n  - {name: office, when: lists.office && score > 0.9, then: DENY, reason: OFFICE, text: O., journeys: all}\n"
    )
    text = (shipped / "customer.yaml").read_text() + "\nlists: {office: {networks: [192.0.2.0/24]}}\n"
    (folder / "customer.yaml").write_text(text.replace("\nrules:\n", f"\nrules:{rule}", 1))
    (folder / "tenants").mkdir()
    (folder / "tenants" / "acme.yaml").write_text(ACME)
    (folder / "tenants" / "newco.yaml").write_text(NEWCO)
    done = shell(ASSEMBLE, folder)
    assert done.returncode == 0, done.stderr
    for name in ("workforce", "machine"):
        shutil.copy(shipped / f"{name}.yaml", folder / "new")
    return folder


@pytest.fixture(scope="module")
def tokens() -> dict[str, str]:
    return {name: new_token() for name in ("acme", "newco")}


@pytest.fixture(scope="module")
def service(policies: Path, tokens: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with these policies, and a caller for each tenant."""
    folder = tmp_path_factory.mktemp("service")
    callers = [
        f'[{name}]\ntoken_sha256 = ["{token_hash(token)}"]\nmethods = ["assessor"]\ntenants = ["{name}"]\n'
        for name, token in tokens.items()
    ]
    (folder / "callers.toml").write_text("\n".join(callers))
    settings = {
        "RISKD_SERVER__CALLERS": str(folder / "callers.toml"),
        "RISKD_RELEASE__POLICIES": str(policies / "new"),
    }
    with serving(folder / "state", settings=settings) as running:
        yield running


def asked(service: Service, tokens: dict[str, str], tenant: str, subject: str = "anne") -> risk_pb2.AssessResponse:
    request = attempt(subject=subject)
    request.tenant = tenant
    request.credential_result = attempt_pb2.CREDENTIAL_RESULT_SUCCEEDED
    with service.stub() as stub:
        shown = (("authorization", f"Bearer {tokens[tenant]}"),)
        return stub.Assess(request, timeout=PATIENCE, metadata=shown)


def test_a_mistake_names_its_tenant(policies: Path, tmp_path: Path) -> None:
    """The example of a mistake is what the check says, and the policy of the others is not replaced by it."""
    shutil.copy(policies / "customer.yaml", tmp_path)
    shutil.copytree(policies / "tenants", tmp_path / "tenants")
    (tmp_path / "tenants" / "acme.yaml").write_text("journeys:\n  logn: {floor: STEP_UP}\n")
    done = shell(ASSEMBLE, tmp_path)
    (said,) = re.findall(r"\*\*A mistake names its tenant\*\* \(`(.*?)`\)", PAGE)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_new_tenant_asks_each_account(service: Service, tokens: dict[str, str]) -> None:
    """With the page's section, an account without history is asked for more; at other tenants it is not."""
    tiers = {tenant: asked(service, tokens, tenant, "carl").requirement.tier for tenant in tokens}
    assert tiers == {"acme": assessment_pb2.TIER_BASELINE, "newco": assessment_pb2.TIER_STEP_UP}


def test_the_latest_lines_say_whose_flood_it_is(service: Service, tokens: dict[str, str]) -> None:
    """The page's command counts the latest decisions of each tenant while the service runs."""
    for number in range(6):
        asked(service, tokens, "newco", f"flood-{number}")
    done = shell(SAMPLE, service.state, STATE=str(service.state))
    counts = {tenant: int(count) for count, tenant in re.findall(r'(\d+) "tenant":"(\w*)"', done.stdout)}
    records = [line.tenant for line in service.decisions()]
    assert counts == {tenant: records.count(tenant) for tenant in records}
    assert max(counts, key=counts.__getitem__) == "newco"


def test_one_callers_flood_is_limited(service: Service, tokens: dict[str, str], tmp_path: Path) -> None:
    """With the page's block, the proxy refuses further calls of one caller, in JSON and in gRPC, and no other's."""

    def limited(parsed: Configuration) -> None:
        block = yaml.safe_load(LIMIT)
        block["descriptors"][1]["token_bucket"] |= {"max_tokens": CALLS, "tokens_per_fill": 1, "fill_interval": "60s"}
        merge(http_filter(parsed, "local_ratelimit"), block)

    login = {
        "domain": "IDENTITY_DOMAIN_CUSTOMER",
        "subject": "kim",
        "journey": "JOURNEY_LOGIN",
        "network": {"client_ip": "81.2.69.142"},
    }
    with proxied(tmp_path, [service.address], limited) as proxy:
        shown = {tenant: {"authorization": f"Bearer {token}"} for tenant, token in tokens.items()}
        told = [proxy.post("Assess", {**login, "tenant": "acme"}, shown["acme"])[0] for _ in range(CALLS + 2)]
        assert told == [200] * CALLS + [429] * 2
        assert proxy.post("Assess", {**login, "tenant": "newco"}, shown["newco"])[0] == 200
        request = attempt()
        request.tenant = "acme"
        with grpc.secure_channel(proxy.address, proxy.authority.trusted_by()) as channel:
            ask = channel.unary_unary(
                "/riskd.v1.RiskService/Assess", risk_pb2.AssessRequest.SerializeToString, lambda answer: answer
            )
            with pytest.raises(grpc.RpcError) as refused:
                ask(request, timeout=PATIENCE, metadata=tuple(shown["acme"].items()))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_tenant_is_erased_while_others_are_served(service: Service, tokens: dict[str, str]) -> None:
    """The page's command erases a tenant while the service runs, and nothing of another."""
    for tenant in tokens:
        asked(service, tokens, tenant)
    before = service.remembered()
    done = riskd("tenant", "erase", "acme", "--yes", state=service.state)
    assert done.returncode == 0, done.stderr
    assert "erased from the store: activity " in done.stdout
    assert "ends by itself, by 2" in done.stdout
    assert 0 < service.remembered() < before
    assert {line.tenant for line in service.decisions()} == {"acme", "newco"}, "until their segment is finished"
    assert service.stop() == 0
    assert riskd("log", "compact", state=service.state).returncode == 0
    assert {line.tenant for line in service.decisions()} == {"newco"}
