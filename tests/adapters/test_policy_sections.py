"""Lists, tenants and learning periods, from the policy file to the decision."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file import load_policy, read_policy
from riskd.adapters.policy_file.lists import LARGEST, LONGEST, MOST_LISTS
from riskd.config import Settings
from riskd.core.assess import Release, assess
from riskd.core.assessment import Hit
from riskd.core.context import Missing, Place, Route
from riskd.core.decide import decide
from riskd.core.errors import InvalidPolicy
from riskd.core.features import NAMES
from riskd.core.policy import Policy, evaluate, weigh
from riskd.core.requirement import Tier
from riskd.core.rules import no_rules
from riskd.wiring import load_release
from tests.adapters.sections import HEAD, SECTIONS, write
from tests.core.builders import HOSTER, NOW, OSLO, keys_of, settled, sign_in
from tests.core.rulings import context_of, scores
from tests.shipped import shipped_release

COMPILER: Final = CelCompiler(NAMES)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return load_policy(write(tmp_path), COMPILER)


def hits(policy: Policy, address: str = "192.0.2.10", place: Place | Missing = OSLO, tenant: str = "") -> set[str]:
    attempt = sign_in(address, tenant=tenant)
    context = settled().context(attempt, place=place, route=HOSTER)
    chosen = policy.of(tenant)
    evidence = weigh(chosen, attempt, context, [float("nan")] * len(NAMES))
    found, broken = evaluate(chosen, attempt, evidence, 0.0)
    assert not broken
    return {hit.rule for hit in found}


def test_conditions_ask_about_lists_by_name(policy: Policy) -> None:
    """A list is true for an attempt that is on it, false for one that is not, and unknown without its fact."""
    assert hits(policy) == {"office"}
    assert hits(policy, "203.0.113.1") == {"stolen"}
    assert hits(policy, place=Place("DE", 52.5, 13.4, 50.0)) == {"office", "abroad"}
    assert hits(policy, place=Missing("place", "not_found")) == {"office"}


@pytest.mark.parametrize("entry", ["::ffff:192.0.2.0/120", "::ffff:c000:20a", "64:ff9b::192.0.2.0/120", "192.0.2.10"])
def test_a_list_holds_an_ipv4_client_however_its_network_is_written(tmp_path: Path, entry: str) -> None:
    """IPv4-mapped and NAT64 entries match IPv4 clients, as dual-stack servers write them."""
    path = write(tmp_path)
    path.write_text(path.read_text().replace("networks: [192.0.2.0/24]", f'networks: ["{entry}"]'))
    office = load_policy(path, COMPILER)

    assert "office" in hits(office) & hits(office, "::ffff:192.0.2.10")
    assert "office" not in hits(office, "203.0.113.1") | hits(office, "2001:db8::1")


@pytest.mark.parametrize(
    ("entry", "held", "others"),
    [
        ("2001:db8::/120", "2001:db8::a", "2001:db8::1:0"),
        ("2001:db8::a", "2001:db8::a", "2001:db8::b"),
        ("::ffff:0:0/96", "203.0.113.1", "2001:db8::1"),
        ("::ffff:128.0.0.0/97", "203.0.113.1", "81.2.69.142"),
    ],
    ids=["a small IPv6 network", "an IPv6 host", "all of IPv4", "half of IPv4"],
)
def test_a_list_tells_versions_apart(tmp_path: Path, entry: str, held: str, others: str) -> None:
    """An IPv6 network of any size matches IPv6 clients only, unless it maps IPv4."""
    path = write(tmp_path)
    path.write_text(path.read_text().replace("networks: [192.0.2.0/24]", f'networks: ["{entry}"]'))
    office = load_policy(path, COMPILER)

    assert "office" in hits(office, held)
    assert "office" not in hits(office, others)


def test_a_list_file_is_part_of_the_release(tmp_path: Path) -> None:
    """Changing an entry in a list file changes the policy's digest and the release."""
    before = load_policy(write(tmp_path), COMPILER)
    again = load_policy(write(tmp_path), COMPILER)
    after = load_policy(write(tmp_path, "phone\n"), COMPILER)
    assert before.digest == again.digest != after.digest
    assert hits(before, "203.0.113.1") != hits(after, "203.0.113.1")
    for domain in ("workforce", "machine"):
        shipped = Path(__file__).parents[2] / "data" / "policies" / f"{domain}.yaml"
        (tmp_path / f"{domain}.yaml").write_bytes(shipped.read_bytes())
    chosen = Settings()
    chosen = replace(chosen, release=replace(chosen.release, policies=str(tmp_path)))
    one = load_release(chosen)
    write(tmp_path)
    assert load_release(chosen).id != one.id


