"""The commands that read a decision log, on one that a real engine wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import xml.dom.minidom
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from shutil import copytree
from typing import Any, Final

import pytest
from msgspec.structs import replace

from benchmarks.traffic import attempts
from riskd.adapters.model_file import TRAINING, load_model, seal
from riskd.cli.main import main
from riskd.config import data_directory, load
from riskd.core import record
from riskd.core.attempt import DOMAINS, JOURNEYS, Attempt, Federation, Outcome, Session
from riskd.core.features import DEFINITIONS
from riskd.core.logged import vector_of
from riskd.wiring import open_engine
from tests.decision_log import SEGMENT, decision, read_segments, write
from tests.models.stories import bundle

ATTRIBUTE_RULES: Final = """
  - name: large_amount
    when: '"amount" in attributes && double(attributes["amount"]) > 500.0'
    then: STEP_UP
    reason: LARGE_AMOUNT
    text: A large amount.
    journeys: [payment]
  - name: mule
    when: counted.payee.subjects_24h > 2.0 || counted.payee.failures_24h > 1.0
    then: STEP_UP
    reason: MULE
    text: Many accounts pay this payee.
    journeys: all
counters: [payee]
"""
ATTEMPTS: Final = 360
PEPPER: Final = {"RISKD_PEPPER": "calibration groups accounts by their pseudonyms"}
ISSUER: Final = "https://idp.example"
NOW: Final = 1_800_000_000.0


class Written:
    """A log, the policies that decided it, and the number of satisfied answers."""

    def __init__(self, directory: Path) -> None:
        self.log, self.policies = directory / "state" / "decisions", directory / "policies"
        self.policies.mkdir()
        for domain in DOMAINS:
            text = (data_directory("policies") / f"{domain}.yaml").read_text(encoding="utf-8")
            if domain == "customer":
                text = text.replace("trusted_issuers: []", f"trusted_issuers: [{ISSUER}]") + ATTRIBUTE_RULES
            (self.policies / f"{domain}.yaml").write_text(text, encoding="utf-8")
        flags = {
            "state.dir": str(directory / "state"),
            "release.policies": str(self.policies),
            "attributes.names": "amount,payee",
        }
        self.satisfied = 0
        random = Random(5)
        for _ in range(2):  # two processes one after the other write two segments
            with open_engine(load(environ=PEPPER, flags=flags)) as engine:
                for one in self._attempts(random):
                    answer = engine.assess(one, 5.0)
                    self.satisfied += answer.requirement.satisfied
                    if random.random() < 0.6:
                        engine.record(Outcome(assessment_id=answer.id, kind=_kind(random)), 5.0)

    @staticmethod
    def _attempts(random: Random) -> Iterator[Attempt]:
        for number, one in zip(range(ATTEMPTS // 2), attempts(40, seed=random.randrange(99)), strict=False):
            age = random.choice([60, 7200, 100_000])
            when, amr = time.time() - age, random.choice([("pwd",), ("pwd", "otp"), ("hwk", "pin")])
            federation = Federation(issuer=ISSUER, authentication_time=when, amr=amr)
            yield replace(
                one,
                domain=DOMAINS[number % 3] if number % 5 == 0 else "customer",
                journey=JOURNEYS[number % 6],
                session=Session(id="s", authentication_time=when, amr=amr) if random.random() < 0.6 else None,
                federation=federation if random.random() < 0.2 else None,
                attributes={"amount": str(random.randrange(1000)), "payee": str(number % 50)}
                if random.random() < 0.5
                else {},
            )


def _kind(random: Random) -> str:
    return random.choice(["session_established", "challenge_passed", "challenge_failed", "confirmed_fraud"])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(tmp_path_factory.mktemp("served"))


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main(["policy", *map(str, words)])
    return code, capsys.readouterr().out


def told(capsys: pytest.CaptureFixture[str], *words: object) -> Any:  # noqa: ANN401 - JSON
    code, out = run(capsys, *words, "--json")
    assert code == 0
    return json.loads(out)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_running_policies_reproduce_their_log(
    written: Written, processes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backtest of the policies that wrote the log has no differences in tiers, satisfaction and hits, also where
    they read what was counted."""
    code, out = run(
        capsys, "backtest", written.policies, "--log", written.log, "--processes", processes, "--exit-code", "--json"
    )
    found = json.loads(out)
    assert (code, found["differences"]) == (0, 0)
    assert found["counts"]["replayed"] == ATTEMPTS
    assert "hits_differ" not in found["counts"]
    assert [domain["domain"] for domain in found["domains"]] == list(DOMAINS)
    rules = {rule["name"]: rule["hits"] for domain in found["domains"] for rule in domain["rules"]}
    assert rules["large_amount"] > 0 < rules["mule"]
    assert "uncounted" not in found["counts"]
    assert 0 < written.satisfied < ATTEMPTS


