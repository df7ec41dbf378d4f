"""docs/browser.md as it stands: its script measures a form, and its server code sends that to a real service."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from msgspec import structs

from riskd._proto.riskd.v1.risk_pb2 import AssessRequest
from riskd.core import record
from riskd.core.attempt import Behaviour
from riskd.core.features import FEATURES
from riskd.core.signals import PURPOSE
from tests.e2e.clients import pages
from tests.e2e.clients.pages import App
from tests.e2e.service import LONDON, ROOT, Service, eventually, serving

PAGE: Final = (ROOT / "docs" / "browser.md").read_text(encoding="utf-8")
BOTH: Final = ("device", "behaviour")
CHROME: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/153.0.0.0 Safari/537.36"
)
HEADERS: Final = {"user-agent": CHROME, "sec-ch-ua-platform": '"Windows"', "sec-ch-ua-mobile": "?0"}
DEVICE: Final = {"timezone": "Europe/Oslo", "languages": ["nb-NO", "en"], "screen": "1920x1080"}
TYPED: Final = [
    {"at": 1_500.0, "type": "pointermove"},
    {"at": 1_600.0, "type": "pointerdown"},
    *({"at": at, "on": "text", "type": "keydown", "key": "x"} for at in (2_000.0, 2_190.4, 2_310.0)),
    {"at": 2_350.0, "on": "text", "type": "keydown", "key": "x", "repeat": True},
    {"at": 2_400.0, "on": "text", "type": "input", "inputType": "insertText"},
    {"at": 9_000.0, "on": "password", "type": "keydown", "key": "s"},
    {"at": 9_001.0, "on": "password", "type": "input", "inputType": "insertText"},
    *({"at": at, "on": "password", "type": "keydown", "key": "s"} for at in (9_150.0, 9_230.0, 9_600.0)),
]
BEHAVIOUR: Final = {
    "typing_intervals_ms": [80, 120, 150, 190, 370],
    "pointer_events": 2,
    "pasted": False,
    "form_duration": "11.345s",
}
PASTE: Final = {"at": 9_700.0, "type": "paste"}
PLAY: Final = {
    "python": """
import json, sys
import grpc
from google.protobuf import json_format
from riskd.v1 import risk_pb2, risk_pb2_grpc
from browser import ask, describe
from client import assess, connect
answers = []
keeping = lambda *words: answers.append(ask(*words)) or answers[-1]
for line in sys.stdin:
    given = json.loads(line)
    request = json_format.ParseDict(given["request"], risk_pb2.AssessRequest())
    describe(request, *(given[name] for name in ("headers", "device_id", "posted", "granted")))
    with connect(given["target"]) as channel:
        _, assessment = assess(risk_pb2_grpc.RiskServiceStub(channel), request, 5.0, keeping)
    print(json.dumps([assessment, {gap.source: gap.why for gap in answers[-1].gaps}]), flush=True)
""",
    "node": """
