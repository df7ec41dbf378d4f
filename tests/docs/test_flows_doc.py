"""The page on flows: each row of its tables is played, with what its cells say is sent and reported."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec.structs import replace

from riskd.adapters.policy_file import load_cases
from riskd.core import record
from riskd.core.assess import Release
from riskd.core.policy import Issuer
from riskd.core.requirement import Tier
from riskd.engine import Engine
from riskd.offline.policies.cases import run_cases
from riskd.server.calls.boundary import Boundary
from riskd.server.grpc_server import Options, build_server
from tests.bench import parts
from tests.docs.flows_example import (
    DOCS,
    GOOGLE,
    OWNER,
    PAGE,
    PHONE,
    TEN,
    Account,
    Past,
    Words,
    block,
    release,
    rows,
)
from tests.doubles import ListLog
from tests.server.world import ListMeter
from tests.shipped import shipped_release

TABLET: Final[Words] = {"with": "laptop", "from": "home"}
STAFF: Final = (({"who": "sam"}, range(56, 0, -2)),)
"""Eight weeks on the managed laptop in the office."""
APP: Final[Words] = {
    "user_agent": "Shop/3.2.1 (iPhone; iOS 18.7)",
    "device_id": "phone-1",
    "screen": "393x852",
    "languages": ["en-GB"],
    "timezone": "Europe/London",
    "attestation": "hardware",
}
API: Final[Words] = {"with": "nothing", "from": "home", "device": APP}
APP_OWNER: Final = ((PHONE, range(56, 0, -3)), (API, range(55, 0, -3)))
TV: Final[Words] = {
    "with": "nothing",
    "from": "home",
    "device": {
        "user_agent": "Mozilla/5.0 (SMART-TV; Linux; Tizen 8.0) AppleWebKit/537.36 108.0.5359.1/8.0 TV Safari/537.36",
        "device_id": "tv-1",
    },
}
KIOSK: Final[Words] = {
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/153.0.0.0 Safari/537.36",
    "platform": "Linux",
    "screen": "1920x1080",
    "languages": ["en-GB"],
    "timezone": "Europe/London",
}


def kiosk(device_id: str) -> Words:
    """The computer of a library."""
    return {"with": "nothing", "from": "mobile", "device": KIOSK | {"device_id": device_id}}


MAIL_APP: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/22H20"
)
HOME: Final = (PHONE, range(56, 0, -3))
VISITOR: Final = (HOME, *[(kiosk(f"of day {day}"), [day]) for day in range(55, 0, -7)])
"""Also in the library once a week, where every session has another id."""
KEPT: Final = (HOME, (kiosk("kept"), range(55, 0, -7)))
"""The same, where the computer keeps its id."""
FEDERATED: Final = ((PHONE | {"federation": {"issuer": GOOGLE}}, range(56, 0, -3)),)
"""Eight weeks by Google, which is the only way in."""
FAMILY: Final = tuple((TABLET | {"subject": name}, range(56, 0, -3)) for name in ("alex", "kim", "sam"))


class Play(NamedTuple):
    """What a row does not say: what the attempt is made with and from where, and what was before."""

    words: Words = PHONE
    past: Past = OWNER
    before: Callable[[Account], object] = lambda _: None
    release: Callable[[], Release] = release


def new_phone(place: str = "home", **device: object) -> Words:
    """Another phone, with its clock and languages where they differ."""
    return {"with": "new_phone", "from": place, "device": device}


def computer(place: str, **device: object) -> Words:
    """A computer that is not the owner's."""
    return {"with": "copied_browser", "from": place, "device": device}


