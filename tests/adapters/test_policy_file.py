from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file import KEYS, MISTAKES, load_cases, load_policy, read_policy
from riskd.adapters.policy_file.document import LARGEST
from riskd.adapters.policy_file.nodes import top_node
from riskd.core.attempt import DOMAINS, JOURNEYS
from riskd.core.context import SOURCES
from riskd.core.errors import InvalidFile, InvalidPolicy, Problem
from riskd.core.features import NAMES
from riskd.core.lists import KINDS
from riskd.core.policy import Issuer, Policy
from riskd.core.requirement import Terms, Tier
from riskd.core.rules import VARIABLES
from riskd.shared_signals.streams_file import read_streams

ROOT: Final = Path(__file__).parents[2]
POLICIES: Final = ROOT / "data" / "policies"
MISTAKEN: Final = sorted((ROOT / "tests" / "policy_errors").glob("*.yaml"))
READ: Final = [path for path in MISTAKEN if not path.stem.startswith("syntax")]
"""Files that can be read as YAML."""
WITHOUT_FILE: Final = {"unreadable", "too_large", "too_many", "undeclared_attribute", "other_domain"}
NOW: Final = 1_790_000_000.0
COMPILER: Final = CelCompiler(NAMES)
SCHEMA: Final = json.loads((POLICIES / "policy.schema.json").read_text())
EXAMPLE: Final = """
format: 1
version: a
domain: workforce
trusted_issuers: ["https://login.example.com"]
explicit_consent: true
levels: {medium: 0.1, high: 1e-0}
tiers:
  BASELINE: {aal: 1, max_age: 30d}
  STEP_UP: {aal: 2, acr_values: [mfa], max_age: 24h, amr: [[pwd, otp], [mfa]]}
journeys:
  registration: &any {floor: BASELINE, bands: {STEP_UP: .2, DENY: 0.9}, valid_for: 90s}
  login: {floor: BASELINE, bands: {}, gaps: {place: note, history: DENY}, cold_start: STEP_UP, valid_for: 15m}
  recovery: *any
  profile_update: *any
  payment: *any
  session: *any
rules:
  - {name: far, when: speed_kmh > 900.0, then: STEP_UP, reason: FAR, text: "Too far.", journeys: all}
  - {name: home, when: 'country == "NO"', then: DENY, reason: HOME, text: "Home.", journeys: [login], shadow: true}
"""


def mistakes(where: str, text: str) -> tuple[str, ...]:
    with pytest.raises(InvalidPolicy) as caught:
        read_policy(where, text, COMPILER, now=NOW)
    return tuple(str(problem) for problem in caught.value.problems)


def code_of(path: Path) -> str:
    return path.stem.partition("__")[0]


@pytest.mark.parametrize("path", MISTAKEN, ids=lambda path: path.stem)
def test_every_mistake_is_placed_and_explained(path: Path) -> None:
    """A bad file is refused with every mistake at once: line, column, what is wrong and how to fix it."""
    text = path.read_text()
    expected = re.findall(r"^# expect (.*)$", text, re.MULTILINE)
    assert mistakes("policy", text) == tuple(f"policy:{problem}" for problem in expected)
    wording = re.sub(r"\\\{\w+(:g)?\\\}", ".+", re.escape(MISTAKES[code_of(path)]))
    assert any(re.search(wording, problem) for problem in expected)


def test_every_code_has_a_file() -> None:
    """Each mistake that the reader can report is shown by a file."""
    assert {code_of(path) for path in MISTAKEN} | WITHOUT_FILE == set(MISTAKES)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """A file that is missing, not text or too large is refused like any other mistake."""
    odd = tmp_path / "odd.yaml"
    for content in (None, b"\xff\xfe", b"#" * (LARGEST + 1)):
        if content is not None:
            odd.write_bytes(content)
        with pytest.raises(InvalidPolicy) as caught:
            load_policy(odd, COMPILER)
        assert caught.value.problems[0].where == str(odd)


