"""`riskd log show`: one assessment, with everything that the log has about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import asdict, replace

from riskd.adapters.decision_log import FileLogArchive
from riskd.cli.main import main
from riskd.config import data_directory
from riskd.core.context import SOURCES, Missing, Place, Route
from riskd.core.features import FEATURES, NAMES
from riskd.core.pseudonym import Pseudonyms, short
from riskd.core.record import AssessmentRecord, Authentication, Facts, RepeatRecord, ShadowRecord, encode
from tests.decision_log import SEGMENT, UNKNOWN, WHENCE, decision, outcome, security_event, write
from tests.releases import candidates

NOON: Final = 1_795_780_800.0
NEW_DEVICE: Final = NAMES.index("new_device")
VECTOR: Final = tuple(1.0 if at == NEW_DEVICE else value for at, value in enumerate(UNKNOWN))
ASKED: Final = decision(
    7,
    NOON,
    tier="STEP_UP",
    satisfied=False,
    vector=VECTOR,
    score=0.0356,
    level="medium",
    hits=("tor",),
    shadow_hits=("night",),
    reasons=("ANONYMIZER", FEATURES[NEW_DEVICE].reason),
    contributions={"new_device": 2.1, "hosting": 0.02},
    gaps=(Missing("agent", "not_sent"),),
    coverage=0.75,
    causes=("rule:odd",),
    withheld="DENY",
    probation=True,
    request_id="r-1",
    session=Authentication(acr="mfa", amr=("pwd", "otp"), authentication_time=NOON - 60, binding="failed"),
    attributes={"amount": "12"},
    registration_time=NOON - 86_400,
    lists=("office",),
    facts=Facts(
        now=NOON,
        network="192.0.2.0/24",
        values=WHENCE,
        place=Place("NO", 59.9, 10.7, 300.0, city="Oslo"),
        route=Route(64496, "Example", anonymizer="tor"),
        agent=None,
        missing=(),
        unread=("address", "browser"),
        counted={"amount.attempts_1h": 2.0, "amount.subjects_24h": 1.0097},
    ),
)
ID: Final = ASKED.id


def again(one: AssessmentRecord) -> RepeatRecord:
    """The same answer, repeated a minute later."""
    given = asdict(one)
    return RepeatRecord(**{name: given[name] for name in RepeatRecord.__struct_fields__} | {"time": NOON + 60})


def beside(one: AssessmentRecord) -> ShadowRecord:
    """What another release would have required."""
    given = {name: value for name, value in asdict(one).items() if name in ShadowRecord.__struct_fields__}
    return ShadowRecord(**given | {"tier": "DENY", "release": "candidate", "model": "m2", "beside": one.release})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of two segments, one compressed, with other lines and an invalid one."""
    write(tmp_path / SEGMENT, decision(1, NOON), ASKED, b"no record", outcome(1, NOON, "session_established"))
    passed = outcome(7, NOON + 30, "challenge_passed", amr=("pwd", "otp"), seconds=8.0, taught=1)
    write(tmp_path / SEGMENT.replace("0101", "0102").replace("jsonl", "jsonl.gz"), passed, again(ASKED), beside(ASKED))
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], log: Path, *more: str, code: int = 0) -> str:
    """The command's output."""
    assert main(["log", "show", "--log", str(log), *more]) == code
    return capsys.readouterr().out