SYDNEY: Final = new_phone("sydney", timezone="Australia/Sydney")
IN_MADRID: Final[Words] = {"languages": ["es-ES"], "timezone": "Europe/Madrid"}
PASSKEY: Final = "`login`, `succeeded`, `[swk, mfa]`"
SAM: Final[Words] = {"who": "sam"}
NEW_LAPTOP: Final[Words] = SAM | {"with": "copied_browser"}
HAS_PASSKEY: Final[Words] = {"attributes": {"passkey": "synced"}}
REPORTED: Final[Words] = {"outside": {"risk_level": "high"}}
TODAY: Final[Words] = {"amr": ["hwk", "mfa"], "authentication_time": "2h ago"}
LONG_AGO: Final[Words] = {"amr": ["hwk", "mfa"], "authentication_time": "40d ago"}
WAITING: Final[Words] = {"device": TV["device"] | {"device_id": "stranger"}, "with": "nothing"}
DEVICES: Final = "#shared-computers-televisions-terminals-call-centres"
GUEST: Final[Words] = PHONE | {"subject": "guest@mail.example", "tenant": "guests"}


def hijacked(account: Account) -> Account:
    """The provider of the cloud account reports that somebody has taken it over."""
    return account.told("account_disabled", hijacked=True)


def recovered(account: Account) -> Account:
    """The owner proved who they are, and regained the account yesterday on the new phone."""
    answer = account.ask(new_phone(), "`recovery`, `not_checked`")
    account.report(answer, "`challenge_passed`, `recovery_completed`")
    return account.after(1)


def number_changed(account: Account) -> Account:
    """An hour ago the call centre changed the number to which messages go."""
    return account.told("recovery_information_changed").after(1 / 24)


def trusting() -> Release:
    """The shipped release, whose customers' policy trusts Google."""
    policies = shipped_release().policies
    policy = replace(policies["customer"], trusted_issuers={GOOGLE: Issuer()})
    return replace(shipped_release(), policies={**policies, "customer": policy})


