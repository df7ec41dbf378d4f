"""`riskd train` and `riskd evaluate`: from a log to a bundle, and from a bundle to a report."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from shutil import copytree

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from riskd.adapters.model_file import TRAINING, load_model, read_card, read_evaluation, read_manifest, seal
from riskd.cli.evaluate import show
from riskd.cli.main import main
from riskd.config import data_directory
from riskd.core.features import DEFINITIONS
from riskd.offline.evaluation.document import MODELS, Evaluation
from riskd.offline.rows import FRAUD, GOOD
from riskd.offline.training import export
from tests.e2e.service import ROOT
from tests.offline.made_evaluation import few_trees
from tests.offline.made_log import write
from tests.offline.made_rows import ATTACKS, BEGAN, DAY, rows

SMALL = ("--domain", "customer", "--trees", "8", "--leaves", "6", "--min-rows", "20")


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    with few_trees():
        yield


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("log") / "world-1", rows(3_000, delay_days=1.0))


@pytest.fixture(scope="module")
def bundle(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "customer" / "t1"
    assert main(["train", *SMALL, "--log", str(log), "--out", str(path)]) == 0
    return path


class Tags(HTMLParser):
    """The open tags of a page, and everything that it would load from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "rect", "path", "circle", "polyline"):
            self.open.append(tag)
        self.outside += [tag] if tag in ("script", "img", "link", "iframe") else []
        self.outside += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href") or name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "rect", "path", "circle", "polyline"):
            assert self.open.pop() == tag


def test_a_bundle_is_served_and_says_what_it_is(bundle: Path) -> None:
    """The bundle loads for its domain, and its card describes data, method, tests and limits, and that it is
    simulated."""
    assert load_model(bundle, DEFINITIONS, domain="customer").version == "t1"
    assert read_manifest(bundle).kind == "trained"
    card = read_card(bundle)
    for part in (
        "Trained on a simulation",
        "Methods and techniques",
        "Training data",
        "## Tests",
        "## Limits",
        "updates",
    ):
        assert part in card
    assert all(attack in card for attack in ATTACKS)
    assert "world-1" in card
    assert str(bundle.parent) not in card


