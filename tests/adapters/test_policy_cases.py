"""Files of policy cases: read as a whole or refused as a whole; the schema for editors agrees with the reader."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final

import pytest

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file import CASE_KEYS, CASE_MISTAKES, Case, load_cases, load_policy
from riskd.core.attempt import CREDENTIAL_RESULTS, DOMAINS, JOURNEYS
from riskd.core.context import AGEING, SOURCES, WHYS, Missing, Route
from riskd.core.errors import InvalidPolicy
from riskd.core.features import FEATURES, NAMES
from riskd.core.policy import Policy
from riskd.core.requirement import Tier
from riskd.core.rules import VARIABLES, RuleFacts

ROOT: Final = Path(__file__).parents[2]
POLICIES: Final = ROOT / "data" / "policies"
SCHEMA: Final = json.loads((POLICIES / "cases.schema.json").read_text())
COMPILER: Final = CelCompiler(NAMES)
HEAD: Final = "domain: customer\ncases:\n"


def shipped(domain: str) -> Policy:
    return load_policy(POLICIES / f"{domain}.yaml", COMPILER)


def read(path: Path, text: str) -> list[Case]:
    path.write_text(text, encoding="utf-8")
    return load_cases(path, shipped)[1]


def refused(path: Path, text: str) -> list[str]:
    with pytest.raises(InvalidPolicy) as caught:
        read(path, text)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def case(**fields: str) -> str:
    """A case on one line; `fields` are YAML texts."""
    whole = {"description": "Ordinary", "journey": "login", "expect": "{tier: BASELINE}"} | fields
    return HEAD + f"  - {{{', '.join(f'{key}: {value}' for key, value in whole.items())}}}\n"


MISTAKEN: Final = {
    "domain: customer\n": ["1:1: 'cases' is missing in the file"],
    "": ["1:1: has no cases"],
    "domain: customer\ncases: []\n": ["2:8: cases is empty (add a case)"],
    case(journey="logon"): ["unknown journey 'logon' (did you mean login?)"],
    case(gapz="{}"): ["unknown key 'gapz' in a case (did you mean gaps?)"],
    case(features="{tro: 1}"): ["unknown feature 'tro' (did you mean tor?)"],
    case(features="{tor: 0.5}"): ["tor '0.5' is not 0 or 1"],
    case(features="{tor: yes}"): ["tor must be a number, not a boolean"],
    case(features="{new_device: 1}", gaps="{device_id: not_sent}"): [
        "feature 'new_device' is given, but its source 'device_id' is among the gaps (keep one)"
    ],
    case(facts='{country: "GB"}', gaps="{place: not_found}"): [
        "country is given, but its source 'place' is among the gaps (keep one)"
    ],
    case(session="{age: 1h}", gaps="{session: not_sent}"): [
        "session is given, but its source 'session' is among the gaps (keep one)"
    ],
    case(facts="{country: NO}"): ["country must be text, not a boolean (quote it)"],
    case(gaps="{place: none_yet}"): [
        "only history can be missing with none_yet (use another reason: not_sent, not_found, ...)"
    ],
    case(gaps="{device_id: stale}"): [
        "only place and route can be stale (use another reason: not_sent, not_found, ...)"
    ],
    case(session="{age: soon}"): ["age 'soon' is not a duration such as 90s, 15m, 12h or 30d"],
    case(score="1.5"): ["score must be between 0 and 1"],
    case(expect="{tier: STEPUP}"): ["unknown tier 'STEPUP' (did you mean STEP_UP?)"],
    case(expect="{tier: STEP_UP, hits: [tro]}"): ["unknown acting rule of login 'tro' (did you mean tor?)"],
    case(journey="session", expect="{tier: STEP_UP, hits: [tor_on]}"): [
        "unknown acting rule of session 'tor_on' (did you mean tor?)"
    ],
    case(expect="{tier: STEP_UP, reasons: [ANONYMISER]}"): [
        "unknown reason of login 'ANONYMISER' (did you mean ANONYMIZER?)"
    ],
    case() + case().removeprefix(HEAD): [
        "there is already a case with this description, in line 3 (describe what differs)"
    ],
    case(description="A", credential="failed", gaps="{credential: not_sent}"): [
        "credential is given, but its source 'credential' is among the gaps (keep one)"
    ],
}  # fmt: skip
"""The mistakes of each text, with or without their positions."""


@pytest.mark.parametrize("text", MISTAKEN, ids=lambda text: MISTAKEN[text][0])
def test_every_mistake_is_placed_and_explained(text: str, tmp_path: Path) -> None:
    """A bad file is refused with line, column, what is wrong and how to fix it."""
    found = refused(tmp_path / "cases.yaml", text)
    assert all(re.match(r"\d+:\d+: ", problem) for problem in found)
    assert [re.sub(r"^\d+:\d+: ", "", problem) for problem in found] == [
        re.sub(r"^\d+:\d+: ", "", problem) for problem in MISTAKEN[text]
    ]


def test_every_mistake_of_cases_is_shown() -> None:
    """Every message that this reader adds occurs among the mistakes above."""
    told = [problem for problems in MISTAKEN.values() for problem in problems]
    for wording in CASE_MISTAKES.values():
        pattern = re.sub(r"\\\{\w+\\\}", ".+", re.escape(wording))
        assert any(re.search(pattern, problem) for problem in told), wording


def test_all_mistakes_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    """All mistakes are reported at once, in the order of the file."""
    text = case(journey="logon", features="{tro: 1}", expect="{tier: STEPUP}")
    found = refused(tmp_path / "cases.yaml", text)
    assert [problem.partition(": ")[2].split()[1] for problem in found] == ["journey", "tier", "feature"]


def test_facts_that_a_case_does_not_set_are_unknown(tmp_path: Path) -> None:
    """What a case does not set is unknown: features have their defaults, facts are missing, and there are no gaps."""
    (one,) = read(tmp_path / "cases.yaml", case())
    assert all(
        math.isnan(value) if math.isnan(feature.missing) else value == feature.missing
        for value, feature in zip(one.features, FEATURES, strict=True)
    )
    assert isinstance(one.context.place, Missing)
    assert isinstance(one.context.route, Missing)
    assert isinstance(one.context.agent, Missing)
    assert one.context.missing == ()
    assert (one.score, one.attempt.credential_result, one.line) == (0.0, "not_checked", 3)


def test_stale_sources_count_as_present(tmp_path: Path) -> None:
    """A case may give facts and features of a source that it marks as stale; they count as present."""
    text = case(gaps="{route: stale, place: not_found}", facts="{asn: 64500}", features="{new_asn: 1}")
    (one,) = read(tmp_path / "cases.yaml", text)
    assert (one.context.stale, one.context.missing) == (("route",), (Missing("place", "not_found"),))
    assert isinstance(one.context.route, Route)


def test_reputation_can_be_missing_in_part(tmp_path: Path) -> None:
    """A case may give features of `reputation` beside its gap: of the address, say, but not of the device."""
    (one,) = read(tmp_path / "cases.yaml", case(gaps="{reputation: unavailable}", features="{address_subjects_24h: 9}"))
    assert one.context.missing == (Missing("reputation", "unavailable"),)
    assert one.features[NAMES.index("address_subjects_24h")] == 9


@pytest.mark.parametrize(("text", "days"), [(case(account_days="900"), 900), (case(), None)])
def test_a_case_can_say_how_old_the_account_is(text: str, days: float | None, tmp_path: Path) -> None:
    """`account_days` of a case is that of conditions; if the case does not have it, it is unknown."""
    (one,) = read(tmp_path / "cases.yaml", text)
    assert VARIABLES["account_days"].read(RuleFacts(one.attempt, one.context, one.features, one.score)) == days


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A file that is missing or not text is refused."""
    odd = tmp_path / "odd.yaml"
    for content in (None, b"\xff\xfe"):
        if content is not None:
            odd.write_bytes(content)
        with pytest.raises(InvalidPolicy, match="cannot be read"):
            load_cases(odd, shipped)


