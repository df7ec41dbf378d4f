"""Deployment files agree with the code: their settings, ports, paths and rules exist."""

from __future__ import annotations

import configparser
import json
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml
from msgspec.structs import replace

from deploy import sbom
from riskd.cli.main import build_parser
from riskd.config import FIELDS, Settings
from riskd.shared_signals import push
from riskd.shared_signals.poll import SECONDS
from riskd.wiring import load_release
from tests.e2e.service import PATIENCE, serving

ROOT = Path(__file__).parents[2]
CONTAINER = (ROOT / "deploy" / "container" / "Containerfile").read_text(encoding="utf-8")
UNIT_FILE = ROOT / "deploy" / "systemd" / "riskd.service"
EVENTS_FILE = UNIT_FILE.with_name("riskd-events.service")
KUBERNETES = ROOT / "deploy" / "kubernetes"
MANIFESTS = sorted(path for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")
OBJECTS: list[dict[str, Any]] = [
    each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
VARIABLES = {field.variable for field in FIELDS.values()}
ACCEPTABLE = re.compile(r"MIT|BSD|Apache|Python Software Foundation|PSF|OLDAP|ISC|Zlib|CC0|0BSD|MPL|Mozilla|Unlicense")
"""Licences that require no more than keeping notices. MPL covers changes to its own files only."""
BINDING = re.compile(r"\b(A|L)?GPL|GNU|SSPL|BUSL|Business Source|EUPL|CPAL|Commons Clause")
SAID_ELSEWHERE = {"atheris": "Apache-2.0", "cel-python": "Apache-2.0"}
"""Packages without a licence in their metadata, with the licence of their repository."""


def one(kind: str, name: str = "riskd") -> dict[str, Any]:
    """The object of this kind and name."""
    (found,) = [each for each in OBJECTS if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


POD = one("StatefulSet")["spec"]["template"]
(RISKD,) = POD["spec"]["containers"]
EVENTS = one("Deployment", "riskd-events")["spec"]["template"]
GIVEN = tomllib.loads((KUBERNETES / "riskd.toml").read_text(encoding="utf-8"))
KUSTOMIZATION = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Containerfile as keyword and rest, without comments, with lines joined."""
    text = re.sub(r"^#.*\n", "", CONTAINER, flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())]


def test_the_container_is_small_and_not_root() -> None:
    """The image has two stages, hash-checked packages and a numeric user; its last stage has no compiler and no pip."""
    words = [word for word, _ in instructions()]
    assert words.count("FROM") == 2
    last = instructions()[len(words) - words[::-1].index("FROM") - 1 :]
    assert ("USER", "10001:10001") in last
    assert last.index(("USER", "10001:10001")) < [word for word, _ in last].index("ENTRYPOINT")
    assert "--require-hashes" in CONTAINER
    assert "pip uninstall --yes setuptools pip" in CONTAINER
    assert not [rest for word, rest in last if word == "RUN" and "pip" in rest]
    assert "ADD" not in words


def test_everything_the_container_copies_exists() -> None:
    """Every copied source exists in a clean checkout and passes the ignore file."""
    ignored = (ROOT / "deploy" / "container" / "Containerfile.dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*"
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert f"!{source.split('/')[0]}" in ignored or f"!{source}" in ignored
                assert (ROOT / source).exists(), source


def test_the_container_has_what_a_checkout_has(tmp_path: Path) -> None:
    """A wheel of the copied sources alone has every file that a wheel of the checkout has."""
    sources = tmp_path / "sources"
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            *copied, _ = rest.split()
            for source in copied:
                command: list[str | Path] = ["cp", "--recursive", "--parents", source, sources]
                sources.mkdir(exist_ok=True)
                subprocess.run(command, cwd=ROOT, check=True)
    files = []
    for folder, wheels in ((ROOT, tmp_path / "whole"), (sources, tmp_path / "copied")):
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", wheels]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        (wheel,) = wheels.glob("*.whl")
        files.append({entry.filename: entry.CRC for entry in ZipFile(wheel).infolist()})
    assert files[0] == files[1]
    assert "riskd/_data/policies/customer.yaml" in files[0]


def test_the_container_says_what_riskd_understands() -> None:
    """Its variables are settings, its ports the defaults, its command valid, and its health check asks the right
    port, which the page names for the receiver."""
    said = [rest for word, rest in instructions() if word == "ENV"]
    assert set(re.findall(r"RISKD_\w+", " ".join(said))) <= VARIABLES
    ports = next(rest for word, rest in instructions() if word == "EXPOSE").split()
    assert ports == [str(Settings().server.port), str(Settings().metrics.port)]
    assert f"127.0.0.1:{Settings().metrics.port}/readyz" in CONTAINER
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"`--metrics-port {Settings().metrics.port}`: the image's health check asks" in page
    command = json.loads(next(rest for word, rest in instructions() if word == "CMD"))
    assert build_parser().parse_args(command).handler.__module__ == "riskd.cli.serve"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_listed(path: Path) -> None:
    """kustomize applies each manifest except the optional ones; every object has the name and label of its part."""
    assert path.name in KUSTOMIZATION["resources"] or path.name in ("monitoring.yaml", "events.yaml")
    for each in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        name = "riskd-events" if each["metadata"]["name"] == "riskd-events" else "riskd"
        assert each["metadata"]["labels"] == {"app.kubernetes.io/name": name}
        assert "namespace" not in each["metadata"]


@pytest.mark.parametrize("pod", [POD, EVENTS], ids=["riskd", "riskd-events"])
def test_pods_have_no_rights(pod: dict[str, Any]) -> None:
    """Pods run as non-root with a read-only root file system, no capabilities, no token, and the default seccomp
    profile."""
    spec, container = pod["spec"], pod["spec"]["containers"][0]["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}" in CONTAINER


def test_the_settings_in_kubernetes_are_settings() -> None:
    """Each key is a setting, and every file that the settings name is on a volume of the pod, as is their own, which
    commands find without being told."""
    keys = {f"{section}.{name}": value for section, table in GIVEN.items() for name, value in table.items()}
    assert set(keys) <= set(FIELDS)
    mounts = {mount["mountPath"] for mount in RISKD["volumeMounts"]}
    files = [str(value) for value in keys.values() if str(value).startswith("/")]
    assert len(files) == 6
    assert all(str(Path(file).parent) in mounts for file in files)
    volumes = {volume["name"] for volume in POD["spec"]["volumes"]}
    claims = {claim["metadata"]["name"] for claim in one("StatefulSet")["spec"]["volumeClaimTemplates"]}
    assert {mount["name"] for mount in RISKD["volumeMounts"]} == volumes | claims
    (generated,) = KUSTOMIZATION["configMapGenerator"]
    (settings,) = [volume for volume in POD["spec"]["volumes"] if "configMap" in volume]
    assert (generated["name"], generated["files"]) == (settings["configMap"]["name"], ["riskd.toml"])
    (place,) = [mount["mountPath"] for mount in RISKD["volumeMounts"] if mount["name"] == settings["name"]]
    assert RISKD["env"] == [{"name": "RISKD_CONFIG", "value": f"{place}/riskd.toml"}]
    assert build_parser().parse_args(RISKD["args"]).handler.__module__ == "riskd.cli.serve"


def test_policies_lie_beside_the_settings_in_kubernetes(tmp_path: Path) -> None:
    """A ConfigMap is one directory: riskd takes its policies from there, and nothing else."""
    for file in (KUBERNETES / "riskd.toml", *(ROOT / "data" / "policies").glob("*.yaml")):
        shutil.copy(file, tmp_path)
    shipped = Settings()
    own = replace(shipped, release=replace(shipped.release, policies=str(tmp_path)))
    assert load_release(own).policies.keys() == load_release(shipped).policies.keys()


def test_there_is_time_to_drain() -> None:
    """Kubernetes and systemd wait longer than a graceful shutdown may take."""
    server = GIVEN["server"]
    assert POD["spec"]["terminationGracePeriodSeconds"] > server["lame_duck_s"] + server["grace_s"] + 5
    defaults = Settings().server
    assert int(unit()["Service"]["TimeoutStopSec"]) > defaults.lame_duck_s + defaults.grace_s + 5


def test_ports_and_probes_are_those_of_riskd() -> None:
    """Port names lead to the ports that riskd listens on, and probes to its pages."""
    ports = {port["name"]: port["containerPort"] for port in RISKD["ports"]}
    assert ports == {"grpc": Settings().server.port, "metrics": Settings().metrics.port}
    probes = {kind: RISKD[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in probes.values()} == {"metrics"}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/healthz",
    }
    (port,) = one("Service")["spec"]["ports"]
    assert port["targetPort"] in ports
    named = [port["port"] for rule in one("NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]]
    assert named == ["grpc", "metrics"]


def test_everything_selects_the_same_pods() -> None:
    """Service, disruption budget, network policy, StatefulSet and autoscaler select the same pods, and the pods request
    CPU for the autoscaler."""
    labels = POD["metadata"]["labels"]
    assert one("Service")["spec"]["selector"] == labels
    for kind in ("StatefulSet", "PodDisruptionBudget"):
        assert one(kind)["spec"]["selector"]["matchLabels"] == labels
    assert one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == one("StatefulSet")["metadata"]["name"]
    assert RISKD["resources"]["requests"]["cpu"] == str(GIVEN["server"]["workers"])


def test_replicas_outlive_rollouts_and_zones() -> None:
    """Nothing but the autoscaler sets the number of replicas, they are spread over zones and machines, and a rollout
    leaves clients time to look up addresses, as gRPC does every 30 s at most."""
    spec = one("StatefulSet")["spec"]
    assert "replicas" not in spec
    assert one("HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 3
    assert spec["minReadySeconds"] > 30
    spread = [each["topologyKey"] for each in POD["spec"]["topologySpreadConstraints"]]
    assert spread == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_the_rules_are_those_of_prometheus() -> None:
    """The rules for the Prometheus operator are generated from the plain files and up to date
    (deploy/kubernetes/generate.py)."""
    made = runpy.run_path(str(KUBERNETES / "generate.py"))
    assert (KUBERNETES / "monitoring.yaml").read_text(encoding="utf-8") == made["page"]()


def test_the_receiver_starts_where_it_is_wanted() -> None:
    """The receiver's flags are valid, its files are on its volume, its ports match, and it stops in time."""
    (container,) = EVENTS["spec"]["containers"]
    parsed = build_parser().parse_args(container["args"])
    assert parsed.handler.__module__ == "riskd.cli.events.receive"
    (mount,) = container["volumeMounts"]
    files = [parsed.streams, parsed.ca, parsed.token_file]
    assert {str(Path(file).parent) for file in files} == {mount["mountPath"]}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"push": parsed.push_port, "metrics": parsed.metrics_port}
    assert parsed.target == f"{one('Service')['metadata']['name']}:{Settings().server.port}"
    labels = EVENTS["metadata"]["labels"]
    assert labels["riskd.dev/caller"] == "true"
    selector = {"app.kubernetes.io/name": "riskd-events"}
    assert one("Service", "riskd-events")["spec"]["selector"] == selector
    assert one("NetworkPolicy", "riskd-events")["spec"]["podSelector"]["matchLabels"] == selector
    assert selector.items() <= labels.items()
    slowest = SECONDS + push.SECONDS + parsed.timeout
    assert EVENTS["spec"]["terminationGracePeriodSeconds"] >= slowest
    assert int(unit(EVENTS_FILE)["Service"]["TimeoutStopSec"]) >= slowest


def test_the_unit_of_the_receiver_starts_what_there_is() -> None:
    """The unit's command is a riskd command, and its token is passed in a variable that clients read."""
    service = unit(EVENTS_FILE)["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert program == "/opt/riskd/bin/riskd"
    assert build_parser().parse_args(arguments).handler.__module__ == "riskd.cli.events.receive"
    assert service["Environment"] == "RISKD_CLIENT_TOKEN_FILE=%d/caller"
    assert service["LoadCredential"].startswith("caller:")


def test_an_image_may_be_a_receiver() -> None:
    """The requirements of the receiver include those of the service, at the same versions."""
    run, events = (
        set(re.findall(r"^([\w.-]+==\S+)", (ROOT / "requirements" / file).read_text(encoding="utf-8"), re.MULTILINE))
        for file in ("run.txt", "events.txt")
    )
    assert run < events
    assert {each.partition("==")[0] for each in events - run} >= {"joserfc", "cryptography"}


def unit(file: Path = UNIT_FILE) -> configparser.ConfigParser:
    """The parsed unit; of repeated keys, the last counts."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]  # keys of systemd have capitals
    parser.read(file)
    return parser


def test_the_unit_starts_what_there_is() -> None:
    """The unit's command and variables are riskd's, a reload is SIGHUP, and only the supervisor gets SIGTERM."""
    service = unit()["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert program == "/opt/riskd/bin/riskd"
    assert build_parser().parse_args(arguments).handler.__module__ == "riskd.cli.serve"
    variables = re.findall(r"^Environment=(RISKD_\w+)=", UNIT_FILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert variables
    assert set(variables) <= VARIABLES
    assert (service["ExecReload"], service["KillMode"]) == ("/bin/kill -HUP $MAINPID", "mixed")
    assert service["User"] == "riskd"


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_when_every_worker_serves(tmp_path: Path, abstract: bool) -> None:
    """The unit waits for a notification (`Type=notify`), and riskd sends it once it serves: so a start that fails is a
    command that fails. The socket is a file or an abstract address (`@`). A start may read a large store, and systemd
    neither interrupts one nor stops trying."""
    service, listening = unit()["Service"], f"{'@' * abstract}{tmp_path}/notify"
    assert (service["Type"], service["TimeoutStartSec"], service["Restart"]) == ("notify", "infinity", "always")
    assert {unit(file)["Unit"]["StartLimitIntervalSec"] for file in (UNIT_FILE, EVENTS_FILE)} == {"0"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{listening[1:]}" if abstract else listening)
        manager.settimeout(PATIENCE)
        with serving(tmp_path / "state", workers=2, settings={"NOTIFY_SOCKET": listening}) as running:
            heard = manager.recv(4096).decode()
            assert running.get("/readyz") == (200, "ready\n")
    assert heard == f"READY=1\nSTATUS=serves {running.address}; metrics {running.metrics}"


def test_the_journal_gets_the_priority_of_each_event(tmp_path: Path) -> None:
    """Lines to the journal begin with their priority, so that it can be asked for warnings. Lines to elsewhere do not,
    even if the journal is where the service manager would have sent them."""
    log = tmp_path / "events.jsonl"
    for stream in ("here", "elsewhere"):
        log.touch()
        found = log.stat()
        journal = f"{found.st_dev}:{found.st_ino if stream == 'here' else 0}"
        with serving(tmp_path, settings={"JOURNAL_STREAM": journal}):
            lines = log.read_text(encoding="utf-8").splitlines()
        priorities = {json.loads(line[line.index("{") :])["event"]: line.partition("{")[0] for line in lines}
        expected = (
            {"development_pepper": "<4>", "store_begun": "<6>", "serving": "<6>"}
            if stream == "here"
            else {"serving": ""}
        )
        assert priorities == expected


def packages(*names: str) -> dict[str, str]:
    """Licences of the locked packages that are installed, by package."""
    locked = {
        name
        for file in names
        for name in re.findall(
            r"^([\w.-]+)==", (ROOT / "requirements" / file).read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    command = [Path(sys.executable).with_name("pip-licenses"), "--from=mixed", "--format=json", "--packages", *locked]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {each["Name"]: SAID_ELSEWHERE.get(each["Name"], each["License"]) for each in json.loads(done.stdout)}


def test_no_licence_binds_those_who_use_riskd() -> None:
    """Every package installed to run, train or test riskd has a known, permissive licence."""
    found = packages("run.txt", "events.txt", "dev.txt")
    assert len(found) > 60
    assert {name: text for name, text in found.items() if not ACCEPTABLE.search(text)} == {}
    assert {name: text for name, text in found.items() if BINDING.search(text)} == {}


def test_the_bill_of_materials_says_what_needs_what() -> None:
    """Every locked package is listed with its hashes, and is needed by riskd, by another package or for building."""
    told = sbom.bill()
    names = {each["bom-ref"]: each["name"] for each in told["components"]}
    assert all(each["externalReferences"][0]["hashes"] for each in told["components"])
    needs = {each["ref"]: each["dependsOn"] for each in told["dependencies"]}
    assert needs.keys() == names.keys() | {sbom.ROOT}
    builds = {ref for ref, name in names.items() if name == "hatchling"}
    reached, next_ones = set[str](), {sbom.ROOT, *builds}
    while next_ones:
        reached |= next_ones
        next_ones = {need for ref in next_ones for need in needs[ref]} - reached
    assert {names[ref] for ref in names.keys() - reached} == set()
