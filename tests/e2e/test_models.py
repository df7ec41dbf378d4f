"""Models of a service: trusted signatures, challengers in shadow, and drift."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from riskd._proto.riskd.v1 import risk_pb2
from riskd.adapters.model_file import read_forest, read_signature, seal
from riskd.core.activation import ActivationRequest
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidFile
from riskd.core.features import DEFINITIONS, NAMES
from riskd.core.record import ShadowRecord
from tests.e2e.service import START, attempt, eventually, reload, riskd, serving, told
from tests.models.stories import MODELS, champions
from tests.offline.drift.world import rows, write
from tests.releases.candidates import policies, releases


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return champions(tmp_path / "models")


def signed(models: Path, state: Path) -> str:
    """Sign every champion with the command line, and return the public key."""
    key = state / "key.pem"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    bundles = [str(models / domain / (models / domain / "champion").read_text().strip()) for domain in DOMAINS]
    done = riskd("model", "sign", "--key", str(key), *bundles, state=state)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def test_with_trusted_keys_unsigned_models_are_refused(models: Path, tmp_path: Path) -> None:
    """With trusted keys, unsigned models are refused at start and reload with a remedy, and the last good ones stay in
    use."""
    public = signed(models, tmp_path)
    settings = {"RISKD_RELEASE__MODELS": str(models), "RISKD_MODELS__TRUSTED_KEYS": f"{'0' * 64},{public}"}
    signature = models / "machine" / (models / "machine" / "champion").read_text().strip() / "signature.json"
    with serving(tmp_path / "state", settings=settings) as service:
        first = service.assess(attempt()).release
        content = signature.read_bytes()
        signature.unlink()
        problems = str(reload(service, "reload_refused")["problems"])
        assert f"{signature}: is missing, and models.trusted_keys requires signed bundles" in problems
        assert "riskd model sign --key" in problems
        assert service.assess(attempt()).release == first
        signature.write_bytes(content)
        assert reload(service, "reloaded")["release"] == first
    signature.unlink()
    done = riskd(*START, state=tmp_path, settings=settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert [problem.startswith(str(signature)) for problem in told(done.stderr)] == [True]


def test_a_release_of_models_that_are_not_trusted_is_neither_made_nor_activated(models: Path, tmp_path: Path) -> None:
    """With trusted keys, a release of unsigned models cannot be created or activated, even if it existed before."""
    state, rules = tmp_path / "state", policies(tmp_path / "policies", "2m")
    before = releases(state).create(rules, models, "test", "").id
    public = signed(models, tmp_path)
    now = releases(state, **{"models.trusted_keys": public})
    for work in (
        lambda: now.create(rules, MODELS, "test", ""),
        lambda: now.activate(ActivationRequest(release=before, actor="test")),
    ):
        with pytest.raises(InvalidFile, match="requires signed bundles"):
            work()
    assert now.activate(ActivationRequest(release=now.create(rules, models, "test", "").id, actor="test")).late == ()
    assert read_signature(now.files.folders(now.all()[0].id)[1] / "machine" / "hand-set-2") is not None


def test_a_challenger_is_scored_in_shadow_by_one_command(models: Path, tmp_path: Path) -> None:
    """One command puts a challenger in shadow, where it only logs; after promotion it decides."""
    candidate = copytree(models / "customer" / "hand-set-4", models / "customer" / "candidate")
    document = read_forest(candidate)
    (candidate / "forest.json").write_bytes(
        msgspec.json.encode(msgspec.structs.replace(document, baseline=document.baseline + 2))
    )
    manifest = json.loads((candidate / "manifest.json").read_text())
    (candidate / "manifest.json").write_text(json.dumps(manifest | {"version": "candidate"}))
    seal(candidate, DEFINITIONS)
    state, settings = tmp_path / "state", {"RISKD_RELEASE__MODELS": str(models)}
    state.mkdir()

    def run(*words: str) -> dict[str, object]:
        done = riskd(*words, "--json", state=state, settings=settings)
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    run("model", "promote", "customer", "candidate", "--as", "challenger")
    refused = riskd("release", "shadow", state=state, settings=settings)
    assert (refused.returncode, "activate one for all subjects" in refused.stderr) == (2, True)
    with serving(state, settings=settings) as service:
        activation = run("release", "shadow")["activation"]
        assert isinstance(activation, dict)
        answer = service.assess(attempt())
        assert (answer.release, answer.model) == (activation["release"], "hand-set-4")
        eventually(lambda: any(isinstance(line, ShadowRecord) for line in service.decisions()))
        (shadow,) = (line for line in service.decisions() if isinstance(line, ShadowRecord))
        assert (shadow.release, shadow.model, shadow.beside) == (activation["shadow"], "candidate", answer.release)
        assert shadow.score > answer.score
        assert service.metric("riskd_release_info", role="shadow", domain="customer", model="candidate") == 1
        assert service.metric("riskd_release_info", role="shadow", domain="machine", model="hand-set-2") == 1
        run("model", "promote", "customer", "candidate", "--force", "a test")
        created = run("release", "create")["release"]
        assert isinstance(created, dict)
        assert created["id"] == activation["shadow"]
        run("release", "activate", str(created["id"]))
        assert service.assess(attempt()).model == "candidate"


def test_a_service_reports_drift(models: Path, tmp_path: Path) -> None:
    """The metrics have a drift index for every feature and the score of models with a reference; a signal that stopped
    has a large one."""
    bundle = models / "customer" / "hand-set-4"
    done = riskd("model", "reference", str(bundle), "--log", str(write(tmp_path / "usual", rows(1))), state=tmp_path)
    assert done.returncode == 0, done.stderr
    settings = {"RISKD_RELEASE__MODELS": str(models), "RISKD_METRICS__DRIFT_S": "0.2"}
    with serving(tmp_path / "state", workers=2, settings=settings) as service:
        with service.stub() as stub:
            for number in range(11):
                batch = [attempt(subject=f"{number}-{each}") for each in range(100)]
                stub.BatchAssess(risk_pb2.BatchAssessRequest(requests=batch), timeout=20)
        eventually(lambda: len(service.samples("riskd_drift_psi")) == len(NAMES) + 1)
        eventually(lambda: service.metric("riskd_drift_rows", domain="customer") == pytest.approx(1100, rel=1e-3))
        assert service.metric("riskd_drift_psi", feature="device_llr") > 1
        assert all(value >= 0 for value in service.samples("riskd_drift_psi").values())
        assert service.metric("riskd_drift_rows", domain="machine") == 0
