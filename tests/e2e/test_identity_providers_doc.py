"""docs/identity-providers.md as it stands: its sign-in in a real OpenID provider, and its Action against objects as
Auth0 documents them. Both ask real services."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import grpc
import pytest

from riskd._proto.riskd.v1 import attempt_pb2
from riskd.core import record
from riskd.core.features import FEATURES
from tests.e2e.clients import pages
from tests.e2e.clients.pages import App
from tests.e2e.identity_provider import CHROME, PAGE, PROOFS, Browser, app, provider
from tests.e2e.service import MAXMIND, PATIENCE, Service, attempt, riskd, serving
from tests.e2e.step_up import page_code
from tests.security.authority import Authority

STUFFER: Final = "2.125.160.216"
SCRIPT: Final = "python-requests/2.32.3"
OTP: Final = PROOFS["otp"]
CODE: Final = {"acr": "mfa", "amr": ["pwd", "otp"]}
PASSWORD: Final = {"acr": "pwd", "amr": ["pwd"]}
PASSED: Final = ["challenge_passed", "session_established"]
GEO: Final = {"RISKD_GEO__ANONYMOUS": str(MAXMIND / "GeoIP2-Anonymous-IP-Test.mmdb")}

REGISTERED: Final = datetime(2024, 5, 1, 9, 30, tzinfo=UTC)
"""When every account was registered."""

NUMBERS: Final = itertools.count()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> App:
    return app(tmp_path_factory.mktemp("app"))


class Scene:
    """A service, with accounts and addresses of which it knows nothing, and a provider that asks it."""

    def __init__(self, service: Service, port: int = 0) -> None:
        self.service = service
        self.number = next(NUMBERS)
        self.home, self.hosted = f"89.160.20.{112 + self.number % 16}", f"71.160.223.{self.number}"
        self._port = port
        self._before = len(service.decisions())

    def browser(self, address: str = "", user_agent: str = CHROME) -> Browser:
        """One that was never seen, at home unless another address is given."""
        return Browser(self._port, self.number, address or self.home, user_agent)

    def log(self) -> Log:
        """What was recorded since."""
        return Log(self.service.decisions()[self._before :])


@pytest.fixture(scope="module")
def running(made: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, int]]:
    with (
        serving(tmp_path_factory.mktemp("provider"), settings=GEO) as service,
        provider(made, service.address) as port,
    ):
        yield service, port


@pytest.fixture
def scene(running: tuple[Service, int]) -> Scene:
    return Scene(*running)


class Log:
    """Assessments, and their outcomes."""

    def __init__(self, found: list[record.Record]) -> None:
        self.attempts = [each for each in found if isinstance(each, record.AssessmentRecord)]
        self._outcomes = [each for each in found if isinstance(each, record.OutcomeRecord)]

    def outcomes(self, number: int = -1) -> list[str]:
        """The kinds of outcomes of an attempt, the last one by default."""
        return [each.kind for each in self._of(number)]

    def amr(self, number: int = -1) -> tuple[str, ...]:
        """The methods of its first outcome."""
        return self._of(number)[0].amr

    def taught(self, number: int = -1) -> int:
        """The units that it taught in total."""
        return max((each.taught for each in self._of(number)), default=0)

    def _of(self, number: int) -> list[record.OutcomeRecord]:
        return [each for each in self._outcomes if each.assessment_id == self.attempts[number].id]


def stuffing(service: Service, credentials: grpc.ChannelCredentials | None = None) -> None:
    """A script tries forty accounts from one address."""
    with service.stub(credentials) as stub:
        for number in range(40):
            tried = attempt(STUFFER, subject=f"tried-{number}", user_agent=SCRIPT)
            tried.credential_result = attempt_pb2.CREDENTIAL_RESULT_FAILED
            stub.Assess(tried, timeout=PATIENCE)


def test_the_packages_of_the_page_are_those_that_are_locked() -> None:
    """With those of the client for Node; the sign-in and the Action need no other."""
    wanted = json.loads((pages.HERE / "package.json").read_text())["dependencies"]
    installed = [words[4:] for page in (PAGE, pages.NODE) for words in pages.commands(page) if "--prefix" in words]
    assert sorted(name.removesuffix("@7") for names in installed for name in names) == sorted(wanted)
    assert wanted["protobufjs"].startswith("^7.")


def test_the_usual_owner_needs_only_the_password(scene: Scene) -> None:
    """Each sign-in establishes a session, whose tokens say how. The address is the one that the proxy saw, whatever
    its client claims; and the browser is known again."""
    browser = scene.browser()
    for _ in range(3):
        assert browser.claims("kim") == PASSWORD
        browser.sign_out()
    log = scene.log()
    assert [each.tier for each in log.attempts] == ["BASELINE"] * 3
    assert [log.outcomes(number) for number in range(3)] == [["session_established"]] * 3
    assert {each.facts.place and each.facts.place.country for each in log.attempts} == {"SE"}
    new = [each.vector[[feature.name for feature in FEATURES].index("new_device")] for each in log.attempts]
    assert new[1:] == [0.0, 0.0]
    assert {each.registration_time for each in log.attempts} == {REGISTERED.timestamp()}


def test_a_browser_in_a_data_centre_is_stepped_up(scene: Scene) -> None:
    """It gets no session for the password alone; the second factor gives one, and is in the tokens and the outcome."""
    browser = scene.browser(scene.hosted)
    assert browser.sign_in("kim") == {"answer": "otp"}
    assert list(browser.authorize()) == ["login", "password"]
    assert browser.claims("kim", OTP) == CODE
    log = scene.log()
    assert (log.attempts[-1].tier, log.attempts[-1].hits) == ("STEP_UP", ("hosting_network",))
    assert (log.outcomes(), log.amr()) == (PASSED, ("pwd", "otp"))
    assert log.taught()


def test_a_wrong_factor_is_a_failure_and_the_sign_in_begins_anew(scene: Scene) -> None:
    """It teaches nothing, and another try of the factor needs the password and an assessment of its own."""
    browser = scene.browser(user_agent=SCRIPT)
    for _ in range(2):
        assert list(browser.sign_in("kim", "000000")) == ["login", "password"]
    assert list(browser.send(answer=OTP)) == ["login", "password"]
    log = scene.log()
    assert [log.outcomes(number) for number in range(2)] == [["challenge_failed"], ["challenge_failed"]]
    assert [log.taught(number) for number in range(2)] == [0, 0]


def test_a_cancelled_sign_in_is_abandoned(scene: Scene) -> None:
    """The client gets `access_denied`."""
    browser = scene.browser(user_agent=SCRIPT)
    assert "answer" in browser.sign_in("kim")
    assert browser.send(cancel="")["error"] == "access_denied"
    assert scene.log().outcomes() == ["challenge_abandoned"]
    assert list(browser.authorize()) == ["login", "password"]
    assert browser.send(cancel="")["error"] == "access_denied"


@pytest.mark.parametrize("login", ["kim", "nobody"])
def test_a_wrong_password_is_counted(scene: Scene, login: str) -> None:
    """Also for an account that does not exist, and the form is the same."""
    browser = scene.browser()
    browser.authorize()
    assert list(browser.enter(login, "wrong")) == ["login", "password"]
    assert [each.credential_result for each in scene.log().attempts] == ["failed"]


def test_deny_is_final(scene: Scene) -> None:
    """No factor is asked for, and nothing is reported."""
    stuffing(scene.service)
    browser = scene.browser(STUFFER, SCRIPT)
    assert browser.sign_in("pat")["error"] == "access_denied"
    log = scene.log()
    assert (log.attempts[-1].tier, log.outcomes()) == ("DENY", [])


def test_an_account_without_a_factor_that_is_enough_is_refused(scene: Scene) -> None:
    """Instead of asking for less, or letting a stranger enrol one; a stronger factor is enough."""
    assert scene.browser(scene.hosted).sign_in("lee")["error"] == "unmet_authentication_requirements"
    assert scene.log().outcomes() == []
    passkey = {"acr": "phr", "amr": ["pwd", "swk"]}
    assert scene.browser(scene.hosted).claims("max", PROOFS["passkey"]) == passkey
    assert scene.browser(scene.hosted, SCRIPT).sign_in("kim", OTP)["error"] == "unmet_authentication_requirements"
    assert scene.browser(scene.hosted, SCRIPT).claims("max", PROOFS["passkey"]) == passkey
    log = scene.log()
    assert [each.tier for each in log.attempts] == ["STEP_UP"] * 2 + ["PHISHING_RESISTANT"] * 2


def test_without_riskd_a_second_factor_is_asked_for(made: App) -> None:
    """Of everybody, and who has none waits until riskd answers. Live sessions stay."""
    with provider(made, "127.0.0.1:1") as port:
        browser, other = (Browser(port, "x", STUFFER) for _ in range(2))
        assert browser.claims("kim", OTP) == CODE
        assert "code" in browser.authorize()
        assert other.sign_in("lee")["error"] == "unmet_authentication_requirements"


def test_a_live_session_is_assessed_when_it_is_used_again(scene: Scene) -> None:
    """It goes on where nothing changed; a copy of it elsewhere has to sign in, and the owner's is not ended."""
    browser, thief = scene.browser(), scene.browser(scene.hosted)
    browser.claims("kim")
    assert "code" in browser.authorize()
    session = scene.log().attempts[-1].session
    assert scene.log().attempts[-1].journey == "session"
    assert session is not None
    assert (session.acr, session.amr) == ("pwd", ("pwd",))
    thief.cookies |= {name: value for name, value in browser.cookies.items() if "device" not in name}
    assert thief.authorize(prompt="none")["error"] == "login_required"
    assert list(thief.authorize()) == ["login", "password"]
    assert "code" in browser.authorize()