import { createInterface } from "node:readline";
import { ask, describe } from "./browser.mjs";
import { assess, connect } from "./client.mjs";
let answer;
const keeping = async (...words) => (answer = await ask(...words));
for await (const line of createInterface({ input: process.stdin })) {
  const { target, request, headers, device_id, posted, granted } = JSON.parse(line);
  const risk = connect(target);
  const attempt = { ...request, ...describe(risk, headers, device_id, posted, granted) };
  const [, assessment] = await assess(risk, attempt, 5000, keeping);
  const gaps = Object.fromEntries(answer.gaps.map(({ source, why }) => [source, why]));
  console.log(JSON.stringify([assessment, gaps]));
  risk.close();
}
""",
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> App:
    """A page with the module and the script of the page."""
    folder = tmp_path_factory.mktemp("browser")
    module, _ = pages.blocks(PAGE, "js")
    (html,) = pages.blocks(PAGE, "html")
    (script,) = re.findall(r"<script type=\"module\">(.*)</script>", html, re.DOTALL)
    for name, text in {"signals.js": module, "page.js": script, "package.json": '{"type": "module"}'}.items():
        (folder / name).write_text(text)
    (folder / "form.mjs").write_text((pages.HERE / "form.mjs").read_text())
    return App("browser", folder, ["node", "form.mjs"], pages.NODE_ENVIRONMENT)


@pytest.fixture(scope="module", params=["python", "node"])
def server(request: pytest.FixtureRequest, client_of: Callable[[str], App]) -> Iterator[App]:
    app = client_of(request.param)
    _, node = pages.blocks(PAGE, "js")
    (python,) = pages.blocks(PAGE, "python")
    (app.folder / "browser.py").write_text(python)
    (app.folder / "browser.mjs").write_text(node)
    (app.folder / "ask.py").write_text(PLAY["python"])
    (app.folder / "ask.mjs").write_text(PLAY["node"])
    command = {"python": [sys.executable, "-S", "ask.py"], "node": ["node", "ask.mjs"]}[app.language]
    with structs.replace(app, command=command).started() as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("browser_doc")) as running:
        yield running


def fill_in(browser: App, *events: dict[str, object], **given: object) -> dict[str, Any]:
    """What the page posted and touched when the form was sent, 11.345 s after it appeared."""
    scenario = {"granted": BOTH, "missing": [], "autofilled": False, "events": events, "sent": 12_345.0}
    scenario |= {"fields": ["text", "password"], **given}
    done = browser.run(browser.command, json.dumps(scenario))
    assert done.returncode == 0, done.stderr
    came: dict[str, Any] = json.loads(done.stdout)
    return came


def posted(browser: App, *events: dict[str, object], **given: object) -> dict[str, Any]:
    """The signals that the page posted."""
    signals: dict[str, Any] = json.loads(fill_in(browser, *events, **given)["posted"])
    return signals


def test_the_table_is_that_of_the_contract_and_the_features() -> None:
    """Every row names a field of the request, the features that use it and their purpose; no feature is left out."""
    rows = re.findall(r"^\| (.*) \| `(\w+)\.(\w+)` \| (.*) \| (\w+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 12
    by_name = {feature.name: feature for feature in FEATURES}
    told: dict[str, set[str]] = {}
    for _, part, field, features, purpose in rows:
        message = AssessRequest.DESCRIPTOR.fields_by_name[part].message_type
        assert message is not None
        assert field in message.fields_by_name
        names = set(re.findall(r"`(\w+)`", features))
        assert {by_name[name].purpose for name in names} == {purpose}, field
        source = field if field in PURPOSE else "agent" if purpose == "security" else part
        told.setdefault(source, set()).update(names)
    for source, names in told.items():
        using = {f.name for f in FEATURES if source in f.sources}
        purpose = PURPOSE.get(source, "security")
        assert {name for name in using if by_name[name].purpose == purpose} <= names, source
    claimed = [f"{part}.{field}" for start, part, field, *_ in rows if not start.startswith("server:")]
    assert claimed == [f"device.{name}" for name in DEVICE] + [f"behaviour.{name}" for name in BEHAVIOUR]


def test_the_script_measures_what_happened(browser: App) -> None:
    """Intervals between presses in one field, held keys not counted, in ascending order; pointer, pasting and time."""
    assert posted(browser, *TYPED) == {"device": DEVICE, "behaviour": BEHAVIOUR}


def test_the_script_reads_no_key_and_no_value(browser: App) -> None:
    """Of events and fields it reads nothing that says what was typed; it listens passively and stops at the end."""
    came = fill_in(browser, *TYPED, PASTE | {"on": "password"})
    assert came["event"] == ["inputType", "repeat", "target", "timeStamp"]
    assert came["field"] == ["type"]
    assert came["left"] == ["submit"], "which is the page's own"
    assert {kind for kind, passive in came["options"].items() if not passive} == {"submit"}
    assert "the password" not in came["posted"]


@pytest.mark.parametrize(
    ("event", "autofilled", "pasted"),
    [
        (PASTE | {"on": "password"}, False, True),
        (PASTE | {"on": "text"}, False, False),
        ({"at": 9_700.0, "on": "password", "type": "input"}, False, True),
        ({"at": 9_700.0, "on": "password", "type": "input", "inputType": "insertFromDrop"}, False, True),
        ({"at": 9_700.0, "on": "password", "type": "input", "inputType": "deleteContentBackward"}, False, False),
        ({"at": 9_700.0, "on": "text", "type": "input"}, False, False),
        ({"at": 9_700.0, "on": "text", "type": "input"}, True, True),
        ({"at": 9_700.0, "on": "text", "type": "input"}, None, False),
    ],
)
def test_the_script_knows_a_credential_that_was_not_typed(
    browser: App, event: dict[str, object], autofilled: bool | None, pasted: bool
) -> None:
    """Pasted, dropped or filled in by a password manager, and in the password's field only. A browser without
    `:autofill` does not break it."""
    assert posted(browser, *TYPED, event, autofilled=autofilled)["behaviour"]["pasted"] is pasted


@pytest.mark.parametrize(
    ("missing", "part", "field"),
    [
        ("Intl", "device", "timezone"),
        ("navigator", "device", "languages"),
        ("screen", "device", "screen"),
        ("PointerEvent", "behaviour", "pointer_events"),
        ("performance", "behaviour", "form_duration"),
    ],
)
def test_a_missing_interface_leaves_its_field_out(browser: App, missing: str, part: str, field: str) -> None:
    """All else is as it was."""
    expected: dict[str, dict[str, object]] = {"device": dict(DEVICE), "behaviour": dict(BEHAVIOUR)}
    del expected[part][field]
    assert posted(browser, *TYPED, missing=[missing]) == expected


def test_a_form_without_a_password_says_nothing_of_one(browser: App) -> None:
    """Where no password is asked for, as with passkeys, `pasted` is left out."""
    came = posted(browser, *TYPED[:6], fields=["text"])["behaviour"]
    assert came == {"typing_intervals_ms": [120, 190], "pointer_events": 2, "form_duration": "11.345s"}


def test_nothing_is_measured_without_consent(browser: App) -> None:
    """A purpose that was not granted is not collected; without any, the script does not even listen."""
    assert posted(browser, *TYPED, granted=["device"]) == {"device": DEVICE}
    assert posted(browser, *TYPED, granted=["behaviour"]) == {"behaviour": BEHAVIOUR}
    came = fill_in(browser, *TYPED, granted=[])
    assert (came["posted"], list(came["options"])) == ("{}", ["submit"])


def test_what_is_measured_is_bounded(browser: App) -> None:
    """Never more than riskd takes: 512 intervals, each up to ten minutes, and one day."""
    keys = [{"at": 2_000.0 + 10 * number, "on": "text", "type": "keydown"} for number in range(600)]
    pause = {"at": 2_000_000.0, "on": "text", "type": "keydown"}
    came = posted(browser, *keys[:3], pause, *TYPED[-1:], sent=1e9)["behaviour"]
    assert (came["typing_intervals_ms"], came["form_duration"]) == ([10, 10], "86400.000s")
    assert posted(browser, *keys)["behaviour"]["typing_intervals_ms"] == [10] * 512


def ask(
    server: App, service: Service, said: str, granted: tuple[str, ...] = BOTH
) -> tuple[record.AssessmentRecord, dict[str, str]]:
    """The record and the gaps of a sign-in that posted this."""
    number = len(service.decisions())
    request = {
        "request_id": f"{server.folder}-{number}",
        "domain": "IDENTITY_DOMAIN_CUSTOMER",
        "subject": "kim",
        "journey": "JOURNEY_LOGIN",
        "credential_result": "CREDENTIAL_RESULT_SUCCEEDED",
        "network": {"client_ip": LONDON},
    }
    given = {"target": service.address, "request": request, "headers": HEADERS, "posted": said, "granted": granted}
    device_id = "7Wk1hZ0pQeS3m2cYv8TnXA" if "device" in granted else ""
    assessment, gaps = server.answer({**given, "device_id": device_id})

    def found() -> list[record.AssessmentRecord]:
        return [
            each for each in service.decisions() if isinstance(each, record.AssessmentRecord) if each.id == assessment
        ]

    eventually(lambda: len(found()) == 1)
    return found()[0], gaps


def lacking(line: record.AssessmentRecord) -> dict[str, str]:
    """Why each signal of this page is missing from the facts."""
    signals = ("agent", "device_id", "languages", "timezone", "screen", "behaviour")
    return {gap.source: gap.why for gap in line.facts.missing if gap.source in signals}


def test_the_service_takes_all_of_it(browser: App, server: App, service: Service) -> None:
    """Nothing is refused, no signal of the page is a gap, and riskd has what was measured."""
    said = fill_in(browser, *TYPED)["posted"]
    line, gaps = ask(server, service, said)
    assert lacking(line) == {}
    assert not gaps.keys() & {"agent", "device_id", "languages", "timezone", "screen", "behaviour"}
    signals = line.signals
    assert signals is not None
    assert (signals.languages, signals.platform, signals.mobile) == (("nb-NO", "en"), "Windows", False)
    assert signals.consent == BOTH
    assert signals.behaviour == Behaviour(
        typing_intervals_ms=(80.0, 120.0, 150.0, 190.0, 370.0), pointer_events=2, pasted=False, form_seconds=11.345
    )


def test_a_withheld_purpose_is_named_as_one(browser: App, server: App, service: Service) -> None:
    """Without consent the sign-in is assessed, and its gaps say `not_consented`."""
    line, gaps = ask(server, service, fill_in(browser, *TYPED, granted=[])["posted"], ())
    withheld = dict.fromkeys(("device_id", "languages", "timezone", "screen", "behaviour"), "not_consented")
    assert lacking(line) == withheld
    assert gaps.items() >= withheld.items()


FORGED: Final = {
    **dict.fromkeys(("user_agent", "device_id", "platform", "fingerprint"), "forged"),
    "attestation": "ATTESTATION_HARDWARE",
}
NONE: Final = dict.fromkeys(("languages", "timezone", "screen"), "not_sent")
UNMEASURED: Final = {"behaviour": "not_sent"}


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ("", NONE | UNMEASURED),
        ("[" * 16_384, NONE | UNMEASURED),
        ("[]", NONE | UNMEASURED),
        ('"device"', NONE | UNMEASURED),
        (json.dumps({"device": "timezone", "behaviour": 7}), NONE | UNMEASURED),
        (json.dumps({"device": DEVICE, "behaviour": {"typing_intervals_ms": "fast"}}), UNMEASURED),
        (json.dumps({"device": DEVICE, "behaviour": BEHAVIOUR | {"pointer_events": -1}}), UNMEASURED),
        (json.dumps({"device": DEVICE, "behaviour": BEHAVIOUR | {"form_duration": "100000s"}}), UNMEASURED),
        (json.dumps({"device": DEVICE | {"timezone": "x" * 65}, "behaviour": BEHAVIOUR}), NONE),
        (json.dumps({"device": DEVICE | {"screen": "\0"}, "behaviour": {"pointer_events": -1}}), NONE | UNMEASURED),
        (json.dumps({"device": DEVICE | FORGED, "behaviour": BEHAVIOUR, "network": {"client_ip": "::1"}}), {}),
    ],
)
def test_a_bad_claim_costs_its_part_and_no_sign_in(
    server: App, service: Service, said: str, missing: dict[str, str]
) -> None:
    """What is malformed, out of range or not the script's to say is dropped, and what the server saw stays."""
    line, _ = ask(server, service, said)
    assert lacking(line) == missing
    assert line.signals is not None
    assert (line.signals.platform, line.signals.attestation) == ("Windows", "")
    assert line.facts.agent is not None
    assert {"fingerprint", "attestation"} <= {gap.source for gap in line.facts.missing}
    assert (line.facts.place and line.facts.place.country) == "GB"