def test_a_byte_order_mark_moves_nothing(tmp_path: Path) -> None:
    """With a byte order mark, which some editors write, a file is read alike, and its mistakes are where they are seen:
    also in the first line, in conditions and where YAML ends."""
    path = tmp_path / "candidate.yaml"
    assert mistakes("p", f"\ufeff{EXAMPLE}".replace("speed_kmh", "spead")) == mistakes(
        "p", EXAMPLE.replace("speed_kmh", "spead")
    )
    for text in (EXAMPLE, f"# é\n{EXAMPLE}\nvalue: [", *(each.read_text() for each in MISTAKEN)):
        path.write_text(text, encoding="utf-8")
        plain = outcome(path)
        path.write_text(text, encoding="utf-8-sig")
        assert outcome(path) == plain


def outcome(path: Path) -> object:
    """A policy, or the problems for which it is refused."""
    try:
        return load_policy(path, COMPILER, now=NOW).version
    except InvalidPolicy as error:
        return error.problems


@pytest.mark.parametrize(
    "path", [*READ, *POLICIES.glob("**/*.yaml")], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_both_parsers_place_every_node_alike(path: Path) -> None:
    """What libyaml parses has the tags, values and positions that PyYAML gives it."""
    text = path.read_text()
    assert [*nodes(top_node(text))] == [*nodes(yaml.compose(text, yaml.SafeLoader))]


def test_a_pyyaml_without_libyaml_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML was built without libyaml, policies are read alike, and refused with the same errors."""
    spec = spec_from_file_location("slow_nodes", top_node.__code__.co_filename)
    assert spec is not None
    assert spec.loader is not None
    slow = module_from_spec(spec)
    monkeypatch.delattr(yaml, "CSafeLoader")
    spec.loader.exec_module(slow)
    assert [*nodes(slow.top_node(EXAMPLE))] == [*nodes(top_node(EXAMPLE))]
    for refused in ("a: [", 'a: "\\U00110000"', 'a: "\\ud800"', "a: \0", "a: *b", f"a: {'[' * 13}{']' * 13}"):
        with pytest.raises(yaml.YAMLError) as quick:
            top_node(refused)
        with pytest.raises(yaml.YAMLError, match=re.escape(str(quick.value))):
            slow.top_node(refused)


def nodes(node: yaml.Node | None) -> Iterator[tuple[object, ...]]:
    """Tag, value, whether it is quoted, and positions of a node and of those below it."""
    if node is None:
        return
    whole, quoted = isinstance(node, yaml.ScalarNode), isinstance(node, yaml.ScalarNode) and bool(node.style)
    places = (node.start_mark.index, node.start_mark.line, node.start_mark.column, node.end_mark.index)
    yield node.tag, node.value if whole else len(node.value), quoted, *places
    for below in () if whole else node.value:
        for each in below if isinstance(below, tuple) else (below,):
            yield from nodes(each)


def of_policy(path: Path) -> object:
    return load_policy(path, COMPILER)


def of_cases(path: Path) -> object:
    return load_cases(path, lambda domain: load_policy(POLICIES / f"{domain}.yaml", COMPILER))


@pytest.mark.parametrize("read", [of_policy, of_cases, read_streams], ids=lambda read: read.__name__)
@pytest.mark.parametrize("first", ["", "#", "##"])
def test_a_file_that_is_too_large_is_not_read_in_part(
    tmp_path: Path, read: Callable[[Path], object], first: str
) -> None:
    """A file above the size limit is refused for its size, even if the limit falls inside a character."""
    large = tmp_path / "large.yaml"
    comment = f"{first}# {'€' * (LARGEST // 3)}\n"
    for text in (comment + EXAMPLE, EXAMPLE + comment):
        large.write_text(text)
        assert large.stat().st_size > LARGEST
        assert len(text) < LARGEST
        with pytest.raises(InvalidFile) as refused:
            read(large)
        (problem,) = refused.value.problems
        assert (problem.what, problem.line) == (f"has more than {LARGEST} bytes", 0)


@given(st.integers(0, len(EXAMPLE)), st.integers(0, 12), st.text(max_size=6))
def test_a_garbled_policy_is_parsed_or_refused_with_problems(at: int, removed: int, added: str) -> None:
    """However a file is garbled, it is read or refused with mistakes inside the file."""
    text = EXAMPLE[:at] + added + EXAMPLE[at + removed :]
    problems: tuple[Problem, ...] = ()
    try:
        read_policy("policy", text, COMPILER)
    except InvalidPolicy as error:
        problems = error.problems or (Problem("policy", "refused without a reason"),)
    assert all(1 <= problem.line <= text.count("\n") + 2 for problem in problems)


@pytest.mark.parametrize(("named", "right"), [("workforce", True), ("customer", False), ("candidate", True)])
def test_a_file_that_is_named_for_a_domain_has_its_policy(named: str, right: bool, tmp_path: Path) -> None:
    """A service takes the policy of a domain from the file of its name: a file with another domain's is refused."""
    file = tmp_path / f"{named}.yaml"
    file.write_text(EXAMPLE)
    if right:
        assert load_policy(file, COMPILER).domain == "workforce"
        return
    (problem,) = mistakes(str(file), EXAMPLE)
    told = "4:9: a policy of workforce in a file that is named for customer (write customer, or rename the file)"
    assert problem == f"{file}:{told}"


def test_a_policy_is_read_as_written() -> None:
    """Every section of the file is in the policy."""
    policy = read_policy("policy", EXAMPLE, COMPILER)
    login = policy.journeys["login"]
    assert (policy.domain, policy.version, policy.levels) == ("workforce", "a", (0.1, 1.0))
    assert policy.explicit_consent
    assert policy.trusted_issuers == {"https://login.example.com": Issuer()}
    assert policy.ladder[Tier.STEP_UP].met.terms == Terms(2, ("mfa",), 86_400, (("pwd", "otp"), ("mfa",)))
    assert set(policy.ladder) == {Tier.BASELINE, Tier.STEP_UP, Tier.DENY}
    assert login.postures == {"place": None, "history": Tier.DENY}
    assert (login.floor, login.cold_start, login.valid_for_s) == (Tier.BASELINE, Tier.STEP_UP, 900)
    assert [rule.name for rule in login.rules] == ["far", "home"]
    assert [rule.name for rule in policy.journeys["payment"].rules] == ["far"]
    assert policy.journeys["payment"].bands.at(0.9) is Tier.DENY
    assert policy.journeys["payment"].cold_start is Tier.BASELINE


def shipped(domain: str) -> Policy:
    return load_policy(POLICIES / f"{domain}.yaml", COMPILER)


@pytest.mark.parametrize("domain", DOMAINS)
def test_shipped_policies(domain: str) -> None:
    """Each domain's policy covers all journeys, and recovery and profile updates require at least as much as login."""
    policy = shipped(domain)
    assert policy.domain == domain
    assert tuple(policy.journeys) == JOURNEYS
    login = policy.journeys["login"]
    for name in ("recovery", "profile_update"):
        journey = policy.journeys[name]
        assert journey.floor >= login.floor
        assert (journey.postures.get("history") or journey.floor) >= (login.postures["history"] or login.floor)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_rule_asks_for_gaps_that_its_journey_knows(domain: str) -> None:
    """A rule that asks for a gap is only on journeys that expect that source; elsewhere it could never hit."""
    for name, journey in shipped(domain).journeys.items():
        for rule in journey.rules:
            asked = set(re.findall(r'"(\w+)" in gaps', rule.when))
            assert asked <= set(journey.postures), f"{rule.name} in {name}"


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_number_of_a_shipped_policy_has_its_reason(domain: str) -> None:
    """Each band and each time limit has a comment with its reason."""
    text = (POLICIES / f"{domain}.yaml").read_text()
    assert re.findall(r"^ +(?:[A-Z_]+: [\d.]+|(?:max_age|valid_for): \w+)$", text, re.MULTILINE) == []


def test_machines_are_never_challenged() -> None:
    """The machine policy has no tier that needs a person."""
    policy = shipped("machine")
    assert set(policy.ladder) == {Tier.BASELINE, Tier.HARDWARE_BOUND, Tier.DENY}


@pytest.mark.parametrize(
    ("domain", "tier", "aal", "hours"),
    [
        ("customer", Tier.BASELINE, 1, 720),
        ("customer", Tier.STEP_UP, 2, 24),
        ("customer", Tier.PHISHING_RESISTANT, 2, 24),
        ("customer", Tier.HARDWARE_BOUND, 3, 12),
        ("workforce", Tier.STEP_UP, 2, 24),
        ("workforce", Tier.HARDWARE_BOUND, 3, 12),
    ],
)
def test_reauthentication_limits(domain: str, tier: Tier, aal: int, hours: int) -> None:
    """The tier tables keep the limits of NIST SP 800-63B-4, sections 2.1.3, 2.2.3 and 2.3.3."""
    terms = shipped(domain).ladder[tier].met.terms
    assert (terms.aal, terms.max_age_s) == (aal, hours * 3600)


def keys(schema: dict[str, object]) -> tuple[set[str], set[str]]:
    required, properties = schema["required"], schema["properties"]
    assert schema["additionalProperties"] is False
    assert isinstance(required, list)
    assert isinstance(properties, dict)
    return set(required), set(properties)


@pytest.mark.parametrize("kind", KEYS)
def test_schema_has_the_readers_keys(kind: str) -> None:
    """The schema has the same keys as the reader."""
    definition = {"policy": SCHEMA, "tier": SCHEMA["$defs"]["tier_terms"]}.get(kind) or SCHEMA["$defs"][kind]
    required, optional = KEYS[kind]
    assert keys(definition) == (set(required), {*required, *optional})


def test_schema_has_the_kinds_of_lists() -> None:
    """The schema has the same kinds of lists, and what tenants may override."""
    definitions = SCHEMA["$defs"]
    assert set(definitions["list"]["properties"]) == set(KINDS)
    assert definitions["tenant_journey"]["properties"] == definitions["journey"]["properties"]
    assert definitions["tenant_terms"]["properties"] == definitions["tier_terms"]["properties"]


def test_schema_has_the_same_names_as_the_reader() -> None:
    """The schema has the same tiers, sources, journeys, domains and variables."""
    definitions, properties = SCHEMA["$defs"], SCHEMA["properties"]
    tiers = [tier.name for tier in Tier]
    assert definitions["tier"]["enum"] == tiers
    assert definitions["posture"]["enum"] == ["note", *tiers]
    assert set(properties["tiers"]["properties"]) == set(tiers) - {"DENY"}
    assert tuple(properties["domain"]["enum"]) == DOMAINS
    assert tuple(properties["journeys"]["required"]) == tuple(properties["journeys"]["properties"]) == JOURNEYS
    assert set(definitions["journey"]["properties"]["gaps"]["properties"]) == set(SOURCES)
    assert set(VARIABLES) <= set(re.findall(r"\w+", definitions["rule"]["properties"]["when"]["description"]))


def test_the_page_names_every_key_and_variable() -> None:
    """docs/policy.md names every key and every variable."""
    page = (ROOT / "docs" / "policy.md").read_text()
    for kind in ("policy", "journey", "tier", "rule"):
        for key in (*KEYS[kind][0], *KEYS[kind][1]):
            assert re.search(rf"`{key}\b|^ +(- )?{key}:", page, re.MULTILINE), key
    assert [name for name in VARIABLES if f"`{name}`" not in page] == []