def test_mistakes_in_list_files_have_their_position(tmp_path: Path) -> None:
    """Every mistake of a list file has its line and column; a list that is too long is refused."""
    with pytest.raises(InvalidPolicy) as caught:
        load_policy(write(tmp_path, "good\n\n  two words # no\n"), COMPILER)
    assert [str(problem) for problem in caught.value.problems] == [
        f"{tmp_path / 'stolen.txt'}:3:3: the entry 'two words' is not a device identifier"
    ]
    for content, what in (
        ("\n".join(map(str, range(LONGEST + 1))), "more than 100000 entries of one list"),
        ("# nothing\n", "is empty"),
        ("laptop\n".ljust(LARGEST + 1), f"more than {LARGEST} bytes"),
        ("laptop\n".ljust(LARGEST, "ø"), f"more than {LARGEST} bytes"),
        ("laptop\n\n".ljust(LARGEST, "ø"), f"more than {LARGEST} bytes"),
    ):
        with pytest.raises(InvalidPolicy, match=what) as caught:
            load_policy(write(tmp_path, content), COMPILER)
        assert len(caught.value.problems) == 1
    load_policy(write(tmp_path, "laptop\n".ljust(LARGEST)), COMPILER)
    with pytest.raises(InvalidPolicy) as caught:
        load_policy(write(tmp_path, "two words\n" * 100), COMPILER)
    assert len(caught.value.problems) == 20
    (tmp_path / "stolen.txt").write_bytes(b"\xff")
    with pytest.raises(InvalidPolicy, match="byte 0 is not UTF-8"):
        load_policy(tmp_path / "customer.yaml", COMPILER)


def test_sections_are_bounded() -> None:
    """The number of lists is bounded, and list files must lie beside the policy."""
    many = "".join(f"  l{at}: {{countries: [NO]}}\n" for at in range(MOST_LISTS + 1))
    away = [
        (f"  l: {{asns: {name}}}\n", "is not the name of a file") for name in ("../secret", "/etc/hosts", ".hidden")
    ]
    for lists, what in ((many, "more than 64 lists"), *away, ("  l: {asns: a/../b}\n", "is not the name of a file")):
        with pytest.raises(InvalidPolicy, match=what):
            read_policy("policy", f"{HEAD}lists:\n{lists}", COMPILER)


def test_a_tenant_is_the_policy_with_its_own_keys_laid_over(policy: Policy) -> None:
    """A tenant's keys override the policy's, the rest is inherited, and other tenants are not affected."""
    acme = policy.of("acme")
    assert policy.of("") is policy.of("other") is policy
    assert acme.trusted_issuers.keys() == {"https://login.acme.example"}
    assert acme.explicit_consent
    assert acme.ladder[Tier.STEP_UP].met.terms == replace(policy.ladder[Tier.STEP_UP].met.terms, max_age_s=3600)
    login, base = acme.journeys["login"], policy.journeys["login"]
    assert (login.floor, login.bands.tiers, login.bands.edges) == (Tier.STEP_UP, (Tier.STEP_UP, Tier.DENY), (0.9,))
    assert (login.postures, login.valid_for_s) == ({"place": Tier.DENY}, base.valid_for_s)
    assert login.evaluate is base.evaluate
    assert acme.journeys["payment"].friction_budget == 0.02
    assert policy.journeys["payment"].friction_budget is None
    assert hits(policy, "198.51.100.7", tenant="acme") == {"office"}
    assert hits(policy, "192.0.2.10", tenant="acme") == {"stolen"}
    assert acme.lists["markets"] == policy.lists["markets"]


TIERS: Final = """
  STEP_UP: {aal: 2, acr_values: [mfa], max_age: 24h, amr: [[pwd, otp], [hwk]]}
  HARDWARE_BOUND: {aal: 3, max_age: 12h, amr: [[hwk, pin]]}
"""