def test_a_cookie_that_riskd_would_refuse_hides_nothing(scene: Scene) -> None:
    """Whoever puts something else into the device's cookie is on a new device: otherwise riskd would refuse the
    attempt, and what happens without its answer is less than what it may require."""
    owner, thief = scene.browser(), scene.browser(scene.hosted)
    owner.claims("kim")
    thief.cookies = {**owner.cookies, "__Host-device": "x" * 300}
    assert thief.authorize(prompt="none")["error"] == "login_required"
    assert len(thief.cookies["__Host-device"]) == len(owner.cookies["__Host-device"]) == 22
    thief.cookies["__Host-device"] = "x" * 300
    thief.sign_in("kim")
    assert [each.journey for each in scene.log().attempts] == ["login", "session", "session", "login"]


@pytest.mark.parametrize("stolen", [False, True])
@pytest.mark.parametrize("forms", [0, 1, 2])
def test_a_sign_in_that_was_not_completed_gives_nothing(scene: Scene, forms: int, stolen: bool) -> None:
    """Whoever leaves the form unsent, or after a wrong password, or before the second factor, is shown it again, and
    needs both: with no session, and with one that is in doubt."""
    owner, thief = scene.browser(), scene.browser(scene.hosted)
    owner.claims("kim")
    if stolen:
        thief.cookies = {name: value for name, value in owner.cookies.items() if "device" not in name}
    came = thief.authorize()
    for password in ("wrong", PROOFS["pwd"])[:forms]:
        came = thief.enter("kim", password)
    assert list(came) == (["answer"] if forms == 2 else ["login", "password"])
    assert list(thief.resume()) == ["login", "password"]
    assert list(thief.enter("kim", "wrong")) == ["login", "password"]
    assert list(thief.send(answer=OTP)) == ["login", "password"]