def test_the_text_shows_decision_reasons_and_outcomes(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The text shows each fact, reason with its contribution, gap, and later line of the assessment."""
    told = " ".join(shown(capsys, log, ID).split())
    for part in (
        "required STEP_UP, not satisfied",
        "withheld DENY: the journey was learning",
        "attempt 2026-11-27 12:00Z, customer login, credential succeeded",
        "score 0.0356 (medium), by model m of release r",
        "rules tor, night (in shadow)",
        "degraded rule:odd",
        "unread address, browser",
        "coverage 75%",
        "place Oslo, NO",
        "operator AS64496 Example, tor",
        "device not yet the account's own: without a key it teaches at most once a day",
        "session acr mfa, amr pwd otp, authenticated 2026-11-27 11:59Z, binding failed",
        "registered 2026-11-26 12:00Z",
        "lists office",
        "attributes amount=12",
        "counted amount.attempts_1h=2, amount.subjects_24h=1.01",
        "request id r-1",
        f"{FEATURES[NEW_DEVICE].reason} +2.10 {FEATURES[NEW_DEVICE].text}",
        "agent not_sent",
        "new_device 1 +2.10",
        "candidate m2 DENY 0.0356 tor",
        "2026-11-27 12:01Z r-1",
        "2026-11-27 12:00Z challenge_passed pwd otp 8 s 1",
    ):
        assert part in told, part
    assert "hosting" not in told
    assert "session_established" not in told


def test_the_release_that_decided_says_what_its_rules_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has rules by name, and gaps by reason. What riskd itself says is shown from the log alone; the sentences
    of rules, and all that would have required the tier by itself, as soon as the release is on this host."""
    kept = candidates.releases(tmp_path).create(data_directory("policies"), candidates.MODELS, "ops", "test")
    breached = tuple(
        1.0 if name == "credential_breached" else value for name, value in zip(NAMES, UNKNOWN, strict=True)
    )
    one = decision(
        7,
        NOON,
        tier="STEP_UP",
        satisfied=False,
        vector=breached,
        hits=("breached",),
        reasons=("CREDENTIAL_BREACHED", "MISSING_HISTORY"),
        gaps=(Missing("history", "unavailable"),),
        release=kept.id,
    )
    one = replace(one, facts=replace(one.facts, missing=one.gaps))
    write(tmp_path / "log" / SEGMENT, one)
    monkeypatch.setenv("RISKD_RELEASE__DIR", str(tmp_path / "elsewhere"))
    told = " ".join(shown(capsys, tmp_path / "log", ID).split())
    assert "MISSING_HISTORY An expected fact could not be had: history." in told
    assert f"history unavailable {SOURCES['history']}: riskd could not read it" in told
    assert f"The sentences of its rules are in release {kept.id}, which is not in `release.dir`" in told
    assert "required by" not in told
    monkeypatch.setenv("RISKD_RELEASE__DIR", str(tmp_path / "releases"))
    told = " ".join(shown(capsys, tmp_path / "log", ID).split())
    assert "CREDENTIAL_BREACHED The password is in a breach corpus." in told
    assert "required by rule breached, gap MISSING_HISTORY" in told


def test_nothing_that_a_caller_sent_passes_for_what_riskd_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values from callers are escaped: they can neither add lines nor send terminal control codes."""
    forged = {"amount": "1\x1b[2J\nrequired     BASELINE, satisfied"}
    write(tmp_path / SEGMENT, replace(ASKED, attributes=forged, request_id="\x9b31m"))
    told = shown(capsys, tmp_path, ID)
    assert told.replace("\n", "").isprintable()
    assert [line.split()[1] for line in told.splitlines() if line.startswith("required")] == ["STEP_UP,"]
    assert r"amount=1\x1b[2J\nrequired" in told


def test_scripts_get_the_lines_and_the_features_by_name(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON has every line of the assessment as logged, and the features by name."""
    found: dict[str, Any] = json.loads(shown(capsys, log, ID, "--json"))
    assert found["assessment"]["id"] == ID
    assert found["features"] == dict(zip(NAMES, VECTOR, strict=True))
    assert [each["kind"] for each in found["outcomes"]] == ["challenge_passed"]
    assert [each["tier"] for each in found["shadows"]] == ["DENY"]
    assert [each["time"] for each in found["repeats"]] == [NOON + 60]


def test_an_unknown_assessment_gives_exit_code_1(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For an unknown id, the text explains why it may be missing, the JSON is null, and the exit code is 1."""
    stranger = f"{99:032x}"
    assert f"has nothing about {stranger}" in shown(capsys, log, stranger, code=1)
    assert shown(capsys, log, stranger, "--json", code=1) == "null\n"


def test_the_erased_are_not_shown(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After an erasure was requested, its lines are not shown, even if they are still on disk."""
    FileLogArchive(log, 1.0, 1.0).forget([bytes.fromhex(ID)])
    assert f"has nothing about {ID}" in shown(capsys, log, ID, code=1)


def test_later_lines_are_shown_without_the_assessment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the assessment's own line is missing, its later lines are still shown."""
    write(tmp_path / SEGMENT, outcome(7, NOON, "confirmed_fraud"))
    told = shown(capsys, tmp_path, ID)
    assert "is no longer in the log" in told
    assert "confirmed_fraud" in told


def test_a_line_of_other_features_is_shown_without_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If a line has another feature schema, it is shown without features, and this version is not named to explain
    it."""
    write(tmp_path / SEGMENT, decision(7, NOON, vector=(1.0,), reasons=("ANONYMIZER",), contributions={"old": 1.5}))
    told = " ".join(shown(capsys, tmp_path, ID).split())
    assert "of another version of riskd" in told
    assert "ANONYMIZER" in told
    assert "old +1.50" in told
    write(tmp_path / SEGMENT, decision(7, NOON, vector=(1.0,)))
    assert "riskd model explain" not in shown(capsys, tmp_path, ID)


def test_without_contributions_it_says_who_can_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without contributions, the text shows the command that can compute them."""
    write(tmp_path / SEGMENT, decision(7, NOON))
    told = shown(capsys, tmp_path, ID)
    assert f"riskd model explain customer m --log {tmp_path} --id {ID}" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [((ID.upper().replace("7", "F"),), "is not an assessment id"), (("--log", "nowhere", ID), "is not a directory")],
)
def test_a_bad_id_or_log_is_refused(
    log: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad id or log gives exit code 2 with a remedy."""
    assert main(["log", "show", "--log", str(log), *words]) == 2
    assert said in capsys.readouterr().err


def test_earlier_security_events_are_shown_with_their_issuer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The account's security events of the thirty days before the decision are shown with their issuer."""
    asked = decision(7, NOON, subject=f"{7:032x}", reasons=("RISK_REPORTED",))
    high = {"level": "high", "issuer": "https://idp.example", "caller": "receiver"}
    write(
        tmp_path / SEGMENT,
        security_event(7, NOON - 31 * 86_400, "account_disabled"),
        security_event(7, NOON - 3600, "risk_level_change", **high),
        security_event(6, NOON - 3600, "recovery_activated"),
        security_event(7, NOON - 60, "account_enabled", written=NOON + 1),
        asked,
        security_event(7, NOON + 9, "credential_change", credential_type="password"),
    )
    told = " ".join(shown(capsys, tmp_path, asked.id).split())
    assert "2026-11-27 11:00Z risk_level_change high https://idp.example, through receiver" in told
    for part in ("account_disabled", "recovery_activated", "account_enabled", "credential_change"):
        assert part not in told, part
    found = json.loads(shown(capsys, tmp_path, asked.id, "--json"))
    assert [each["kind"] for each in found["events"]] == ["risk_level_change"]


def test_security_events_from_before_a_rotation_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Security events under any number of layers are shown, but none of other accounts, domains or peppers; without a
    pepper, those that can be found. Lines that cannot be read are counted, and a line may have its fields in any
    order."""
    peppers = [b"a pepper of sixteen bytes", b"another of sixteen bytes", b"a third of sixteen bytes.."]

    def named(who: str, layers: int, domain: str = "customer") -> dict[str, str]:
        made = Pseudonyms(peppers[0], peppers[1 : 1 + layers])
        keyed = short(made.digest("", domain, "domain", ""))
        return {"subject": made.digest("", domain, "subject", who).hex(), "keyed": keyed, "domain": domain}

    subject = named("alex", 2)["subject"]
    asked = decision(7, NOON, id=subject[:16] + f"{7:016x}", subject=subject)
    foreign = short(Pseudonyms(bytes(16)).digest("", "customer", "domain", ""))
    reordered = dict(reversed(json.loads(encode(decision(6, NOON))).items()))
    write(
        tmp_path / SEGMENT.replace("jsonl", "jsonl.gz"),
        security_event(7, NOON - 400, "account_disabled", **named("alex", 0)),
        security_event(7, NOON - 300, "recovery_activated", **named("alex", 1)),
        security_event(7, NOON - 200, "account_enabled", **named("alex", 2)),
        security_event(7, NOON - 100, "credential_change", **named("kim", 1)),
        security_event(7, NOON - 100, "credential_change", **named("alex", 1, "workforce")),
        security_event(7, NOON - 100, "credential_change", **named("alex", 1) | {"keyed": foreign}),
        b'{"type":"security_event","id":1}',
        json.dumps(reordered).encode(),
        asked,
    )
    pepper = tmp_path / "pepper"
    settings = ("--set", f"secrets.pepper_file={pepper}", "--json")
    kinds = ["account_disabled", "recovery_activated", "account_enabled"]
    found = json.loads(shown(capsys, tmp_path, asked.id, *settings))
    assert [each["kind"] for each in found["events"]] == kinds[-1:]
    assert not pepper.exists()
    pepper.write_bytes(b"\n".join(peppers))
    found = json.loads(shown(capsys, tmp_path, asked.id, *settings))
    assert [each["kind"] for each in found["events"]] == kinds
    assert [each["subject"] for each in found["events"]] == [named("alex", layers)["subject"] for layers in range(3)]
    assert [each["line"] for each in found["first_unreadable"]] == [7]


def test_events_alone_are_no_assessment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the log has only events about an id, the assessment is reported as missing."""
    write(tmp_path / SEGMENT, security_event(7, NOON, "account_enabled"))
    assert "has nothing about" in shown(capsys, tmp_path, f"{7:032x}", code=1)