def test_labels_may_come_from_outcomes(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the truth, labels come from reported outcomes, and the card says so."""
    out = tmp_path / "live"
    arguments = ["train", *SMALL, "--log", str(log), "--labels", "outcomes", "--out", str(out), "--json"]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["training"]["labels"] == "outcomes"
    assert report["models"].keys() == {"candidate", "champion"}
    assert "Trained on a decision log" in read_card(out)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_page_leads_to_a_release_and_leaves_the_shipped_models(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands that begin docs/training.md train, judge and promote a model and make a release of it, in a
    directory beside the shipped models, which stay as they are. A made log stands for the world."""
    snippet = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "training.md").read_text(), re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RISKD_STATE__DIR", str(tmp_path / "state"))
    models = copytree(data_directory("models"), tmp_path / "models")
    monkeypatch.setenv("RISKD_RELEASE__MODELS", str(models))
    before = contents(models)
    for line in snippet.splitlines():
        program, *words = shlex.split(line)
        if program == "cp":
            copytree(words[1], words[2])
        elif words[0] == "simulate":
            copytree(log, words[words.index("--out") + 1])
        else:
            brief = {"train": SMALL[2:], "evaluate": ("--resamples", "0", "--no-left-out")}.get(words[0], ())
            assert main([*words, *brief]) == 0, line
    (release,) = (tmp_path / "state" / "releases").glob("*/models/customer/challenger")
    assert release.read_text() == "trained-1\n"
    assert contents(models) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_written_of_an_export_that_differs(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the export differs from the estimator, the exit code is 1 and no bundle is written."""
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    out = tmp_path / "inexact"
    assert main(["train", *SMALL, "--log", str(log), "--out", str(out)]) == 1
    assert "the export differs from the estimator" in capsys.readouterr().err
    assert not out.exists()


def test_bad_input_is_refused_before_training(
    log: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input gives exit code 2 before any training: an existing version, a recipe out of bounds, a missing log or
    truth."""
    cases = (
        (["--log", str(log), "--out", str(bundle)], "exists already"),
        (["--log", str(log), "--out", str(tmp_path / "x"), "--holdout", "0.99"], "--holdout: 0.99 is out of bounds"),
        (["--log", str(tmp_path / "no"), "--out", str(tmp_path / "x")], "is not a directory"),
        (["--log", str(log), "--out", str(tmp_path / "x"), "--base", str(tmp_path)], "is not a model bundle"),
    )
    for arguments, said in cases:
        assert main(["train", *SMALL, *arguments]) == 2
        assert said in capsys.readouterr().err
    alone = tmp_path / "alone"
    (log / "decisions").rename(alone)
    try:
        arguments = ["--log", str(alone), "--labels", "truth", "--out", str(tmp_path / "x")]
        assert main(["train", *SMALL, *arguments]) == 2
        assert "has no truth" in capsys.readouterr().err
    finally:
        alone.rename(log / "decisions")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_evaluation_is_a_document_a_table_and_a_page(
    log: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An evaluation compares all models on the same rows, leaves out every class once, and writes a self-contained
    page."""
    out = tmp_path / "report"
    arguments = ["evaluate", str(bundle), "--domain", "customer", "--log", str(log), "--resamples", "10"]
    assert main([*arguments, "--out", str(out), "--keep"]) == 0
    table = capsys.readouterr().out
    found = msgspec.json.decode((out / "evaluation.json").read_bytes(), type=Evaluation)

    assert tuple(found.models) == MODELS
    assert [each.name for each in found.models["candidate"].left_out] == list(ATTACKS)
    assert found.models["candidate"].version == "t1"
    assert found.models["champion"].version == "hand-set-4"
    assert {model.seen for model in found.models.values()} == {0.0}
    assert {goal.attack for goal in found.goals} == set(ATTACKS)
    assert found.data.labels == "truth"
    assert read_evaluation(bundle) == (out / "evaluation.json").read_bytes()
    assert load_model(bundle, DEFINITIONS, domain="customer").version == "t1"
    assert (out / "evaluation.md").read_text() in table
    assert all(attack in table for attack in ATTACKS)
    page = (out / "evaluation.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.outside == []
    assert page.count("<svg") >= 5
    assert "new_device" in page


def test_a_model_is_compared_with_the_champion_of_the_settings(
    log: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--champion`, the candidate is compared with the champion of `release.models`, which a promotion would
    replace; the error of another comparison says what to do."""
    models = tmp_path / "models"
    copytree(data_directory("models"), models)
    copytree(models / "customer" / "hand-set-4", models / "customer" / "mine")
    manifest = models / "customer" / "mine" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": "hand-set-4"', '"version": "mine"'))
    (models / "customer" / "champion").write_text("mine\n")
    copytree(bundle, models / "customer" / "t1")
    arguments = ["evaluate", str(models / "customer" / "t1"), "--domain", "customer", "--log", str(log), "--keep"]
    arguments += ["--resamples", "0", "--no-left-out", "--json"]
    promote = ["model", "promote", "customer", "t1", "--models", str(models), "--dry-run"]

    assert main(arguments) == 0
    assert main(promote) == 1
    assert "is of champion hand-set-4, and not mine: evaluate again, with this champion" in " ".join(
        capsys.readouterr().out.split()
    )
    assert main([*arguments, "--set", f"release.models={models}"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=Evaluation).models["champion"].version == "mine"
    main(promote)
    assert "is of champion" not in capsys.readouterr().out


def test_other_logs_are_judged_whole(
    log: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--trained-on`, every row of `--log` is evaluated."""
    fresh = write(tmp_path / "world-2", rows(400, seed=7), first=3_000)
    arguments = ["--domain", "customer", "--log", str(fresh), "--trained-on", str(log), "--resamples", "0"]
    assert main(["evaluate", str(bundle), *arguments, "--no-left-out", "--json"]) == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=Evaluation)

    assert found.data.rows == 400
    assert found.models["candidate"].left_out == ()
    assert {model.seen for model in found.models.values()} == {0.0}


@pytest.mark.parametrize("unknown", [{"sample": ""}, {"base": "gone-1"}], ids=["old bundle", "no base"])
def test_rows_that_a_model_was_trained_on_are_known_again(
    unknown: dict[str, str], log: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the log of a training is judged as a whole, the report has the share of it that trained each model; of a
    bundle from before that was kept, or whose base is gone, it is not known."""
    silent = copytree(bundle, tmp_path / "silent")
    training = {**json.loads((bundle / TRAINING).read_bytes()), **unknown}
    seal(silent, DEFINITIONS, beside={TRAINING: json.dumps(training).encode()})
    arguments = ["--domain", "customer", "--log", str(log), "--trained-on", str(log), "--champion", str(silent)]
    assert main(["evaluate", str(bundle), *arguments, "--resamples", "0", "--no-left-out", "--json"]) == 0
    models = msgspec.json.decode(capsys.readouterr().out, type=Evaluation).models

    assert models["champion"].seen is None
    assert models["candidate"].seen == pytest.approx(0.7, abs=0.05)
    assert models["large_boosted"].seen == pytest.approx(0.57, abs=0.05)
    assert models["freeman"].seen == 0.0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_the_base_was_trained_on_is_not_left_out(
    log: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that was boosted on a trained one has no figures for the classes of attack that the latter knows."""
    base = copytree(bundle, tmp_path / "t1")
    training = json.loads((base / TRAINING).read_bytes())
    for path, changes in ((base, {"attacks": {"targeted": 9}}), (tmp_path / "t2", {"base": "t1"})):
        copytree(bundle, path, dirs_exist_ok=True)
        seal(path, DEFINITIONS, beside={TRAINING: json.dumps(training | changes).encode()})
    arguments = ["evaluate", str(tmp_path / "t2"), "--domain", "customer", "--log", str(log), "--resamples", "0"]
    assert main([*arguments, "--json"]) == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=Evaluation)
    assert [each.name for each in found.models["candidate"].left_out] == sorted({*ATTACKS} - {"targeted"})


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_with_until_older_attempts_are_judged_by_all_that_was_reported_of_them(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where fraud is reported late, an evaluation estimates how much counts as good; with `--until` it is less, and no
    report is left out."""
    made = rows(8_000, delay_days=10.0)
    late = made.known > made.times.max()
    silent = replace(
        made, labels=np.where(late, GOOD, made.labels).astype(np.int8), known=np.where(late, made.times, made.known)
    )
    log = write(tmp_path / "live", silent)
    arguments = ["evaluate", str(bundle), "--domain", "customer", "--log", str(log), "--labels", "outcomes"]
    day = datetime.fromtimestamp(BEGAN + 52 * DAY, UTC).date()
    shares = []
    for until in ([], ["--until", f"{day}"]):
        assert main([*arguments, "--resamples", "0", "--no-left-out", "--json", *until]) == 0
        data = msgspec.json.decode(capsys.readouterr().out, type=Evaluation).data
        judged = (made.times >= data.first) & (made.times <= data.last) & (made.labels == FRAUD)
        assert data.unreported == pytest.approx(late[judged].mean(), abs=0.1)
        assert data.fraud == np.count_nonzero(judged & ~late)
        assert not until or datetime.fromtimestamp(data.last, UTC).date() < day
        shares.append(data.unreported)
    assert shares[1] < shares[0] - 0.1


def test_a_log_without_fraud_judges_nothing(
    log: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log without fraud, or in which all fraud had a wrong credential, is refused with what to do."""
    made = rows(200, seed=8)
    wrong = made.vectors[:, made.names.index("credential_failed")] == 1.0
    for name, chosen in (("quiet", made.labels == GOOD), ("harmless", (made.labels == GOOD) | wrong)):
        kept = write(tmp_path / name, made.where(chosen))
        arguments = ["--domain", "customer", "--log", str(kept), "--trained-on", str(log), "--resamples", "0"]
        assert main(["evaluate", str(bundle), *arguments]) == 2
        assert "rows to judge by: none without a wrong credential is fraudulent" in capsys.readouterr().err


def test_where_nothing_can_be_written_nothing_is_judged(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unusable `--out` is refused before the log is read."""
    nowhere = ["--log", str(tmp_path / "no-log"), "--out", "/dev/null/report"]
    assert main(["evaluate", str(bundle), "--domain", "customer", *nowhere]) == 2
    assert capsys.readouterr().err == "riskd: /dev/null/report: cannot be made: Not a directory (name another)\n"


def test_a_bundle_with_an_invalid_training_record_is_refused(
    log: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bundle whose training record is invalid is refused by file name."""
    edited = copytree(bundle, tmp_path / "edited")
    seal(edited, DEFINITIONS, beside={TRAINING: b'{"recipe": 1}'})
    assert main(["evaluate", str(edited), "--domain", "customer", "--log", str(log)]) == 2
    assert "edited/training.json: does not describe a training: Expected `object`" in capsys.readouterr().err


@pytest.mark.parametrize("slip", [["--without", "targetted"], ["--weight", "targetted=2"]], ids=lambda slip: slip[0])
def test_a_class_that_no_row_has_is_neither_left_out_nor_weighed(
    slip: list[str], log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt class is refused with the list of classes, and nothing is trained."""
    assert main(["train", *SMALL, "--log", str(log), "--out", str(tmp_path / "t1"), *slip]) == 2
    assert f"{slip[0]}: no row is of class 'targetted' (one of {', '.join(sorted(ATTACKS))})" in capsys.readouterr().err
    assert not (tmp_path / "t1").exists()


def test_without_the_learner_the_extra_is_named(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the `train` extra, the command says what to install."""
    monkeypatch.setattr("riskd.cli.extras.find_spec", lambda _: None)
    for command in (["train", "--out", str(tmp_path / "t1")], ["evaluate", str(tmp_path / "t1")]):
        assert main([*command, "--domain", "customer", "--log", str(log)]) == 2
        assert "pip install '.[train]'" in capsys.readouterr().err


def test_an_evaluation_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In 80 columns every class and every figure is whole, and only missed goals are listed."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    shipped = data_directory("models") / "customer" / "simulated-7"
    found = msgspec.json.decode(read_evaluation(shipped) or b"", type=Evaluation)
    show(found)
    told = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "…" not in told
    tables = told[: told.index(" goals at ")]
    assert max(map(len, tables.splitlines())) <= 80
    candidate = found.models["candidate"]
    for group in (candidate.right_credential, *candidate.classes, *candidate.depths):
        assert re.search(rf"^(?:depth )?{group.name} +[\d,]+ +\d+\.\d ", tables, re.MULTILINE)
    assert all(f": {goal.attack}, " in told for goal in found.goals if not goal.met)


def test_the_name_of_a_bundle_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """A name in brackets is no style of the terminal."""
    shipped = data_directory("models") / "customer" / "simulated-7"
    found = msgspec.json.decode(read_evaluation(shipped) or b"", type=Evaluation)
    named = replace(found.models["candidate"], version="mine[bold]")
    show(replace(found, models={**found.models, "candidate": named}))
    assert capsys.readouterr().out.startswith("mine[bold], customer: ")