def essential(*values: str) -> dict[str, str]:
    """A request for an essential `acr`."""
    return {"claims": json.dumps({"id_token": {"acr": {"essential": True, "values": values}}})}


@pytest.mark.parametrize("asked", [{"acr_values": "mfa"}, {"acr_values": "gold mfa"}, essential("mfa")])
def test_what_the_client_requires_counts_as_well(scene: Scene, asked: dict[str, str]) -> None:
    """A session of less has to step up, one of enough need not, and what no factor reaches is an error."""
    browser = scene.browser()
    browser.claims("kim")
    assert list(browser.authorize(**asked)) == ["login", "password"]
    assert browser.claims("kim", OTP, **asked) == CODE
    assert scene.log().outcomes() == PASSED
    assert "code" in browser.authorize(**asked)
    unknown = essential("gold") if "claims" in asked else {"acr_values": "gold"}
    assert browser.sign_in("kim", **unknown)["error"] == "unmet_authentication_requirements"


def test_an_essential_claim_is_met_to_the_letter(scene: Scene) -> None:
    """A stronger way would not be what the client asked for, and the sign-in would begin again and again."""
    came = scene.browser().sign_in("max", PROOFS["passkey"], **essential("mfa"))
    assert came["error"] == "unmet_authentication_requirements"
    assert scene.browser().claims("max", PROOFS["passkey"], acr_values="mfa")["acr"] == "phr"


