"""Pepper rotation under a running service."""

from __future__ import annotations

import json
from pathlib import Path

from riskd._proto.riskd.v1 import risk_pb2
from riskd.adapters.lmdb_store import LmdbStore
from riskd.core.learn import UNITS
from riskd.core.pseudonym import Pseudonyms
from riskd.core.rekey import layer_parity
from riskd.core.stored import NOBODY, PLACE
from tests.e2e.service import ROOT, Service, attempt, eventually, riskd, serving

FAST = {"RISKD_STORE__SWEEP_S": "1"}
ANNE = "anne@example.org"


def taught(service: Service, assessment_id: str) -> int:
    """Units that an assessment has taught once it is confirmed."""
    with service.stub() as stub:
        told = risk_pb2.RecordOutcomeRequest(
            assessment_id=assessment_id, confirmed_legitimate=risk_pb2.ConfirmedLegitimate()
        )
        return stub.RecordOutcome(told, timeout=5).taught_units


def shown(service: Service) -> str:
    done = riskd("subject", "show", ANNE, "--domain", "customer", "--json", state=service.state)
    return str(json.loads(done.stdout)["taughtUnits"])


def status(state: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(riskd("pepper", "status", "--json", state=state).stdout)
    return found


def test_a_rotation_under_a_running_service(tmp_path: Path) -> None:
    """Histories, open receipts and repeats survive a rotation in old and new workers, nothing stays under old
    pseudonyms, and without the new pepper the service does not start."""
    state = tmp_path / "s"
    with serving(state, workers=2, settings=FAST) as service:
        first = service.assess(attempt(subject=ANNE, request_id="r-1"))
        assert taught(service, service.assess(attempt(subject=ANNE)).assessment_id) == UNITS
        assert status(state)["layers"] == 0
        old = (state / "pepper").read_bytes().strip()

        done = riskd("pepper", "rotate", "--wait", "3", "--json", state=state, settings=FAST)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["moved"] > 5
        after = status(state)
        assert (after["layers"], after["moved"], after["left"], after["mode"]) == (1, 1, 0, "0600")
        assert old in (state / "pepper").read_bytes().splitlines()
        eventually(lambda: sum(event["event"] == "pepper" for event in service.events()) >= 2)

        again = service.assess(attempt(subject=ANNE, request_id="r-1"))
        assert again.assessment_id == first.assessment_id
        assert taught(service, first.assessment_id) == UNITS
        assert taught(service, service.assess(attempt(subject=ANNE)).assessment_id) == UNITS
        assert shown(service) == str(3 * UNITS)
        assert service.stop() == 0
    store = LmdbStore(state / "store")
    keys = [key for key in store.walk(b"", 1000)[0] if not key.startswith(NOBODY)]
    store.close()
    place = Pseudonyms(old).digest("", "customer", "subject", ANNE)[:PLACE]
    assert {layer_parity(key) for key in keys} == {1}
    assert not [key for key in keys if key.startswith(place)]

    with serving(state, settings=FAST) as service:
        assert shown(service) == str(3 * UNITS)
    whole = (state / "pepper").read_bytes()
    (state / "pepper").write_bytes(old + b"\n")
    refused = riskd("serve", "--port", "0", "--metrics-port", "0", state=state)
    assert (refused.returncode, "lines are missing" in refused.stderr) == (2, True)
    assert old.decode() not in refused.stderr
    (state / "pepper").write_bytes(whole)


def test_an_interrupted_rotation_is_continued(tmp_path: Path) -> None:
    """A pepper that was added without a rotation is used at once, and the rotation adds no other."""
    state = tmp_path / "s"
    with serving(state, settings=FAST) as service:
        assert taught(service, service.assess(attempt(subject=ANNE)).assessment_id) == UNITS
        with (state / "pepper").open("ab") as file:
            file.write(b"another pepper of this test\n")
        eventually(lambda: any(event["event"] == "pepper" for event in service.events()))
        assert shown(service) == str(UNITS)
        assert "was interrupted" in riskd("pepper", "status", state=state).stdout
        riskd("pepper", "rotate", "--wait", "0", state=state)
        assert len((state / "pepper").read_bytes().splitlines()) == 2
        assert status(state)["left"] == 0
        assert shown(service) == str(UNITS)


def test_a_pepper_in_the_environment_is_changed_there(tmp_path: Path) -> None:
    """If the pepper is in the environment, the command says what to do and changes nothing."""
    LmdbStore(tmp_path / "store").close()
    done = riskd("pepper", "rotate", state=tmp_path, settings={"RISKD_PEPPER": "a pepper of this test"})
    assert done.returncode == 2
    assert "append a line" in done.stderr
    assert not (tmp_path / "pepper").exists()


def test_a_store_belongs_to_its_pepper_from_the_beginning(tmp_path: Path) -> None:
    """A store that was never rotated is refused under another pepper, by a service and by an import, and unchanged."""
    with serving(tmp_path) as service:
        service.assess(attempt(subject=ANNE))
    before = (tmp_path / "store" / "data.mdb").read_bytes()
    other = {"RISKD_PEPPER": "a pepper of another deployment"}
    for words in (
        ("serve", "--port", "0", "--metrics-port", "0"),
        ("import", "decision-log", "--until", "2030-01-01"),
        ("import", "okta", str(ROOT / "tests" / "data" / "imports" / "okta.json"), "--domain", "customer"),
    ):
        refused = riskd(*words, state=tmp_path, settings=other)
        assert (refused.returncode, "not the peppers that the store was written with" in refused.stderr) == (2, True)
    assert (tmp_path / "store" / "data.mdb").read_bytes() == before
