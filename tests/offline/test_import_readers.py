"""Readers of exports: what each record means, and that no record breaks them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from riskd.core.attempt import CREDENTIAL_RESULTS, JOURNEYS, OUTCOMES
from riskd.offline.importers import SOURCES
from riskd.offline.importers.event import REASONS, Event, Skipped, Source, inside, methods, moment, number
from riskd.offline.importers.records import open_input
from riskd.offline.importers.tally import Count

FOLDER: Final = Path(__file__).parents[1] / "data" / "imports"
EXPECTED: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "expected.yaml").read_text(encoding="utf-8"))
STAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")
DEFAULTS: Final = asdict(Event(time=0.0, subject="", address=""))


def told(found: Event | Skipped) -> dict[str, Any]:
    """A result in the form of expected.yaml."""
    if isinstance(found, Skipped):
        return {"skipped": found.reason} | ({"detail": found.detail} if found.detail else {})
    fields = {name: value for name, value in asdict(found).items() if value != DEFAULTS[name]}
    fields["time"] = datetime.fromtimestamp(found.time, UTC).isoformat().replace("+00:00", "Z")
    if found.user_agent:
        fields["user_agent"] = found.user_agent[:20]
    return fields | ({"amr": list(found.amr)} if found.amr else {})


@pytest.mark.parametrize("file", EXPECTED)
def test_every_record_means_what_it_says(file: str) -> None:
    """Each record of the exports gives the expected event or reason, with its line."""
    case = EXPECTED[file]
    source = SOURCES[case["source"]]
    found = []
    with open_input(str(FOLDER / file)) as opened:
        for record in opened.records(lines=source.lines):
            assert record.row is not None, record.fault
            found.append({"line": record.line} | told(source.read(record.row, case["subject"])))
    assert found == case["records"]


def test_every_export_has_its_expectation() -> None:
    """Every export has expectations, and every source has an export."""
    files = {path.name for path in FOLDER.iterdir()} - {"README.md", "expected.yaml"}
    assert files == EXPECTED.keys()
    assert {case["source"] for case in EXPECTED.values()} == SOURCES.keys()


def rows(source: Source) -> list[dict[str, Any]]:
    """Every record of a source's exports."""
    found = []
    for file, case in EXPECTED.items():
        if case["source"] == source.name:
            with open_input(str(FOLDER / file)) as opened:
                found += [record.row for record in opened.records(lines=source.lines) if record.row is not None]
    return found


