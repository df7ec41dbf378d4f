"""`riskd model` from candidate to champion and back, and `riskd drift`: output and exit codes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from shutil import copytree
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from riskd.adapters.decision_log import FileLogArchive
from riskd.adapters.model_file import EVALUATION, load_model, read_forest, read_reference, seal
from riskd.cli.main import main
from riskd.core.features import DEFINITIONS, NAMES
from riskd.core.model import ForestDocument
from riskd.offline.drift.bins import DAY
from tests.models.stories import champions
from tests.offline.drift.world import BEGIN, Shift, rows, write
from tests.offline.made_evaluation import LOST, difference, evaluation

RELEASED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\dZ  promote candidate as champion, after hand-set-4, by kim: measured")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The hand-set models, and a customer candidate with one weight changed."""
    models = champions(tmp_path / "models")
    candidate = copytree(models / "customer" / "hand-set-4", models / "customer" / "candidate")
    document = read_forest(candidate)
    tor, *others = sorted(document.steps, key=lambda steps: steps.feature != "tor")
    changed = msgspec.structs.replace(
        document, baseline=document.baseline - 0.5, steps=(msgspec.structs.replace(tor, values=(0.0, 5.0)), *others)
    )
    replace(candidate, changed)
    return models


def replace(bundle: Path, document: ForestDocument) -> None:
    (bundle / "forest.json").write_bytes(msgspec.json.encode(document))
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"version": bundle.name}))
    seal(bundle, DEFINITIONS)


def judge(models: Path, *, lost: bool = False) -> None:
    """Write an evaluation into the candidate's bundle."""
    found = evaluation(*((difference("class", "spraying", LOST),) if lost else ()))
    named = {
        "candidate": msgspec.structs.replace(found.models["candidate"], version="candidate"),
        "champion": msgspec.structs.replace(found.models["champion"], version="hand-set-4"),
    }
    content = msgspec.json.encode(msgspec.structs.replace(found, models=named))
    seal(models / "customer" / "candidate", DEFINITIONS, beside={EVALUATION: content})


