"""Which authentications satisfy a tier: the table in satisfied.yaml, and general laws."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file import load_policy
from riskd.core.attempt import Attempt, Federation, Network, Session
from riskd.core.context import Context, Missing, Place, Remembered
from riskd.core.decide import decide, satisfied
from riskd.core.features import NAMES
from riskd.core.policy import Bands, Issuer, Policy, ladder
from riskd.core.requirement import METHODS, RESTRICTED, STANDALONE, Requirement, Terms, Tier, accepts, counting_methods

ROOT: Final = Path(__file__).parents[2]
NOW: Final = 1_700_000_000.0
HOUR: Final = 3600
SHIPPED: Final = {
    domain: load_policy(ROOT / "data" / "policies" / f"{domain}.yaml", CelCompiler(NAMES))
    for domain in ("customer", "workforce", "machine")
}
REGISTERED: Final = (
    *("face", "fpt", "geo", "hwk", "iris", "kba", "mca", "mfa", "otp", "pin", "pop"),
    *("pwd", "rba", "retina", "sc", "sms", "swk", "tel", "user", "vbm", "wia"),
)
"""RFC 8176, section 2."""


Meaning = str | tuple[str, ...]
"""A tier, or methods."""


class Word(Struct, forbid_unknown_fields=True):
    """An authentication, as a session or an assertion describes it."""

    acr: str = ""
    amr: tuple[str, ...] = ()
    age: int | None = None
    issuer: str = "trusted"
    means: dict[str, Meaning] | None = None

    def time(self) -> float | None:
        """Epoch seconds."""
        return None if self.age is None else NOW - self.age


class Case(Struct, forbid_unknown_fields=True):
    """One row of the table."""

    case: str
    section: str
    tier: str
    met: bool
    domain: str = "customer"
    credential: str = "not_checked"
    session: Word | None = None
    assertion: Word | None = None
    also: dict[str, tuple[tuple[str, ...], ...]] = {}
    restricted: bool = False

    def policy(self) -> Policy:
        """The shipped policy with the case's additional combinations and trusted issuer."""
        policy = SHIPPED[self.domain]
        table = {tier: rung.met.terms for tier, rung in policy.ladder.items()}
        for name, added in self.also.items():
            terms = table[Tier[name]]
            table[Tier[name]] = replace(terms, amr=(*terms.amr, *added))
        return replace(policy, ladder=ladder(table), trusted_issuers={"trusted": self.issuer()})

    def issuer(self) -> Issuer:
        """The trusted issuer."""
        means = None if self.assertion is None else self.assertion.means
        if means is None:
            return Issuer()
        return Issuer({acr: Tier[each] if isinstance(each, str) else each for acr, each in means.items()})

    def attempt(self) -> Attempt:
        """The attempt with this session and assertion."""
        session, word = self.session, self.assertion
        return attempt_of(
            None if session is None else Session(acr=session.acr, amr=session.amr, authentication_time=session.time()),
            None
            if word is None
            else Federation(issuer=word.issuer, acr=word.acr, amr=word.amr, authentication_time=word.time()),
            self.credential,
            self.domain,
        )


CASES: Final = msgspec.convert(yaml.safe_load(Path(__file__).with_name("satisfied.yaml").read_text()), list[Case])
methods = st.lists(st.sampled_from([*REGISTERED, "quantum"]), max_size=5).map(tuple)
acrs = st.sampled_from(("", "0", "gold", "mfa", "phr", "phrh"))
ages = st.none() | st.integers(0, 40 * 24 * HOUR)
tiers = st.sampled_from([Tier.BASELINE, Tier.STEP_UP, Tier.PHISHING_RESISTANT, Tier.HARDWARE_BOUND])
words = st.builds(Word, acr=acrs, amr=methods, age=ages)
policies = st.sampled_from([SHIPPED["customer"], SHIPPED["workforce"]])


def attempt_of(
    session: Session | None, federation: Federation | None = None, credential: str = "", domain: str = "customer"
) -> Attempt:
    return Attempt(
        domain=domain,
        subject="s",
        journey="login",
        network=Network(client_ip="192.0.2.1"),
        credential_result=credential or "not_checked",
        session=session,
        federation=federation,
    )


def session_of(acr: str, amr: tuple[str, ...], age: int | None) -> Attempt:
    return attempt_of(Session(acr=acr, amr=amr, authentication_time=None if age is None else NOW - age))


def meets(policy: Policy, attempt: Attempt, tier: Tier) -> bool:
    return satisfied(policy, attempt, NOW, policy.ladder[tier])