ANYTHING: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["SUCCESS", "s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(value: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every position in a record."""
    if not isinstance(value, dict):
        return [path]
    return [path] * bool(path) + [found for name, inner in value.items() for found in paths(inner, (*path, name))]


def replaced(row: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """A copy with another value at a path."""
    name, *rest = path
    return row | {name: replaced(row[name], tuple(rest), value) if rest else value}


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
@given(data=st.data())
def test_no_record_breaks_a_reader(source: Source, data: st.DataObject) -> None:
    """Whatever a field contains, the reader gives a valid event or a listed reason."""
    row = data.draw(st.sampled_from(rows(source)))
    for _ in range(data.draw(st.integers(0, 3))):
        row = replaced(row, data.draw(st.sampled_from(paths(row))), data.draw(ANYTHING))
    found = source.read(row, data.draw(st.sampled_from(source.subjects)))
    if isinstance(found, Skipped):
        assert found.reason in REASONS
    else:
        assert found.journey in JOURNEYS
        assert found.credential_result in CREDENTIAL_RESULTS
        assert found.outcome in ("", *OUTCOMES)
        assert found.subject
        assert found.address
        assert abs(found.time) < float("inf")


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
@pytest.mark.parametrize("field", ["address", "subject"])
def test_an_event_has_an_address_and_an_account(source: Source, field: str) -> None:
    """A record whose client address or account is empty is skipped for that reason."""
    reasons = set()
    for row in rows(source):
        found = source.read(row, source.subjects[0])
        emptied = without(row, getattr(found, field)) if isinstance(found, Event) else row
        if emptied != row:
            skipped = source.read(emptied, source.subjects[0])
            assert isinstance(skipped, Skipped)
            reasons.add(skipped.reason)
    assert reasons == {"no_address" if field == "address" else "no_subject"}


def without(row: dict[str, Any], text: str) -> dict[str, Any]:
    """A record in which this text is empty, wherever it stands."""
    changed = row
    for path in paths(row):
        value = inside(row, *path)
        if value == text:
            changed = replaced(changed, path, "")
        elif isinstance(value, list):
            changed = replaced(changed, path, [without(one, text) for one in value if isinstance(one, dict)])
    return changed


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
@given(row=st.dictionaries(st.text(max_size=10), ANYTHING, max_size=5))
def test_a_record_of_something_else_is_skipped(source: Source, row: dict[str, Any]) -> None:
    """A record that is not of this source is skipped."""
    assert isinstance(source.read(row, source.subjects[0]), Skipped)


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
def test_an_event_has_a_time(source: Source) -> None:
    """A record whose time cannot be read is skipped for that reason."""
    reasons = set()
    for row in rows(source):
        timeless = row
        for path in paths(row):
            value = inside(row, *path)
            if path[-1] == "time" or (isinstance(value, str) and STAMP.search(value)):
                timeless = replaced(timeless, path, STAMP.sub("soon", value) if isinstance(value, str) else None)
        found = source.read(timeless, source.subjects[0])
        reasons.add(found.reason if isinstance(found, Skipped) else "used")
    assert "no_time" in reasons
    assert "used" not in reasons


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
def test_a_record_without_any_field_is_another_event(source: Source) -> None:
    """An empty record says nothing about an account, not even that one is missing."""
    found = source.read({}, source.subjects[0])
    assert isinstance(found, Skipped)
    assert found.reason == "other_event"


@pytest.mark.parametrize(("subject", "field"), [("id", "userId"), ("upn", "userPrincipalName")])
def test_a_missing_account_is_named_by_the_chosen_field(subject: str, field: str) -> None:
    """Whoever chose another field is told about that one."""
    found = SOURCES["entra"].read({"createdDateTime": "2026-10-05T16:03:35Z", "ipAddress": "81.2.69.142"}, subject)
    assert found == Skipped("no_subject", field)


@pytest.mark.parametrize(
    ("changed", "amr"),
    [
        ({"type": "sepft", "strategy": "samlp"}, ("pwd",)),
        ({"strategy": "samlp"}, ()),
        ({"strategy": "email", "details": {"prompts": [{"name": "reset-password"}]}}, ("otp",)),
        ({"strategy": "auth0", "details": {"prompts": [{"name": "mfa-sms"}]}}, ("pwd", "sms", "mfa")),
    ],
)
def test_methods_of_an_auth0_sign_in(changed: dict[str, Any], amr: tuple[str, ...]) -> None:
    """Methods are those of the connection and of second factors; a prompt for anything else proves nothing, and an
    exchange of a password is one whatever the connection."""
    row = next(row for row in rows(SOURCES["auth0"]) if row.get("type") == "s")
    found = SOURCES["auth0"].read({**row, "details": {}, **changed}, "id")
    assert isinstance(found, Event)
    assert found.amr == amr


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("PASSWORD_AS_FACTOR", "pwd"),
        ("FIDO_WEBAUTHN", "hwk"),
        ("FIDO_U2F", "hwk"),
        ("SIGNED_NONCE", "swk"),
        ("OKTA_VERIFY_PUSH", "mfa"),
        ("SOFT_TOKEN", "otp"),
        ("SMS_FACTOR", "sms"),
        ("SECURITY_QUESTION", "kba"),
        ("Windows Hello for Business", "hwk"),
        ("FIDO2 security key", "hwk"),
        ("Passkey (Microsoft Authenticator)", "swk"),
        ("X.509 Certificate", "sc"),
        ("Text message", "sms"),
        ("Phone call approval", "tel"),
        ("Mobile app notification", "mfa"),
        ("Passwordless phone sign-in", "mfa"),
        ("OATH verification code", "otp"),
        ("Temporary Access Pass", "otp"),
        ("Email one-time password", "otp"),
        ("mfa-webauthn", "hwk"),
        ("biometric", "fpt"),
    ],
)
def test_names_of_methods(name: str, method: str) -> None:
    """Providers' names of methods are mapped to RFC 8176; a push is not treated as possession of a key."""
    assert methods([name]) == (method,)


def test_two_methods_are_multi_factor() -> None:
    """`mfa` is added for two different methods, and not for one method twice or for unknown names."""
    assert methods(["Password", "OATH verification code"]) == ("pwd", "otp", "mfa")
    assert methods(["Password", "password", "Previously satisfied"]) == ("pwd",)


@given(st.text(max_size=40))
def test_any_text_is_a_moment_or_none(words: str) -> None:
    """Any text is parsed as a time or gives None."""
    assert isinstance(moment(words), float | None)
    assert isinstance(number(words), float | None)


@pytest.fixture
def abroad(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose own timezone is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def test_moments(abroad: None) -> None:
    """Times may have seven fractional digits, a timezone or none, and a space or a T. Without one they are in UTC."""
    expected = datetime(2026, 10, 5, 16, 3, 35, 852714, UTC).timestamp()
    for words in ("2026-10-05T16:03:35.8527147Z", "2026-10-05 18:03:35.852714+02:00", "2026-10-05 16:03:35,852714"):
        assert moment(words) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, 7.0), (" -1.5 ", -1.5), (True, None), ("nan", None), ("-inf", None), (10**400, None), ("7 ms", None)],
    ids=lambda value: str(value)[:5],
)
def test_numbers(value: object, expected: float | None) -> None:
    """A number is finite, and given as a number or as text."""
    assert number(value) == expected


def test_examples_are_few_and_different() -> None:
    """Each reason has at most three examples, the first of their kind."""
    count = Count()
    for line in range(1, 9):
        count = count.one_more(line, f"error {line // 2}")
    assert count == Count(8, ((1, "error 0"), (2, "error 1"), (4, "error 2")))


def test_a_change_without_success_teaches_nothing() -> None:
    """Okta's owner who did not manage to reset the password did not recover the account."""
    okta = SOURCES["okta"]
    resets = [row for row in rows(okta) if row.get("eventType") == "user.account.reset_password"]
    found = [
        okta.read(replaced(row, ("outcome", "result"), result), "id")
        for row in resets
        for result in ("SUCCESS", "FAILURE")
    ]
    assert [one.outcome for one in found if isinstance(one, Event)] == ["recovery_completed"]
    assert Skipped("other_event", "user.account.reset_password without success") in found