EXPECTED: Final = partial(release, "customer.yaml")
CODES: Final = partial(release, "customer.yaml, accounts without a password")
GUESTS: Final = partial(release, "customer.yaml, a tenant")
PLAYS: Final[Mapping[str, Mapping[str, Play]]] = {
    "passkeys": {
        "every week, on the phone": Play(),
        "after four months": Play(before=lambda account: account.after(120)),
        "after a year, when riskd has forgotten the account": Play(before=lambda account: account.after(365)),
        "a new phone at home, the passkey came with the cloud account": Play(new_phone()),
        "that phone pays, minutes later": Play(
            new_phone(),
            before=lambda account: account.signed_in(PASSKEY, "`challenge_passed` `[swk, mfa]`", new_phone()),
        ),
        "a new phone, the pass reported without its methods": Play(new_phone()),
        "a new phone, the methods not sent: taken for a password": Play(new_phone()),
        "a new phone, the passkey only touched": Play(new_phone()),
        "private browsing": Play(PHONE | {"device": {"device_id": "of this window", "fingerprint": ""}}),
        "in Madrid, with the phone": Play(PHONE | {"from": "madrid"}),
        "in Sydney, with a new phone": Play(SYDNEY),
        "a friend's computer, by QR code": Play(computer("london_proxy")),
        "a hotel's computer in Madrid, by QR code": Play(computer("madrid", **IN_MADRID)),
        "a passkey is added to an account with a password": Play(),
        "the browser adds one by itself, after a second factor": Play(),
        "a passkey is removed": Play(),
        "every passkey is lost: a recovery on a new phone at home": Play(new_phone()),
        "a day after its recovery, that phone changes the address": Play(new_phone(), before=recovered),
        "a thief of the cloud account, on a phone in Sydney": Play(SYDNEY),
        "a thief of the cloud account, in the owner's city": Play(new_phone("london_proxy")),
        "that thief changes the address for messages": Play(new_phone("london_proxy")),
        "the same, after the cloud's provider has reported the account": Play(
            new_phone("london_proxy"), before=hijacked
        ),
        "a phishing site in a data centre offers the password instead": Play(computer("cloud")),
        "the same site, through a home line in the owner's country": Play(computer("london_proxy")),
    },
    "staff": {
        "every day, with a key bound to the laptop": Play(SAM, STAFF),
        "a new laptop at home, with its own key": Play(NEW_LAPTOP, STAFF),
        "a new laptop in Madrid, with a security key": Play(NEW_LAPTOP | {"from": "madrid"}, STAFF),
        "a new laptop in Madrid, with a synced passkey": Play(NEW_LAPTOP | {"from": "madrid"}, STAFF),
        "it approves a payment run there, and the flow takes a key instead": Play(
            NEW_LAPTOP | {"from": "madrid"}, STAFF
        ),
        "a payment run on a new laptop at home, after a synced passkey": Play(NEW_LAPTOP, STAFF),
        "a payment run on a new laptop at home, after a security key": Play(NEW_LAPTOP, STAFF),
        "a phishing site offers the password and a code instead": Play(NEW_LAPTOP | {"from": "london_proxy"}, STAFF),
        "a push of Okta's on a new laptop, in Okta's words": Play(NEW_LAPTOP, STAFF),
        "the same push, [called what it is](#federation)": Play(NEW_LAPTOP, STAFF),
        f"a stranger's device waits for an approval ([device code]({DEVICES})), in a data centre": Play(
            NEW_LAPTOP | {"from": "cloud"}, STAFF
        ),
    },
    "expected": {
        "the phishing site, through a home line in the owner's country": Play(
            computer("london_proxy") | HAS_PASSKEY, release=EXPECTED
        ),
        "the same, with the owner's code": Play(computer("london_proxy") | HAS_PASSKEY, release=EXPECTED),
        "the owner with the password, on the phone": Play(PHONE | HAS_PASSKEY, release=EXPECTED),
        "the owner on a new phone, with the passkey": Play(new_phone() | HAS_PASSKEY, release=EXPECTED),
    },
    "codes": {
        "every week, a code by mail": Play(release=CODES),
        "every week, asked before the code is sent": Play(release=CODES),
        "a later step of the session, by text message": Play(release=CODES),
        "a new phone, a code by mail": Play(new_phone(), release=CODES),
        "a new phone, a second code by mail": Play(new_phone(), release=CODES),
        "a wrong code": Play(release=CODES),
        "a link opened in the browser that asked for it": Play(release=CODES),
        "a link opened in the browser of a mail app": Play(
            PHONE | {"device": {"device_id": "of the mail app", "fingerprint": "", "user_agent": MAIL_APP}},
            release=CODES,
        ),
        "a mail scanner opens the link, from a data centre": Play(computer("cloud"), release=CODES),
        "a thief with the owner's number (SIM swap)": Play(new_phone("london_proxy"), release=CODES),
        "the same, and the carrier says that the SIM is new": Play(new_phone("london_proxy") | REPORTED, release=CODES),
        "the owner with a new SIM, on the phone": Play(PHONE | REPORTED, release=CODES),
    },
    "federation": {
        "Google, every week": Play(past=FEDERATED),
        "Google, without your session": Play(past=FEDERATED),
        "Google, on a new phone": Play(new_phone(), FEDERATED),
        "Google, on a new phone, trusted, with `amr` and `auth_time` of today": Play(
            new_phone() | {"federation": TODAY}, FEDERATED, release=trusting
        ),
        "Google, trusted, but its own sign-in was 40 days ago": Play(
            PHONE | {"federation": LONG_AGO}, FEDERATED, release=trusting
        ),
        "the first visit opens the account (just in time)": Play(PHONE | {"subject": "newcomer"}),
        "a thief with the owner's Google account, in Sydney": Play(SYDNEY, FEDERATED),
    },
    "apps": {
        "sign-in in the tab, with the app's id": Play(),
        "the first call pays, with the same id": Play(API),
        "the first call pays, with an id of its own": Play(API | {"device": APP | {"device_id": "of the app"}}),
        "finger or face unlock the app; it refreshes its token": Play(API, APP_OWNER),
        "the same after 40 days": Play(API, APP_OWNER),
        "the app signs with a key that finger or face unlock; a change": Play(API, APP_OWNER),
        "a stolen refresh token, in Sydney": Play(
            API | {"from": "sydney", "device": APP | {"device_id": "the thief's", "attestation": ""}}, APP_OWNER
        ),
        "the same, with a copy of the device id": Play(
            API | {"from": "sydney", "device": APP | {"attestation": ""}}, APP_OWNER
        ),
        "a stolen token that is bound to the app's key, with a copy of the device id, in the owner's city": Play(
            API | {"from": "london_proxy", "device": APP | {"attestation": ""}, "session": {"binding": "failed"}},
            APP_OWNER,
        ),
        "an app that the platform does not vouch for": Play(
            API | {"device": APP | {"attestation": "failed"}}, APP_OWNER
        ),
    },
    "devices": {
        "a library's computer, a new device id each time": Play(kiosk("of today"), VISITOR),
        "a stranger there pays in a session that was left open": Play(kiosk("of today"), VISITOR),
        "the same, where the computer kept its device id for weeks": Play(kiosk("kept"), KEPT),
        "a family's tablet, used by three accounts": Play(TABLET, FAMILY),
        "a television shows a code: the owner signs in on the phone": Play(),
        "then the television that waits, at home": Play(TV),
        "a stranger's device waits, in Sydney": Play(WAITING | {"from": "sydney"}),
        "a stranger's device waits, in Madrid": Play(WAITING | {"from": "madrid"}),
        "a stranger's device waits, in a data centre": Play(WAITING | {"from": "cloud"}),
        "a stranger's browser waits, on a home line in the owner's country": Play(computer("london_proxy")),
        "a command line refreshes its token, with its own agent": Play(
            {"with": "script", "device": {"device_id": "of the command line"}}
        ),
        "a payment on the phone, an hour after the call centre changed the number": Play(before=number_changed),
        "a payment on another device in the owner's city, after that": Play(
            computer("london_proxy"), before=number_changed
        ),
    },
    "sessions": {
        "a remembered session of 20 days": Play(),
        "a remembered session of 40 days": Play(),
        "its owner answers with a passkey": Play(),
        "a session of 20 days pays": Play(),
        "a session of 20 days changes the address": Play(),
        "a guest pays": Play(PHONE | {"subject": "guest@mail.example"}),
        "a guest pays, with the tenant below": Play(GUEST, release=GUESTS),
        "the same guest pays through Tor": Play(GUEST | {"from": "tor"}, release=GUESTS),
    },
}
ROWS: Final = [(table, row) for table in PLAYS for row in rows(table)]