class Cli:
    """The command line on a directory of models."""

    def __init__(self, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._models, self._capsys = models, capsys

    def __call__(self, *words: object) -> tuple[int, str]:
        """Exit code and combined output."""
        code = main(["model", *map(str, words), "--models", str(self._models)])
        told = self._capsys.readouterr()
        return code, told.out + told.err

    def json(self, *words: object) -> Any:  # noqa: ANN401 - JSON
        """The parsed JSON output."""
        code, told = self(*words, "--json")
        assert code == 0, told
        return json.loads(told)


@pytest.fixture
def cli(models: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(models, capsys)


def champion(models: Path) -> str:
    return (models / "customer" / "champion").read_text().strip()


def test_a_user_without_a_name_has_a_number(cli: Cli, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the user has no name, as in many containers, the history records the uid."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_294_000_000)
    judge(models)
    code, told = cli("promote", "customer", "candidate")
    assert code == 0, told
    assert "by uid 4294000000" in told


def test_a_better_model_is_promoted_and_rolled_back(cli: Cli, models: Path) -> None:
    """A promotion prints every check and is recorded; a rollback restores the previous champion."""
    judge(models)
    code, told = cli("promote", "customer", "candidate", "--actor", "kim", "--reason", "measured")

    assert code == 0, told
    assert champion(models) == "candidate"
    for check in ("features", "signature", "evaluation", "recall overall all", "calibration", "latency"):
        assert re.search(rf"^ok  {check}  ", told, re.MULTILINE), told
    assert RELEASED.search(told)
    listed = {row["version"]: row for row in cli.json("list", "--domain", "customer")}
    assert (listed["candidate"]["role"], listed["hand-set-4"]["role"]) == ("champion", "")
    assert listed["candidate"]["since"] > 1e9
    assert RELEASED.search(cli("show", "customer")[1])
    assert cli.json("rollback", "customer", "--actor", "lee")["version"] == "hand-set-4"
    assert champion(models) == "hand-set-4"
    assert [act["act"] for act in cli.json("show", "customer", "candidate")["history"]] == ["promote", "rollback"]


def test_a_worse_model_is_not_promoted(cli: Cli, models: Path) -> None:
    """A failed check gives exit code 1 and is printed with its figures, and nothing changes."""
    judge(models, lost=True)
    code, told = cli("promote", "customer", "candidate")

    assert code == 1
    assert re.search(r"^NO  recall class spraying  .*-5.0 \(-9.0 to -1.0\) of 900", told, re.MULTILINE)
    assert "nothing has changed" in told
    assert champion(models) == "hand-set-4"
    assert not (models / "customer" / "history.jsonl").exists()


def test_force_leaves_a_trace(cli: Cli, models: Path) -> None:
    """A forced promotion records its reason and the checks that failed."""
    judge(models, lost=True)
    act = cli.json("promote", "customer", "candidate", "--force", "incident 4711")["act"]

    assert champion(models) == "candidate"
    assert (act["reason"], act["forced"]) == ("incident 4711", ["recall class spraying"])
    document = (models / "customer" / "candidate" / EVALUATION).read_bytes()
    assert act["evaluation"] == hashlib.sha256(document).hexdigest()
    assert "[forced past: recall class spraying]" in cli("show", "customer", "candidate")[1]


def test_a_dry_run_changes_nothing(cli: Cli, models: Path) -> None:
    """A dry run prints the checks and exits as the promotion would, and changes nothing."""
    judge(models)
    assert cli("promote", "customer", "candidate", "--dry-run")[0] == 0
    judge(models, lost=True)
    assert cli("promote", "customer", "candidate", "--dry-run", "--force", "now")[0] == 1
    assert champion(models) == "hand-set-4"


def test_a_model_without_an_evaluation_is_not_promoted(cli: Cli, models: Path, tmp_path: Path) -> None:
    """Without an evaluation the promotion is refused with how to make one; an evaluation file from elsewhere is
    accepted."""
    code, told = cli("promote", "customer", "candidate")
    assert (code, "riskd evaluate" in told) == (1, True)
    (tmp_path / "bad.json").write_text("{}")
    code, told = cli("promote", "customer", "candidate", "--evaluation", tmp_path / "bad.json")
    assert (code, "is not an evaluation" in told) == (2, True)
    judge(models)
    kept = (models / "customer" / "candidate" / EVALUATION).rename(tmp_path / "good.json")
    seal(models / "customer" / "candidate", DEFINITIONS)
    assert cli("promote", "customer", "candidate", "--evaluation", kept)[0] == 0


def test_a_model_that_would_not_be_served_cannot_be_forced(cli: Cli, models: Path) -> None:
    """A damaged bundle, an unknown version and the champion itself are refused with exit code 2, even if forced."""
    judge(models)
    assert "versions: candidate, hand-set-4" in cli("promote", "customer", "gone", "--force", "now")[1]
    assert cli("promote", "customer", "hand-set-4")[0] == 2
    card = models / "customer" / "candidate" / "card.md"
    card.write_text(card.read_text() + "and more")
    code, told = cli("promote", "customer", "candidate", "--force", "now")
    assert (code, "SHA-256" in told) == (2, True)
    assert champion(models) == "hand-set-4"


def test_a_challenger_needs_no_evaluation(cli: Cli, models: Path) -> None:
    """A challenger needs no evaluation, and a rollback withdraws it."""
    code, told = cli("promote", "customer", "candidate", "--as", "challenger")
    assert code == 0, told
    assert "riskd release shadow" in told
    assert (models / "customer" / "challenger").read_text() == "candidate\n"
    assert cli("promote", "customer", "hand-set-4", "--as", "challenger")[0] == 2
    assert cli("rollback", "customer", "--as", "challenger")[0] == 0
    assert not (models / "customer" / "challenger").exists()


def test_signatures_are_asked_for_where_keys_are_trusted(cli: Cli, models: Path, tmp_path: Path) -> None:
    """With trusted keys, signed models pass, and all unsigned ones are reported at once with how to sign them."""
    key = tmp_path / "key.pem"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    bundle = models / "customer" / "candidate"
    code, told = cli("sign", "--key", key, bundle)
    public = told.split()[-1]
    trusting = ("--set", f"models.trusted_keys={public}")

    assert (code, len(bytes.fromhex(public))) == (0, 32)
    assert cli("verify", "customer", "candidate", *trusting)[0] == 0
    code, told = cli("verify", *trusting)
    assert (code, told.count("models.trusted_keys requires signed bundles"), told.count("(trusted)")) == (2, 3, 1)
    assert cli("promote", "customer", "candidate", "--as", "challenger", *trusting)[0] == 0
    assert f"{public} (trusted)" in cli("show", "customer", "candidate", *trusting)[1]
    judge(models)
    assert cli("promote", "customer", "candidate", "--force", "now", *trusting)[0] == 2


def test_a_damaged_bundle_is_not_signed(cli: Cli, models: Path, tmp_path: Path) -> None:
    """A damaged bundle is not signed."""
    key = tmp_path / "key.pem"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    bundle = models / "customer" / "candidate"
    (bundle / "card.md").write_text("another card")

    assert cli("sign", "--key", key, bundle)[0] == 2
    assert not (bundle / "signature.json").exists()


def test_diff_shows_weights_and_scores(cli: Cli, tmp_path: Path) -> None:
    """`diff` prints changed weights and baseline and, with a log, how scores move."""
    log = write(tmp_path / "log", rows(3, 300))
    code, told = cli("diff", "customer", "hand-set-4", "candidate", "--log", log)

    assert code == 0
    assert "tor: +0 (0.5), +5, missing +0, was +0 (0.5), +" in told
    assert re.search(r"baseline -\S+ becomes -", told)
    assert "scores of 300 rows: " in told
    found = cli.json("diff", "customer", "hand-set-4", "candidate", "--log", log)
    assert found["scores"]["rose"] + found["scores"]["fell"] == 300
    assert cli.json("diff", "customer", "hand-set-4", "hand-set-4")["changes"] == []


def test_an_assessment_is_explained(cli: Cli, models: Path, tmp_path: Path) -> None:
    """`explain` prints exact contributions: how much the log-odds fall if only that feature is usual."""
    batch = rows(3, 50)
    log = write(tmp_path / "log", batch)
    found = cli.json("explain", "customer", "--log", log, "--id", f"{7:032x}")
    model = load_model(models / "customer" / "hand-set-4", DEFINITIONS)
    vector = batch.vectors[7].tolist()

    assert found["log_odds"] == pytest.approx(model.score(vector)[0])
    assert (found["recorded"], found["recorded_model"]) == (0.01, "hand-set-4")
    for part in found["parts"][:10]:
        column = NAMES.index(part["feature"])
        usual = [*vector[:column], model.references[column], *vector[column + 1 :]]
        assert part["contribution"] == pytest.approx(model.score(vector)[0] - model.score(usual)[0], abs=1e-12)
    code, told = cli("explain", "customer", "candidate", "--log", log, "--id", f"{7:032x}")
    assert (code, "customer candidate: score" in told, "recorded: score 0.0100" in told) == (0, True, True)
    code, told = cli("explain", "machine", "--log", log, "--id", f"{7:032x}")
    assert code == 2
    assert f"riskd model explain customer --id {7:032x}" in told
    for wrong, why in (("00", "'00' is not an assessment id"), (f"{99:032x}", "has no assessment 00")):
        code, told = cli("explain", "customer", "--log", log, "--id", wrong)
        assert (code, why in told) == (2, True)


def test_the_erased_are_not_explained(cli: Cli, tmp_path: Path) -> None:
    """After an erasure was requested, `explain` does not find its lines, even if they are still on disk."""
    log, found = write(tmp_path / "log", rows(3, 50)), f"{7:032x}"
    assert cli("explain", "customer", "--log", log, "--id", found)[0] == 0
    FileLogArchive(log, 1.0, 1.0).forget([bytes.fromhex(found)])
    assert "has no assessment" in cli("explain", "customer", "--log", log, "--id", found)[1]


def test_a_vector_is_explained(cli: Cli, tmp_path: Path) -> None:
    """In a vector file, omitted features are usual, and unknown ones are refused."""
    vector = tmp_path / "vector.json"
    vector.write_text('{"new_device": true, "distance_known_km": null}')
    found = cli.json("explain", "customer", "--vector", vector)
    assert {part["feature"]: part["value"] for part in found["parts"]}["new_device"] == 1
    assert "NEW_DEVICE" in [reason["code"] for reason in found["reasons"]]
    vector.write_text('{"new_devise": 1}')
    assert "no feature is called 'new_devise'" in cli("explain", "customer", "--vector", vector)[1]
    vector.write_text("[1]")
    example = re.search(r"\{.*\}", cli("explain", "customer", "--vector", vector)[1])
    assert example is not None
    vector.write_text(example[0])
    assert cli("explain", "customer", "--vector", vector)[0] == 0
    assert "leave out --log and --id" in cli("explain", "customer", "--vector", vector, "--id", "00")[1]


def test_importance_over_a_log(cli: Cli, tmp_path: Path) -> None:
    """Over a log, features are ranked by how much they move the score, up to `--rows`; a log without the domain is
    refused."""
    log = write(tmp_path / "log", rows(3, 400))
    found = cli.json("explain", "customer", "--log", log, "--rows", 50)
    moves = [each["moves"] for each in found]

    assert moves == sorted(moves, reverse=True)
    assert all(abs(each["mean"]) <= each["moves"] + 1e-12 for each in found)
    assert cli("explain", "machine", "--log", log)[0] == 2


def drift(models: Path, *words: object) -> int:
    return main(["drift", *map(str, words), "--models", str(models)])


def test_drift_is_reported_with_exit_code_1(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against a reference, a shifted feature is reported with the day of its shift, and the exit code is 1."""
    usual = write(tmp_path / "usual", rows(1, 3000))
    shifted = write(tmp_path / "shifted", rows(2, 3000, shift=Shift("device_llr", 6, by=1.5)))
    log = write(tmp_path / "log", rows(4, 3000))
    bundle = models / "customer" / "hand-set-4"
    assert main(["model", "reference", str(bundle), "--log", str(usual)]) == 0
    reference = read_reference(bundle)
    assert reference is not None
    assert reference.rows == 3000
    assert load_model(bundle, DEFINITIONS).version == "hand-set-4"
    capsys.readouterr()

    assert drift(models, "--log", log) == 0
    assert f"none of {len(NAMES) + 1} signals drifted" in capsys.readouterr().out
    assert drift(models, "--log", shifted, "--html", tmp_path / "drift.html") == 1
    told = capsys.readouterr().out
    assert "device_llr since 2024-10-10" in told
    assert "Report: " in told
    assert "device_llr" in (tmp_path / "drift.html").read_text()
    assert drift(models, "--log", shifted, "--json") == 1
    signals = json.loads(capsys.readouterr().out)["domains"][0]["signals"]
    assert [signal["since"] for signal in signals if signal["name"] == "device_llr"] == [BEGIN + 6 * DAY]


def test_a_model_without_a_reference_is_held_against_the_past(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a reference, the log is compared with its earlier half or with what lies before `--since`; if there is
    nothing before, that is an error."""
    log = write(tmp_path / "log", rows(2, 6000, shift=Shift("device_llr", 10, by=1.5)))

    for words, counts in (((), (3000, 3000)), (("--since", "2024-10-09"), (3858, 2142))):
        assert drift(models, "--log", log, "--json", *words) == 1
        found = json.loads(capsys.readouterr().out)
        (customer,) = found["domains"]
        assert (customer["reference"], customer["rows"] + customer["reference_rows"]) == ("past", 6000)
        assert (customer["rows"], customer["reference_rows"]) == pytest.approx(counts, rel=0.05)
        assert customer["reference_ended"] < customer["began"]
        assert found["left_out"].get("not_chosen", 0) == (customer["reference_rows"] if words else 0)
        assert drift(models, "--log", log, *words) == 1
        said = capsys.readouterr().out
        assert "device_llr since 2024-10-14" in said
        assert "earlier decisions, since the model has no reference" in said
    assert drift(models, "--log", log, "--since", "2024-10-01") == 2
    assert "has no earlier decisions of customer" in capsys.readouterr().err
    assert drift(models, "--log", log, "--domain", "machine") == 2
    assert "has no decisions of machine" in capsys.readouterr().err


def test_a_log_is_compared_with_its_own_past(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--against` may be the same log up to a day; a threshold above the shift gives exit code 0."""
    log = write(tmp_path / "log", rows(2, 6000, shift=Shift("device_llr", 10, by=1.5)))
    words = ("--log", log, "--since", "2024-10-11", "--against-until", "2024-10-11")

    assert drift(models, *words, "--against", log) == 1
    named = capsys.readouterr().out
    assert drift(models, *words) == 1
    assert capsys.readouterr().out == named
    assert drift(models, *words) == 1
    assert "device_llr since 2024-10-14" in capsys.readouterr().out
    assert drift(models, *words, "--threshold", 50) == 0
    capsys.readouterr()
    assert drift(models, *words, "--domain", "machine") == 2
    assert "has no decisions of machine" in capsys.readouterr().err