@pytest.mark.parametrize("kind", CASE_KEYS)
def test_schema_has_the_readers_keys(kind: str) -> None:
    """The schema has the same keys as the reader."""
    definition: dict[str, Any] = SCHEMA if kind == "file" else SCHEMA["$defs"][kind]
    required, optional = CASE_KEYS[kind]
    assert set(definition.get("required", ())) == set(required)
    assert definition["properties"].keys() == {*required, *optional}
    assert definition["additionalProperties"] is False


def test_schema_has_the_same_names_as_the_reader() -> None:
    """The schema has the same domains, journeys, sources, reasons for gaps and tiers as the reader."""
    properties = SCHEMA["$defs"]["case"]["properties"]
    assert tuple(SCHEMA["properties"]["domain"]["enum"]) == DOMAINS
    assert tuple(properties["journey"]["enum"]) == JOURNEYS
    assert tuple(properties["credential"]["enum"]) == CREDENTIAL_RESULTS
    assert properties["gaps"]["properties"].keys() == SOURCES.keys()
    offered = {source: tuple(one["enum"]) for source, one in properties["gaps"]["properties"].items()}
    kept = {"none_yet": ("history",), "stale": AGEING}
    assert offered == {source: tuple(why for why in WHYS if source in kept.get(why, SOURCES)) for source in SOURCES}
    assert SCHEMA["$defs"]["expect"]["properties"]["tier"]["enum"] == [tier.name for tier in Tier]