@pytest.mark.parametrize(
    ("section", "flaw"),
    [
        ("journeys: {payment: {floor: STEP_UP}}", ""),
        ("journeys: {payment: {floor: BASELINE}}", "a floor below STEP_UP"),
        ("tiers: {STEP_UP: {aal: 2, max_age: 24h}}", ""),
        ("tiers: {STEP_UP: {aal: 3, max_age: 12h}}", ""),
        ("tiers: {STEP_UP: {aal: 1}}", "an aal below 2"),
        ("tiers: {STEP_UP: {max_age: 86401s}}", "a max_age above 86400s"),
        ("tiers: {STEP_UP: {acr_values: [of-acme]}}", ""),
        ("tiers: {STEP_UP: {amr: [[otp, pwd], [hwk], [hwk, pin]]}}", ""),
        ("tiers: {STEP_UP: {amr: [[hwk, pin]]}}", ""),
        ("tiers: {STEP_UP: {amr: [[pwd, otp], [pwd]]}}", "methods that prove less than the policy's"),
        ("tiers: {HARDWARE_BOUND: {amr: [[hwk]]}}", "methods that prove less than the policy's"),
        ("tiers: {STEP_UP: {amr: []}}", "methods that prove less than the policy's"),
        ("tiers: {BASELINE: {amr: [[pwd]]}}", ""),
        ("tiers: {IDENTITY_PROOF: {aal: 3, max_age: 15m, acr_values: [proofed]}}", ""),
        ("tiers: {IDENTITY_PROOF: {aal: 3, max_age: 15m, amr: [[hwk, pin, face]]}}", ""),
        (
            "tiers: {IDENTITY_PROOF: {aal: 3, max_age: 15m, amr: [[pwd, sms]]}}",
            "methods that prove less than the policy's",
        ),
        ("explicit_consent: true", ""),
    ],
)
def test_a_tenant_asks_for_as_much_or_for_more(section: str, flaw: str) -> None:
    """A tenant's floors and tiers must require at least as much as the policy's."""
    head = HEAD.replace("\n  STEP_UP: {aal: 2, acr_values: [mfa], max_age: 24h}\n", TIERS)
    text = f"{head}tenants:\n  acme:\n    {section}\n"
    if not flaw:
        assert read_policy("policy", text, COMPILER).tenants.keys() == {"acme"}
        return
    with pytest.raises(InvalidPolicy) as caught:
        read_policy("policy", text, COMPILER)
    assert [problem.what for problem in caught.value.problems] == [
        f"tenant 'acme': may not have {flaw}: a tenant can require more, never less"
    ]


OTHERS: Final = {
    "acme": "{journeys: {login: {floor: STEP_UP}}}",
    "bond": "{tiers: {HARDWARE_BOUND: {aal: 3, max_age: 1h, amr: [[hwk]]}}, journeys: {login: {floor: DENY}}}",
    "city": "{learning_until: 2030-01-01, trusted_issuers: [https://login.city.example]}",
    "dune": "{learning_until: 2030-02-01, journeys: {payment: {friction_budget: 0.02}}}",
    "east": "{lists: {office: {networks: [198.51.100.0/24]}}, trusted_networks: [office]}",
}


def tenants_of(names: list[str], sections: str = SECTIONS) -> str:
    """A policy with these tenants."""
    before, _, after = sections.replace("{device_ids: stolen.txt}", "{device_ids: [phone]}").partition("tenants:\n")
    entries = "".join(f"  {name}: {OTHERS[name]}\n" for name in names)
    return f"{HEAD}{before}tenants:\n{entries}{after[after.index('rules:') :]}"


@cache
def alone(name: str) -> Policy:
    return unruled(read_policy("policy", tenants_of([name]), COMPILER).of(name))


def unruled(policy: Policy) -> Policy:
    journeys = {name: replace(journey, evaluate=no_rules) for name, journey in policy.journeys.items()}
    return replace(policy, journeys=journeys)


@settings(max_examples=20)
@given(st.permutations(sorted(OTHERS)))
def test_a_tenants_policy_does_not_depend_on_other_tenants(names: list[str]) -> None:
    """A tenant's policy is the same alone as among others, in whatever order they are written."""
    for name, each in read_policy("policy", tenants_of(names), COMPILER).tenants.items():
        assert unruled(each) == alone(name)


def test_a_tier_of_one_tenant_is_not_anothers() -> None:
    """A tenant may use the tiers of the policy and its own, and not those of the tenant before it."""
    text = tenants_of(["bond", "acme"]).replace(
        "acme: {journeys: {login: {floor: STEP_UP}}}", "acme: {journeys: {login: {floor: HARDWARE_BOUND}}}"
    )
    with pytest.raises(InvalidPolicy) as caught:
        read_policy("policy", text, COMPILER)
    what = "tenant 'acme': HARDWARE_BOUND is used, but the tier table does not have it"
    assert [problem.what for problem in caught.value.problems] == [what]