def played(table: str, row: list[str]) -> tuple[str, str]:
    """What riskd requires in a row, and the units that its outcomes teach, as the page writes them."""
    step, send, _, report, _ = row
    play = PLAYS[table][step]
    account = Account(play.release(), play.past)
    play.before(account)
    answer = account.ask(play.words, send)
    requirement = answer.requirement
    told = f"{requirement.tier.name}, satisfied" if requirement.satisfied else requirement.tier.name
    return told, str(account.report(answer, report, play.words.get("tenant", ""))) if report else ""


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda value: value[0] if isinstance(value, list) else value)
def test_the_tables_say_what_is_required_and_taught(table: str, row: list[str]) -> None:
    """With what its cells send and report, each row gets the answer, and teaches the units, that the page states."""
    assert played(table, row) == (row[2], row[4])


@pytest.mark.parametrize("table", PLAYS)
def test_every_play_is_a_row(table: str) -> None:
    """The rows of a table are its plays, in order, so that none is skipped; and the page has no other such table."""
    assert [row[0] for row in rows(table)] == list(PLAYS[table])
    assert PAGE.count("| step | send |") == len(PLAYS)


def test_the_cases_of_the_page_hold(tmp_path: Path) -> None:
    """The rule on accounts with a passkey is accepted with these settings, and its cases pass."""
    (tmp_path / "customer.yaml").write_text(block("tests/customer.yaml"))
    report = run_cases([load_cases(tmp_path / "customer.yaml", lambda _: EXPECTED().policies["customer"])])

    assert [result.differences for result in report.results] == [()] * block("tests/customer.yaml").count("- desc")