def test_a_challenge_of_an_api_ends_with_a_token_that_satisfies_it(scene: Scene) -> None:
    """RFC 9470 with the resource server of docs/step-up.md, from a data centre: 401, a step-up at the provider, 200."""
    browser, waiting, pay = scene.browser(), dict[str, str](), page_code()["payment"]
    _, token = browser.tokens(browser.sign_in("kim")["code"])
    with scene.service.stub() as risk:
        status, headers = pay(risk, browser.introspect(token), scene.hosted, waiting, deadline=PATIENCE)
        assert status == 401
        told = dict(re.findall(r'(acr_values|max_age)="(\w+)"', headers["WWW-Authenticate"]))
        assert told == {"acr_values": "mfa", "max_age": "86400"}
        _, token = browser.tokens(browser.sign_in("kim", OTP, **told)["code"])
        assert pay(risk, browser.introspect(token), scene.hosted, waiting, deadline=PATIENCE) == (200, {})
    assert waiting == {}


ENROLLED: Final[dict[str, tuple[str, ...]]] = {
    "kim": ("otp", "phone"),
    "lee": ("phone",),
    "max": ("otp", "webauthn-roaming"),
}
NEEDED: Final = "This sign-in needs a second factor."
MULTI_FACTOR: Final = "http://schemas.openid.net/pape/policies/2007/06/multi-factor"


@pytest.fixture(scope="module")
def action(made: App) -> App:
    """The app with the Action that the page's command makes."""
    (pack,) = [words for words in pages.commands(PAGE) if words[:2] == ["node", "pack.mjs"]]
    assert pack[2:] == [">", "action.js"]
    done = made.run(pack[:2])
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) < 100_000, "the largest that Auth0 takes"
    (made.folder / "action.js").write_text(done.stdout)
    return made


@pytest.fixture(scope="module")
def trusted(action: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, dict[str, str]]]:
    """A service with a certificate and the caller that the page's command makes; and the Action's secrets."""
    folder, authority = tmp_path_factory.mktemp("auth0"), Authority()
    cert, key = authority.issue("localhost", hosts=["127.0.0.1"]).put(folder / "tls", "server")
    (new,) = [words for words in pages.commands(PAGE) if words[:3] == ["riskd", "caller", "new"]]
    told = riskd(*new[1:], state=folder).stdout
    (token,) = re.findall(r"token, shown only once: (\S+)", told)
    callers = folder / "callers.toml"
    callers.write_text(told[told.index("[auth0]") :])
    tls = {"RISKD_SERVER__TLS_CERT": cert, "RISKD_SERVER__TLS_KEY": key, "RISKD_SERVER__CALLERS": str(callers)}
    with serving(folder / "state", settings=GEO | tls) as service:
        yield service, {"TARGET": service.address, "TOKEN": token, "CA": pem(authority)}


def pem(authority: Authority) -> str:
    """Its certificate."""
    return authority.certificate.decode()