def test_case_names_are_unique() -> None:
    """Case names in the table are unique."""
    assert len({case.case for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.case)
def test_each_case_is_met_or_not_as_the_table_says(case: Case) -> None:
    """Each case is satisfied or not as the table says, with the section of the standard that it follows."""
    assert meets(case.policy(), case.attempt(), Tier[case.tier]) is case.met


@pytest.mark.parametrize("case", [case for case in CASES if case.also], ids=lambda case: case.case)
def test_a_restricted_method_is_a_reason(case: Case) -> None:
    """An answer satisfied only by a restricted method gives RESTRICTED_METHOD as a reason; no other answer does."""
    policy = case.policy()
    login = replace(policy.journeys["login"], floor=Tier[case.tier], postures={}, bands=_nothing(Tier[case.tier]))
    policy = replace(policy, journeys={**policy.journeys, "login": login})
    context = Context(
        now=NOW,
        values={},
        place=Place("NO", 59.9, 10.7, 20.0),
        route=Missing("route", "not_installed"),
        agent=Missing("agent", "not_sent"),
        remembered=Remembered(),
        missing=(),
    )
    ruling = decide(policy, case.attempt(), context, 0.0, [])
    assert ruling.requirement.satisfied is case.met
    assert [reason.code for reason in ruling.reasons] == (["RESTRICTED_METHOD"] if case.restricted else [])


def _nothing(tier: Tier) -> Bands:
    return Bands((), (tier,))


def test_every_registered_method_is_known() -> None:
    """Exactly the methods of RFC 8176 have a kind."""
    assert set(METHODS) == set(REGISTERED)
    assert set(METHODS.values()) == {"knowledge", "possession", "inherence", "unspecified", "none"}


@pytest.mark.parametrize("method", [*REGISTERED, "quantum"])
@pytest.mark.parametrize("domain", ["customer", "workforce"])
def test_no_method_alone_is_two_factors(domain: str, method: str) -> None:
    """A single method is two factors only if it is `mfa`, and satisfies BASELINE only if it is an authenticator."""
    policy, attempt = SHIPPED[domain], session_of("", (method,), 60)
    assert meets(policy, attempt, Tier.STEP_UP) is (method == "mfa")
    assert meets(policy, attempt, Tier.BASELINE) is (method in STANDALONE)


@given(policies, words, st.sampled_from([*REGISTERED, "quantum"]), tiers)
def test_another_method_rarely_loses_a_tier(policy: Policy, word: Word, more: str, tier: Tier) -> None:
    """One more method takes a tier away only if it makes an umbrella method (`mfa`, `mca`) weaker, or if the session
    had named no methods."""
    amr = word.amr
    before, after = session_of(word.acr, amr, word.age), session_of(word.acr, (*amr, more), word.age)
    if meets(policy, before, tier) and not meets(policy, after, tier):
        assert (more in RESTRICTED | {"kba"} and {"mfa", "mca"} & set(amr)) or (amr == () and more not in STANDALONE)


@given(policies, words, st.integers(0, 40 * 24 * HOUR), tiers)
def test_an_older_authentication_never_helps(policy: Policy, word: Word, older: int, tier: Tier) -> None:
    """An authentication that does not satisfy a tier does not do so with an earlier or unknown time."""
    if word.age is not None and not meets(policy, session_of(word.acr, word.amr, word.age), tier):
        assert not meets(policy, session_of(word.acr, word.amr, word.age + older), tier)
        assert not meets(policy, session_of(word.acr, word.amr, None), tier)


@given(policies, words, tiers, tiers)
def test_a_stricter_tier_implies_a_laxer_one(policy: Policy, word: Word, one: Tier, other: Tier) -> None:
    """In every shipped policy, what satisfies a tier satisfies each less strict tier."""
    lax, strict = sorted((one, other))
    attempt = session_of(word.acr, word.amr, word.age)
    if meets(policy, attempt, strict):
        assert meets(policy, attempt, lax)


@given(policies, words, st.none() | st.dictionaries(acrs, tiers | methods, max_size=3), tiers)
def test_an_assertion_is_worth_as_much_as_a_session(
    policy: Policy, word: Word, means: dict[str, Tier | tuple[str, ...]] | None, tier: Tier
) -> None:
    """An assertion satisfies what a session with the same acr and amr does, after the issuer's own meanings are
    applied."""
    policy = replace(policy, trusted_issuers={"trusted": Issuer(means)})
    found = Federation(issuer="trusted", acr=word.acr, amr=word.amr, authentication_time=word.time())
    meaning = None if means is None else means.get(word.acr)
    acr = word.acr if means is None or word.acr in ("", "0") else "of the issuer's own"
    if isinstance(meaning, Tier):
        acr = {Tier.BASELINE: "x", Tier.STEP_UP: "mfa", Tier.PHISHING_RESISTANT: "phr", Tier.HARDWARE_BOUND: "phrh"}[
            meaning
        ]
    amr = (*word.amr, *meaning) if isinstance(meaning, tuple) else word.amr
    assert meets(policy, attempt_of(None, found), tier) is meets(policy, session_of(acr, amr, word.age), tier)


@given(policies, methods, ages, st.permutations(range(5)), tiers)
def test_order_and_repetition_say_nothing(
    policy: Policy, amr: tuple[str, ...], age: int | None, order: list[int], tier: Tier
) -> None:
    """The order and repetition of methods do not matter."""
    shuffled = tuple(amr[at] for at in order if at < len(amr))
    expected = meets(policy, session_of("", amr, age), tier)
    assert meets(policy, session_of("", shuffled + amr, age), tier) is expected


@given(policies, methods, tiers)
def test_a_passed_challenge_is_judged_alike(policy: Policy, amr: tuple[str, ...], tier: Tier) -> None:
    """The methods of an outcome meet a tier exactly if those of a fresh session do."""
    if amr:
        assert accepts(policy.ladder[tier].accepted, amr) is meets(policy, session_of("", amr, 0), tier)


@given(methods)
def test_counting_is_done_once(amr: tuple[str, ...]) -> None:
    """`counting_methods` is idempotent and adds no method."""
    assert counting_methods(counting_methods(amr)) == counting_methods(amr) <= set(amr)


def test_a_denial_has_no_terms() -> None:
    """A denial asks for nothing that could be had, whatever a table says of it, and lends nothing to laxer tiers."""
    rungs = ladder({Tier.STEP_UP: Terms(2, ("mfa",)), Tier.DENY: Terms(3, ("x",), 60, (("pwd",),))})
    assert rungs[Tier.DENY].unmet == Requirement(Tier.DENY, Terms(aal=0), satisfied=False)
    assert (rungs[Tier.STEP_UP].acr, rungs[Tier.STEP_UP].combinations) == (frozenset({"mfa"}), ())


def test_a_baseline_may_list_its_methods() -> None:
    """If BASELINE lists methods, it accepts those, including restricted ones, and stricter ones, and no others."""
    policy = SHIPPED["customer"]
    table = {tier: rung.met.terms for tier, rung in policy.ladder.items()}
    table[Tier.BASELINE] = Terms(1, (), 24 * HOUR, (("pwd",), ("sms",)))
    policy = replace(policy, ladder=ladder(table))
    found = {amr for amr in ("pwd", "sms", "otp", "mfa") if meets(policy, session_of("", (amr,), 60), Tier.BASELINE)}
    assert found == {"pwd", "sms", "mfa"}
    assert meets(policy, attempt_of(None, credential="succeeded"), Tier.BASELINE)


@pytest.mark.parametrize(("amr", "met"), [((), True), (("otp",), False), (("pwd", "otp"), True)])
def test_a_credential_is_a_password_unless_the_session_says_what_it_was(amr: tuple[str, ...], *, met: bool) -> None:
    """A credential that succeeded counts as a password only if the session names no methods."""
    policy = SHIPPED["customer"]
    table = {tier: rung.met.terms for tier, rung in policy.ladder.items()} | {Tier.BASELINE: Terms(1, amr=(("pwd",),))}
    policy = replace(policy, ladder=ladder(table))
    session = Session(amr=amr, authentication_time=NOW)
    assert meets(policy, attempt_of(session, credential="succeeded"), Tier.BASELINE) is met


def test_a_session_without_details_proves_nothing() -> None:
    """A session needs a time, an acr or an amr to count as an authentication, even if its age is not limited."""
    policy = SHIPPED["customer"]
    table = {tier: rung.met.terms for tier, rung in policy.ladder.items()} | {Tier.BASELINE: Terms(1)}
    policy = replace(policy, ladder=ladder(table))
    assert not meets(policy, session_of("", (), None), Tier.BASELINE)
    for acr, amr, age in (("", (), 40 * 24 * HOUR), ("gold", (), None), ("", ("pwd",), None)):
        assert meets(policy, session_of(acr, amr, age), Tier.BASELINE)