@pytest.mark.parametrize(
    ("device", "reasons"),
    [
        ({"user_agent": "Shop/3.2 (Android 15; Pixel 9)"}, set()),
        ({"user_agent": "Shop/3.2 (iPhone; iOS 18.7)"}, set()),
        ({"user_agent": "okhttp/4.12"}, set()),
        ({"user_agent": "okhttp/4.12", "platform": "Android"}, {"FORGED_BROWSER"}),
        ({"user_agent": "okhttp/4.12", "mobile": True}, {"FORGED_BROWSER"}),
        ({"user_agent": "python-httpx/0.28"}, {"AUTOMATED_CLIENT"}),
    ],
)
def test_the_user_agents_of_apps(device: Words, reasons: set[str]) -> None:
    """An app's agent is neither forged nor a script, unless client hints contradict it or a server's is passed on; a
    script is denied a registration."""
    words = API | {"from": "cloud", "subject": "newcomer", "device": APP | device}
    answer = Account(shipped_release()).ask(words, "`registration`, `not_checked`")

    assert {reason.code for reason in answer.reasons} & {"FORGED_BROWSER", "AUTOMATED_CLIENT"} == reasons
    assert (answer.requirement.tier is Tier.DENY) == ("AUTOMATED_CLIENT" in reasons)


def test_without_these_tiers_a_code_never_meets_a_step_up() -> None:
    """In the shipped policy codes without a password meet no STEP_UP, and a text message satisfies no later step."""
    account = Account(shipped_release())
    answer = account.ask(new_phone(), "`login`, `succeeded`, `[otp]`")
    later = account.ask(PHONE, "`session`, `not_checked`, `[sms]` of 1h")

    assert (answer.requirement.tier, account.report(answer, "`challenge_passed` `[otp, sms]`")) == (Tier.STEP_UP, 0)
    assert (later.requirement.tier, later.requirement.satisfied) == (Tier.BASELINE, False)


@pytest.mark.parametrize(("platform", "taught"), [(True, [6, 6]), (False, [1])])
def test_the_code_reports_a_passkey(taught: list[int], *, platform: bool) -> None:
    """The function of the page begins a session without a question, and reports a key only if it is of the device."""
    code = re.findall(r"```python\n(.*?)```", (DOCS / "client.md").read_text(encoding="utf-8"), re.DOTALL)
    source = "\n".join([*code, PAGE.partition("```python\n")[2].partition("```")[0]])
    names: dict[str, Any] = {"__name__": "client", "time": time, "Timestamp": Timestamp}
    exec(source.replace("from riskd.v1", "from riskd._proto.riskd.v1").replace("deadline=0.15", "deadline=10"), names)
    log = ListLog()
    engine = Engine(parts(log=log, clock=time.time), shipped_release())
    service = build_server(engine, Boundary(ListMeter()), Options(address="127.0.0.1:0", timeout_s=TEN))
    service.server.start()
    with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        risk = names["risk_pb2_grpc"].RiskServiceStub(channel)
        flags = {"synced": True, "unlocked": True, "platform": platform}
        assert names["passkey_sign_in"](risk, "alex", "86.150.20.30", lambda _: pytest.fail("asked again"), **flags)
    service.server.stop(None).wait()
    lines = map(record.decode, log.lines)
    assert [line.taught for line in lines if isinstance(line, record.OutcomeRecord)] == taught