def test_tenants_share_what_they_do_not_change() -> None:
    """Thousands of tenants take memory for what differs, and for nothing else of the policy."""
    policy = read_policy("policy", tenants_of(["acme", "city"]), COMPILER)
    acme, city = policy.of("acme"), policy.of("city")
    for ours, theirs in ((acme, policy), (city, policy)):
        assert ours.ladder is theirs.ladder
        assert ours.lists is theirs.lists
    assert acme.journeys["payment"] is policy.journeys["payment"]
    names = [f"tenant{number}" for number in range(3)]
    entries = "".join(f"  {name}: {{trusted_issuers: [https://{name}.example]}}\n" for name in names)
    many = read_policy("policy", tenants_of([]).replace("tenants:\n", f"tenants:\n{entries}"), COMPILER)
    assert {id(each.journeys) for each in many.tenants.values()} == {id(many.journeys)}


def test_a_policy_has_thousands_of_tenants() -> None:
    """A policy is read with thousands of tenants that differ."""
    entries = "".join(f"  t{number}: {{trusted_issuers: [https://t{number}.example]}}\n" for number in range(2_000))
    text = tenants_of([]).replace("tenants:\n", f"tenants:\n{entries}")
    assert len(read_policy("policy", text, COMPILER).tenants) == 2_000


@given(scores, st.sampled_from(["login", "payment"]))
def test_learning_requires_the_floor_and_says_what_it_withheld(score: float, journey: str) -> None:
    """Before the end of learning, the floor is required and the withheld tier reported; afterwards that tier is
    required."""
    policy = read_policy("policy", HEAD + "learning_until: 2030-01-01\n", COMPILER)
    attempt = sign_in(journey=journey)
    found = [Hit("r", Tier.STEP_UP, "R")]
    context = context_of()
    during = decide(policy, attempt, context, score, found)
    after = decide(policy, attempt, replace(context, now=1_893_456_000.0), score, found)
    floor = policy.journeys[journey].floor
    assert (during.tier, during.raised) == (floor, False)
    assert (during.withheld or floor) == after.tier
    assert after.withheld is None
    codes = [reason.code for reason in during.reasons]
    assert codes == (["LEARNING_MODE"] if after.raised else []) + [reason.code for reason in after.reasons]


def test_a_journeys_own_day_counts_first(policy: Policy) -> None:
    """A journey's own end of learning takes precedence over that of the policy or tenant."""
    acme = policy.of("acme")
    assert acme.journeys["login"].learning_until == 1_893_456_000.0
    assert acme.journeys["payment"].learning_until == 1_577_836_800.0
    assert policy.journeys["login"].learning_until == 0.0


def test_requiring_ends_learning(policy: Policy) -> None:
    """`requiring` ends learning in all journeys of the policy and its tenants, and changes nothing else."""
    requiring = policy.requiring()
    days = {journey.learning_until for each in (requiring, requiring.of("acme")) for journey in each.journeys.values()}

    assert days == {0.0}
    assert requiring.tenants.keys() == policy.tenants.keys()
    for before, after in ((policy, requiring), (policy.of("acme"), requiring.of("acme"))):
        learning = {
            name: replace(journey, learning_until=before.journeys[name].learning_until)
            for name, journey in after.journeys.items()
        }
        assert replace(after, journeys=learning, tenants=before.tenants) == before


def test_a_day_that_is_over_is_no_mistake_of_a_running_service(tmp_path: Path) -> None:
    """A past end of learning is reported by a check, but does not stop a service from starting."""
    path = write(tmp_path)
    assert load_policy(path, COMPILER).of("acme").journeys["payment"].learning_until < NOW
    with pytest.raises(InvalidPolicy, match="learning ended on 2020-01-01"):
        load_policy(path, COMPILER, now=NOW)


def test_from_a_trusted_network_the_address_decides_nothing(policy: Policy) -> None:
    """A data centre's address raises the tier unless it is a trusted network; the device still counts."""
    shipped = shipped_release()
    trusting = replace(policy, trusted_networks=frozenset({"office"}))
    attempt = sign_in()
    context = settled().context(attempt, route=replace(HOSTER, anonymizer="tor"))

    def decided(by: Policy) -> set[str]:
        release = Release("r", {"customer": by}, shipped.scorers)
        return {hit.rule for hit in assess(attempt, context, keys_of(attempt, context.values), release, "0" * 32).hits}

    assert "carried" in decided(policy)
    assert "carried" not in decided(trusting)
    assert isinstance(context.route, Route)