class Tenant(Scene):
    """An Auth0 tenant whose Actions ask the service."""

    def __init__(self, action: App, service: Service, secrets: dict[str, str]) -> None:
        super().__init__(service)
        self.secrets = dict(secrets)
        self.elsewhere = {"ip": self.hosted, "user_agent": CHROME}
        self._action = action

    def sign_in(
        self,
        user: str,
        *,
        first: str = "pwd",
        ago: float = 0,
        proves: str = "",
        remembered: bool = False,
        **given: object,
    ) -> list[dict[str, object]]:
        """What the Actions did.

        `ago`: seconds since the first factor was proven. `proves`: the factor that is used if it is offered.
        `remembered`: Auth0 skips the challenge. `given`: parts of the event that differ.
        """
        event = {
            "secrets": self.secrets,
            "user": {
                "user_id": f"auth0|{user}-{self.number}",
                "created_at": "2024-05-01T09:30:00.123Z",
                "enrolledFactors": [{"type": each} for each in ENROLLED[user]],
            },
            "connection": {"id": "con_1", "name": "Username-Password-Authentication", "strategy": "auth0"},
            "request": {"ip": self.home, "user_agent": CHROME},
            "authentication": {"methods": [{"name": first, "timestamp": moment(ago)}]},
            "session": {"id": "session-1"},
            "transaction": {"acr_values": [], "protocol": "oidc-basic-profile"},
            **given,
        }
        scenario = {"event": event, "proves": proves, "remembered": remembered}
        done = self._action.run(["node", "act.mjs"], json.dumps(scenario))
        assert done.returncode == 0, done.stderr
        came: list[dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
        return came


def moment(ago: float = 0) -> str:
    """A time in the past as Auth0 writes it."""
    return datetime.fromtimestamp(time.time() - ago, UTC).isoformat()


@pytest.fixture
def tenant(action: App, trusted: tuple[Service, dict[str, str]]) -> Tenant:
    return Tenant(action, *trusted)


def test_the_action_does_nothing_where_the_password_is_enough(tenant: Tenant) -> None:
    """It reports the session. The attempt has the organisation as tenant, and the address and browser of the event."""
    assert tenant.sign_in("kim", organization={"id": "org_1", "name": "acme"}) == []
    log = tenant.log()
    (found,) = log.attempts
    assert (found.tenant, found.journey, found.credential_result) == ("org_1", "login", "succeeded")
    assert (found.tier, found.satisfied, log.outcomes()) == ("BASELINE", True, ["session_established"])
    assert (found.facts.place and found.facts.place.country) == "SE"
    assert found.facts.agent is not None
    assert found.registration_time == REGISTERED.timestamp()


def test_the_action_asks_for_a_factor_and_reports_it(tenant: Tenant) -> None:
    """Only factors that count are offered; the second Action reports the one that was proven."""
    came = tenant.sign_in("kim", proves="otp", request=tenant.elsewhere)
    assert came == [{"challenge": ["otp"]}]
    log = tenant.log()
    assert (log.attempts[0].tier, log.outcomes()) == ("STEP_UP", PASSED)
    assert sorted(log.amr()) == ["mfa", "otp", "pwd"]
    assert log.taught()


def test_a_challenge_that_nobody_met_is_not_reported(tenant: Tenant) -> None:
    """If it failed or was left, no further Action runs; if Auth0 skipped it, the second one refuses."""
    refused = {"deny": NEEDED}
    assert tenant.sign_in("kim", request=tenant.elsewhere) == [{"challenge": ["otp"]}]
    assert tenant.sign_in("kim", request=tenant.elsewhere, remembered=True) == [{"challenge": ["otp"]}, refused]
    earlier = {"name": "mfa", "type": "otp", "timestamp": moment(2 * 86_400)}
    methods = {"methods": [{"name": "pwd", "timestamp": moment()}, earlier]}
    came = tenant.sign_in("kim", request=tenant.elsewhere, remembered=True, authentication=methods)
    assert came == [{"challenge": ["otp"]}, refused]
    log = tenant.log()
    assert [log.outcomes(number) for number in range(3)] == [[], [], []]


def test_the_action_refuses_where_no_factor_is_enough(tenant: Tenant) -> None:
    """A code by phone never is, a code by app not where phishing must fail; a security key and a passkey
    are."""
    refused = [{"deny": NEEDED}]
    assert tenant.sign_in("lee", request=tenant.elsewhere) == refused
    script = {"ip": tenant.hosted, "user_agent": SCRIPT}
    assert tenant.sign_in("kim", request=script) == refused
    assert tenant.sign_in("max", request=script, proves="webauthn-roaming") == [{"challenge": ["webauthn-roaming"]}]
    log = tenant.log()
    assert log.outcomes() == PASSED
    assert log.taught()
    assert tenant.sign_in("lee", request=script, first="passkey") == []
    tiers = [each.tier for each in tenant.log().attempts]
    assert tiers == ["STEP_UP", "PHISHING_RESISTANT", "PHISHING_RESISTANT", "PHISHING_RESISTANT"]


def test_a_factor_of_earlier_does_not_complete_one_of_now(tenant: Tenant) -> None:
    """A code is not offered because a security key was used in the session last week."""
    earlier = {"name": "mfa", "type": "webauthn-roaming", "timestamp": moment(7 * 86_400)}
    methods = {"methods": [{"name": "pwd", "timestamp": moment()}, earlier]}
    script = {"ip": tenant.hosted, "user_agent": SCRIPT}
    assert tenant.sign_in("kim", request=script, authentication=methods) == [{"deny": NEEDED}]
    assert tenant.log().attempts[-1].tier == "PHISHING_RESISTANT"


def test_the_action_refuses_what_riskd_denies(tenant: Tenant) -> None:
    """Without an outcome."""
    token = grpc.access_token_call_credentials(tenant.secrets["TOKEN"])
    channel = grpc.ssl_channel_credentials(tenant.secrets["CA"].encode())
    stuffing(tenant.service, grpc.composite_channel_credentials(channel, token))
    assert tenant.sign_in("kim", request={"ip": STUFFER, "user_agent": SCRIPT}) == [
        {"deny": "This sign-in was refused."}
    ]
    log = tenant.log()
    assert (log.attempts[-1].tier, log.outcomes()) == ("DENY", [])


@pytest.mark.parametrize("wrong", ["TARGET", "TOKEN", "CA"])
def test_without_an_answer_the_policy_of_the_tenant_decides(tenant: Tenant, wrong: str) -> None:
    """The Action does nothing, whatever the sign-in, if the service is gone, refuses it or cannot be trusted."""
    others = {
        "TARGET": "127.0.0.1:1",
        "TOKEN": f"riskd_{'x' * 43}",
        "CA": pem(Authority()),
    }
    tenant.secrets[wrong] = others[wrong]
    assert tenant.sign_in("kim", request=tenant.elsewhere) == []
    assert tenant.log().attempts == []


def test_acr_values_of_a_client_ask_for_a_factor(tenant: Tenant) -> None:
    """Once in a session."""
    asked = {"acr_values": [MULTI_FACTOR], "protocol": "oidc-basic-profile"}
    assert tenant.sign_in("kim", proves="otp", transaction=asked) == [{"challenge": ["otp"]}]
    both = [{"name": "pwd", "timestamp": moment()}, {"name": "mfa", "type": "otp", "timestamp": moment()}]
    assert tenant.sign_in("kim", transaction=asked, authentication={"methods": both}) == []
    assert [each.tier for each in tenant.log().attempts] == ["BASELINE", "BASELINE"]


def test_a_live_session_is_assessed_as_one(tenant: Tenant) -> None:
    """With the methods and the time of its sign-in; one that is too old needs a factor. For a refresh token nobody is
    there to be asked."""
    assert tenant.sign_in("kim", ago=3600) == []
    found = tenant.log().attempts[-1]
    assert (found.journey, found.credential_result, found.satisfied) == ("session", "not_checked", True)
    assert found.session is not None
    assert found.session.amr == ("pwd",)
    assert 3590 < found.time - (found.session.authentication_time or 0) < 3700
    assert tenant.sign_in("kim", transaction={"acr_values": [], "protocol": "oauth2-refresh-token"}) == []
    assert len(tenant.log().attempts) == 1
    assert tenant.sign_in("kim", ago=40 * 86_400, proves="otp") == [{"challenge": ["otp"]}]
    assert (tenant.log().attempts[-1].tier, tenant.log().outcomes()) == ("BASELINE", PASSED)


def test_a_federated_sign_in_is_an_assertion(tenant: Tenant) -> None:
    """Of the connection. The session that Auth0 made of it is enough where a password is, and nowhere else."""
    connection = {"id": "con_2", "name": "acme-saml", "strategy": "samlp"}
    assert tenant.sign_in("kim", first="federated", connection=connection) == []
    came = tenant.sign_in("kim", first="federated", proves="otp", connection=connection, request=tenant.elsewhere)
    assert came == [{"challenge": ["otp"]}]
    log = tenant.log()
    assertion = log.attempts[0].federation
    assert assertion is not None
    assert (assertion.issuer, assertion.protocol) == ("acme-saml", "saml")
    assert assertion.authentication_time is not None
    assert [each.credential_result for each in log.attempts] == ["not_checked"] * 2
    assert (log.outcomes(0), log.outcomes(1)) == (["session_established"], PASSED)
    assert log.taught()