def test_a_candidate_is_reported_as_text_json_and_page(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A candidate's differences appear in text, JSON and a self-contained HTML page, and in the exit code."""
    candidate, page = tmp_path / "customer.yaml", tmp_path / "report.html"
    text = (written.policies / "customer.yaml").read_text(encoding="utf-8")
    candidate.write_text(text.replace("> 500.0", "> 100.0").replace("amount.\n", "amount <b>.\n"), encoding="utf-8")
    words = ("backtest", candidate, "--log", written.log, "--html", page, "--exit-code")
    code, out = run(capsys, *words)
    assert code == 1
    for part in (
        "decisions would be decided differently",
        "rules of customer",
        "large_amount",
        "friction on good",
        "examples of moves",
    ):
        assert part in out
    html = page.read_text(encoding="utf-8")
    xml.dom.minidom.parseString(html.partition("\n")[2])
    assert html.count("<svg") > 3
    assert not re.search(r"<script|<link|<img|src=|href=|url\(|@import", html)
    found = told(capsys, "backtest", candidate, "--log", written.log)
    (domain,) = found["domains"]
    assert found["differences"] > 0
    assert domain["total"]["laxer"] == 0 < domain["total"]["stricter"]
    assert sum(sum(row.values()) for row in domain["moves"].values()) == domain["total"]["decisions"]


def test_a_log_is_scored_again_by_the_models_that_the_flags_name(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    """The champions that decided change nothing; with another version, every score is that of its forest."""
    models = data_directory("models")
    same = told(capsys, "backtest", written.policies, "--log", written.log, "--models", models)
    assert same["differences"] == 0
    assert {domain["model"] for domain in same["domains"]} == {path.name for path in map(bundle, DOMAINS)}
    flags = ("--log", written.log, "--domain", "customer", "--model", "simulated-7")
    other = told(capsys, "backtest", written.policies, *flags)
    (domain,) = other["domains"]
    assert domain["model"] == "simulated-7"
    assert other["differences"] > 0
    forest = load_model(models / "customer" / "simulated-7", DEFINITIONS)
    vectors = {
        line.id: vector_of(line)
        for line in map(record.decode, read_segments(written.log))
        if isinstance(line, record.AssessmentRecord)
    }
    assert domain["examples"]
    for example in domain["examples"]:
        assert example["score"] == forest.score(vectors[example["id"]])[1]
    assert "scored by simulated-7" in run(capsys, "backtest", written.policies, *flags)[1]
    calibrated = [
        told(capsys, "calibrate", "--policies", written.policies, *each, "--journey", "login", "--budget", "0.9")
        for each in (flags, flags[:4])
    ]
    assert calibrated[0] != calibrated[1]


def test_decisions_that_the_model_was_trained_on_are_pointed_out(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the bundle of a model says that it was trained on decisions of the log, every command that scores them again
    says how many it knows of."""
    lines = map(record.decode, read_segments(written.log))
    trained = [one for one in lines if isinstance(one, record.AssessmentRecord) and one.domain == "customer"][:30]
    logins = sum(one.journey == "login" for one in trained)
    models = copytree(data_directory("models"), tmp_path / "models")
    bundle = models / "customer" / "simulated-7"
    training = json.loads((bundle / TRAINING).read_bytes())
    training["sample"] = "".join(sorted(sha256(one.id.encode()).hexdigest()[:12] for one in trained))
    seal(bundle, DEFINITIONS, beside={TRAINING: json.dumps(training).encode()})
    flags = ["--log", str(written.log), "--domain", "customer", "--model", "simulated-7"]
    policies = ["--policies", str(written.policies)]
    for command, known in (
        (["backtest", str(written.policies)], 30),
        (["rules", *policies], 30),
        (["signals", *policies], 30),
        (["calibrate", *policies, "--journey", "login", "--budget", "0.9"], logins),
    ):
        assert main(["policy", *command, *flags, "--models", str(models)]) == 0
        assert f"the model was trained on {known} of these decisions or more" in capsys.readouterr().err
    assert main(["policy", "backtest", str(written.policies), *flags]) == 0
    assert "was trained on" not in capsys.readouterr().err


def test_a_version_is_of_one_domain(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    """`--model` with policies of several domains is refused."""
    arguments = ["backtest", written.policies, "--log", written.log, "--model", "simulated-7"]
    assert main(["policy", *map(str, arguments)]) == 2
    assert "--domain customer" in capsys.readouterr().err


def test_a_directory_with_a_log_and_more_is_read_for_its_log(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a directory as `riskd simulate` leaves it, only the log is read."""
    (written.log.parent / "other.jsonl").write_text("{}\n", encoding="utf-8")
    code, report = run(capsys, "backtest", written.policies, "--log", written.log.parent, "--json")
    assert code == 0
    counts = json.loads(report)["counts"]
    assert counts["replayed"] == ATTEMPTS
    assert not counts.get("unreadable")


def test_rules_are_listed_with_their_effect(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    """Rules are listed with their hits: acting, in shadow, and never hit."""
    words = ("rules", "--policies", written.policies / "customer.yaml", "--log", written.log)
    rules = {rule["name"]: rule for rule in told(capsys, *words)["customer"]["rules"]}
    assert rules["large_amount"]["alone"] > 0
    assert rules["forged_browser"]["shadow"] is True
    code, out = run(capsys, *words)
    assert code == 0
    never = re.search(r"never hit: ([\w, \n]+)", out)
    assert never is not None
    assert "large_amount" not in never[1]
    assert rules["tor"]["hits"] > 0 or "tor," in never[1]


def test_bands_are_written_to_a_new_file_and_keep_their_promise(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--write` makes a valid policy whose friction on the log is as reported."""
    new = tmp_path / "customer.yaml"
    words = ("calibrate", "--policies", written.policies / "customer.yaml", "--log", written.log, "--journey", "login")
    code, out = run(capsys, *words, "--budget", "60%", "--presume-good", "--write", new, "--json")
    (found,) = json.loads(out)
    assert code == 0
    assert run(capsys, "check", new)[0] == 0
    changed = told(capsys, "diff", written.policies / "customer.yaml", new)[0]
    assert {(change["kind"], change["where"]) for change in changed["changes"]} == {("band", "login")}
    code, out = run(capsys, *words, "--budget", "60%", "--presume-good")
    assert code == 0
    assert f"STEP_UP: {found['new']['STEP_UP']!r} # was 0.02" in out
    assert main(["policy", *map(str, words), "--budget", "60%", "--presume-good", "--write", str(new)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_tenant_is_calibrated_by_itself(written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--tenant`, only its decisions count; its own bands are those to replace, and are printed as its section.
    `--write`, which writes those of the policy, is refused."""
    policy = tmp_path / "customer.yaml"
    text = (written.policies / "customer.yaml").read_text()
    lake = "tenants:\n  lake: {journeys: {login: {bands: {STEP_UP: 0.3}}}}\n"
    policy.write_text(text + lake)
    log = tmp_path / "log"
    log.mkdir()
    named = re.compile(rb'((?:"id"|"assessment_id"):"[0-9a-f]{15}[0-7].*?"tenant":)""')
    lines = [named.sub(rb'\1"lake"', line) for line in read_segments(written.log)]
    (log / "20261101T000000.000000-w0-1.jsonl").write_bytes(b"\n".join([*lines, b""]))
    given = ("--policies", policy, "--log", log, "--journey", "login", "--presume-good")
    words = ("calibrate", *given, "--budget", "90%")
    _, every = run(capsys, *words, "--json")
    _, alone = run(capsys, *words, "--tenant", "lake", "--json")
    (whole,), (one,) = json.loads(every), json.loads(alone)
    assert min(one["good"], whole["good"]) > 0, "each counts its own"
    assert one["old"] == {"STEP_UP": 0.3}
    code, out = run(capsys, *words, "--tenant", "lake")
    assert code == 0
    assert 'tenants:\n  "lake":\n    journeys:\n      login:\n        bands:\n          STEP_UP: ' in out
    assert main(["policy", *map(str, words), "--tenant", "lake", "--write", str(tmp_path / "new.yaml")]) == 2
    assert "below the tenant" in capsys.readouterr().err


def test_the_policys_own_budgets_are_kept(written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--budget`, each journey's own friction budget is used, even while it learns; journeys without one are
    skipped."""
    policy = tmp_path / "customer.yaml"
    text = (written.policies / "customer.yaml").read_text()
    budget = "  login:\n    friction_budget: 0.6\n    learning_until: 2100-01-01\n"
    policy.write_text(text.replace("  login:\n", budget, 1))
    words = ("--log", written.log, "--presume-good", "--json")
    _, own = run(capsys, "calibrate", "--policies", policy, *words)
    told = ("--journey", "login", "--budget", "60%")
    _, asked = run(capsys, "calibrate", "--policies", written.policies / "customer.yaml", *words, *told)
    assert json.loads(own) == json.loads(asked)
    assert main(["policy", "calibrate", "--policies", str(written.policies), "--log", str(written.log)]) == 2
    assert "friction_budget" in capsys.readouterr().err


def test_a_log_that_is_too_small_is_refused(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    """A log that is too small gives exit code 1 and the number of decisions missing."""
    words = ("--policies", written.policies / "customer.yaml", "--log", written.log, "--journey", "login")
    code, out = run(capsys, "calibrate", *words, "--budget", "0.001")
    assert code == 1
    assert re.search(r"refused: .* more good decisions needed", out)


def test_a_log_of_wrong_credentials_sets_no_bands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log in which every credential was wrong is refused, and the reason says so."""
    log = [decision(number, NOW, credential_result="failed", satisfied=False) for number in range(3)]
    write(tmp_path / SEGMENT, *log)
    words = ["calibrate", "--log", str(tmp_path), "--journey", "login", "--budget", "1%", "--presume-good"]
    assert main(["policy", *words]) == 2
    assert "left out: decisions with a wrong credential: 3" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["backtest", "{policies}", "--log", "{tmp}"], "has no segments of a decision log"),
        (
            ["backtest", "{policies}", "--log", "{log}", "--since", "2099-01-01", "--exit-code"],
            "no decision to replay; left out: ",
        ),
        (["rules", "--log", "{log}", "--release", "ffffffffffffffff"], "no decision to replay; left out: "),
        (
            ["calibrate", "--log", "{log}", "--budget", "1%", "--since", "2099-01-01"],
            "no decision to replay; left out: ",
        ),
        (["backtest", "{tmp}/none.yaml", "--log", "{log}"], "cannot be read"),
        (["rules", "--policies", "{policies}/customer.yaml", "--domain", "machine", "--log", "{log}"], "no policy of"),
        (
            ["calibrate", "--policies", "{policies}", "--log", "{log}", "--budget", "1%", "--write", "{tmp}/x"],
            "several",
        ),
        (["diff", "{policies}", "{policies}/customer.yaml"], "and the other has none"),
        (["backtest", "{policies}", "{policies}", "--log", "{log}"], None),
        (["backtest", "{policies}", "--log", "{log}", "--since", "yesterday"], None),
        (["calibrate", "--log", "{log}", "--budget", "2"], None),
    ],
)
def test_impossible_requests_are_refused(
    words: list[str], told: str | None, written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Impossible requests give exit code 2 with the reason."""
    filled = [word.format(policies=written.policies, log=written.log, tmp=tmp_path) for word in words]
    if told is None:
        with pytest.raises(SystemExit) as caught:
            main(["policy", *filled])
        assert caught.value.code == 2
    else:
        assert main(["policy", *filled]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "code"), [((), 0), (("--exit-code",), 1), (("--tighten-only",), 1), (("--exit-code", "--json"), 1)]
)
def test_a_comparison_can_gate(
    flags: tuple[str, ...], code: int, written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`diff` exits with 0 for changes, unless `--exit-code` or `--tighten-only` make them an error."""
    old = written.policies / "customer.yaml"
    new = tmp_path / "customer.yaml"
    new.write_text(old.read_text(encoding="utf-8").replace("STEP_UP: 0.02 #", "STEP_UP: 0.03 #"), encoding="utf-8")
    assert run(capsys, "diff", old, new, *flags)[0] == code
    tighter = ("diff", new, old, "--tighten-only")
    assert run(capsys, *tighter)[0] == 0
    assert run(capsys, "diff", old, old, "--exit-code")[0] == 0


def test_progress_goes_to_stderr_and_only_to_a_terminal(written: Written) -> None:
    """Progress is printed only to a terminal, so that a script's output is clean."""
    words = ["policy", "backtest", str(written.policies), "--log", str(written.log), "--processes", "2", "--json"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "riskd", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["differences"] == 0


def test_the_rules_of_the_settings_are_judged_unless_others_are_named(
    written: Written, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--policies`, the policies of the settings are used."""

    def known() -> set[str]:
        assert main(["policy", "rules", "--log", str(written.log), "--domain", "customer", "--json"]) == 0
        return {rule["name"] for rule in json.loads(capsys.readouterr().out)["customer"]["rules"]}

    assert "large_amount" not in known()
    monkeypatch.setenv("RISKD_RELEASE__POLICIES", str(written.policies))
    assert "large_amount" in known()
