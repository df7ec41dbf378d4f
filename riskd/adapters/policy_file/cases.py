"""Reads files of policy cases: attempts with known facts, and what a policy should require of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import yaml
from msgspec import Struct

from riskd.adapters.policy_file.document import METHOD, MISTAKES, SYMBOL, Document
from riskd.core.attempt import BINDINGS, CREDENTIAL_RESULTS, DOMAINS, JOURNEYS, Attempt, Federation, Network, Session
from riskd.core.context import AGEING, SOURCES, WHYS, Agent, Context, Missing, Place, Route
from riskd.core.counters import COUNTS, source_of
from riskd.core.errors import InvalidPolicy
from riskd.core.features import FEATURES
from riskd.core.history import DAY
from riskd.core.policy import Policy
from riskd.core.requirement import Tier

CASE_KEYS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "file": (("domain", "cases"), ()),
    "case": (
        ("description", "journey", "expect"),
        (
            "score",
            "credential",
            "tenant",
            "features",
            "facts",
            "gaps",
            "lists",
            "counted",
            "attributes",
            "account_days",
            "session",
            "federation",
        ),
    ),
    "facts": ((), ("country", "asn", "anonymizer", "browser", "os")),
    "session": ((), ("age", "acr", "amr", "binding")),
    "federation": (("issuer",), ("age", "acr", "amr")),
    "expect": (("tier",), ("satisfied", "level", "reasons", "hits", "shadow_hits")),
}
"""Required and optional keys of each kind of mapping."""
CASE_MISTAKES: Final = {
    "empty": "has no cases",
    "empty_list": "{what} is empty",
    "duplicate_case": "there is already a case with this description, in line {first}",
    "known_and_missing": "{what} is given, but its source '{source}' is among the gaps",
    "none_yet": "only history can be missing with none_yet",
    "stale": "only {ageing} can be stale",
}
"""The wording of the mistakes that a file of cases can have in addition to `MISTAKES`."""
_NOW: Final = 1_800_000_000.0
_TIERS: Final = tuple(tier.name for tier in Tier)
_SOURCE_OF: Final = {"country": "place", "asn": "route", "anonymizer": "route", "browser": "agent", "os": "agent"}
_KNOWN: Final = ("none_yet", "stale")
"""Gaps beside which features of their source can be known."""
_IN_PART: Final = "reputation"
"""The source of which some features can be known while others are missing."""
_FEATURE: Final = {feature.name: (column, feature) for column, feature in enumerate(FEATURES)}


class Expected(Struct, frozen=True, kw_only=True):
    """What a policy should answer. None: any value will do. The order of tuples does not matter."""

    tier: str
    satisfied: bool | None = None
    level: str | None = None
    reasons: tuple[str, ...] | None = None
    hits: tuple[str, ...] | None = None
    shadow_hits: tuple[str, ...] | None = None


class Case(Struct, frozen=True, kw_only=True):
    """A case as values of the core. Features and facts that the case does not name are unknown and decide nothing."""

    where: str
    line: int
    description: str
    attempt: Attempt
    context: Context
    features: tuple[float, ...]
    score: float
    expected: Expected
    lists: Mapping[str, bool] = {}
    """Whether the attempt is on each list that the case names."""


def load_cases(
    path: Path, policy_of: Callable[[str], Policy], attributes: Collection[str] | None = None
) -> tuple[Policy, list[Case]]:
    """The cases in a file, and their policy, which `policy_of` returns for the identity domain that the file names.

    `attributes`: those that attempts can carry, if that is known. Raises InvalidPolicy with every
    mistake, and whatever `policy_of` raises.
    """
    document = Document.of(path, {**MISTAKES, **CASE_MISTAKES})
    found = _CaseReader(document, str(path), policy_of, attributes).cases()
    if found is not None:
        return found
    raise InvalidPolicy(document.sorted_problems())


class _CaseReader:
    def __init__(
        self,
        document: Document,
        where: str,
        policy_of: Callable[[str], Policy],
        attributes: Collection[str] | None,
    ) -> None:
        self.document = document
        self._where = where
        self._policy_of = policy_of
        self._declared = attributes

    def cases(self) -> tuple[Policy, list[Case]] | None:
        """The policy and its cases, or None if there are problems."""
        document = self.document
        top = self._fields(document.root(), "file", "the file")
        domain = document.choice(top.get("domain"), "domain", DOMAINS)
        policy = self._policy_of(domain) if domain in DOMAINS else None
        cases = [self._case(node, policy) for node in document.items(top.get("cases"), "cases")]
        self._compare(cases, top.get("cases"))
        if "cases" in top and not cases:
            document.wrong(top["cases"], "empty_list", "add a case", what="cases")
        if document.problems or policy is None:
            return None
        return policy, [case for case in cases if case is not None]

    def _compare(self, cases: Sequence[Case | None], node: yaml.Node | None) -> None:
        """Note cases with the same description."""
        first: dict[str, int] = {}
        for case, item in zip(cases, self.document.items(node, "cases"), strict=False):
            if case is not None and first.setdefault(case.description, case.line) != case.line:
                line = first[case.description]
                self.document.wrong(item, "duplicate_case", "describe what differs", first=line)

    def _fields(self, node: yaml.Node | None, kind: str, what: str) -> dict[str, yaml.Node]:
        return self.document.fields(node, what, *CASE_KEYS[kind])

    def _case(self, node: yaml.Node, policy: Policy | None) -> Case | None:
        document = self.document
        fields = self._fields(node, "case", "a case")
        description = document.text(fields.get("description"), "description", r".{1,300}", "one sentence")
        journey = document.choice(fields.get("journey"), "journey", JOURNEYS)
        score = document.number(fields.get("score"), "score", 0, 1)
        credential = document.choice(fields.get("credential"), "credential", CREDENTIAL_RESULTS)
        tenant = document.text(fields.get("tenant"), "tenant", r".{1,128}", "a tenant")
        gaps = self._gaps(fields.get("gaps"))
        features = self._features(fields.get("features"), gaps)
        session, federation = self._session(fields.get("session")), self._federation(fields.get("federation"))
        for source in ("session", "federation", "credential"):
            if source in fields and source in gaps:
                document.wrong(fields[source], "known_and_missing", "keep one", what=source, source=source)
        context = self._context(fields.get("facts"), gaps, self._counted(fields.get("counted"), policy, gaps))
        expected = self._expected(fields.get("expect"), policy, journey or "")
        attributes = self._attributes(fields.get("attributes"))
        days = document.number(fields.get("account_days"), "account_days", 0, 36_500)
        lists = self._lists(fields.get("lists"), policy)
        if description is None or journey is None or expected is None or policy is None:
            return None
        attempt = Attempt(
            domain=policy.domain,
            subject="case",
            journey=journey,
            network=Network(),
            tenant=tenant or "",
            credential_result=credential or "not_checked",
            session=session,
            federation=federation,
            attributes=attributes,
            registration_time=None if days is None else _NOW - days * DAY,
        )
        return Case(
            where=self._where,
            line=node.start_mark.line + 1,
            description=description,
            attempt=attempt,
            context=context,
            features=features,
            score=score or 0.0,
            expected=expected,
            lists=lists,
        )

    def _lists(self, node: yaml.Node | None, policy: Policy | None) -> dict[str, bool]:
        known, found = tuple(policy.lists if policy is not None else ()), {}
        for name, key_node, value_node in self.document.entries(node, "lists"):
            if policy is not None and self.document.choice(key_node, "list", known) in known:
                found[name] = self.document.boolean(value_node, f"list {name}")
        return found

    def _counted(self, node: yaml.Node | None, policy: Policy | None, gaps: Mapping[str, str]) -> dict[str, float]:
        document, found = self.document, dict[str, float]()
        known = [f"{counter}.{count}" for counter in (policy.counters if policy else ()) for count in COUNTS]
        for name, key_node, value_node in document.entries(node, "counted"):
            value = document.number(value_node, name, 0, 1e9)
            if policy is None or document.choice(key_node, "count", known) not in known or value is None:
                continue
            needed = source_of(name.rpartition(".")[2])
            if gaps.get(needed, "none_yet") not in _KNOWN:
                document.wrong(key_node, "known_and_missing", "keep one", what=name, source=needed)
            found[name] = value
        return found

    def _gaps(self, node: yaml.Node | None) -> dict[str, str]:
        document, found = self.document, {}
        for _, key_node, value_node in document.entries(node, "gaps"):
            source = document.choice(key_node, "source", tuple(SOURCES))
            why = document.choice(value_node, "why", tuple(WHYS))
            if why == "none_yet" and source != "history":
                document.wrong(value_node, "none_yet", "use another reason: not_sent, not_found, ...")
            if why == "stale" and source not in AGEING:
                remedy = "use another reason: not_sent, not_found, ..."
                document.wrong(value_node, "stale", remedy, ageing=" and ".join(AGEING))
            if source is not None and why is not None:
                found[source] = why
        return found

    def _features(self, node: yaml.Node | None, gaps: Mapping[str, str]) -> tuple[float, ...]:
        document = self.document
        values = [feature.missing for feature in FEATURES]
        for name, key_node, value_node in document.entries(node, "features"):
            if document.choice(key_node, "feature", tuple(_FEATURE)) not in _FEATURE:
                continue
            column, feature = _FEATURE[name]
            value = document.number(value_node, name, -1e9, 1e9)
            needed = [source for source in feature.sources if source != _IN_PART]
            gone = next((source for source in needed if gaps.get(source, "none_yet") not in _KNOWN), None)
            if gone is not None:
                document.wrong(key_node, "known_and_missing", "keep one", what=f"feature '{name}'", source=gone)
            if value is None:
                continue
            if feature.unit == "0 or 1" and value not in (0.0, 1.0):
                document.wrong(value_node, "wrong_format", what=name, value=f"{value:g}", expected="0 or 1")
            values[column] = value
        return tuple(values)

    def _context(self, node: yaml.Node | None, gaps: Mapping[str, str], counted: Mapping[str, float]) -> Context:
        document = self.document
        fields = self._fields(node, "facts", "facts")
        for name, value_node in fields.items():
            if gaps.get(_SOURCE_OF[name], "stale") != "stale":
                document.wrong(value_node, "known_and_missing", "keep one", what=name, source=_SOURCE_OF[name])
        country = document.text(fields.get("country"), "country", r"[A-Z]{2}", "two capital letters, quoted")
        asn = document.number(fields.get("asn"), "asn", 0, 2**32 - 1)
        anonymizer = document.choice(fields.get("anonymizer"), "anonymizer", _ANONYMIZERS)
        browser = document.text(fields.get("browser"), "browser", r".{1,64}", "a browser family")
        system = document.text(fields.get("os"), "os", r".{1,64}", "a system family")
        routed, seen = asn is not None or anonymizer is not None, browser is not None or system is not None
        return Context(
            now=_NOW,
            values={},
            place=Place(country, 0.0, 0.0, 0.0) if country else Missing("place", gaps.get("place", "not_found")),
            route=Route(int(asn or 0), anonymizer=anonymizer or "") if routed else Missing("route", "not_found"),
            agent=Agent(browser or "", os=system or "") if seen else Missing("agent", "not_sent"),
            remembered=Missing("history", gaps.get("history", "unavailable")),
            missing=tuple(Missing(source, why) for source, why in gaps.items() if why != "stale"),
            stale=tuple(source for source, why in gaps.items() if why == "stale"),
            counted=counted,
        )

    def _session(self, node: yaml.Node | None) -> Session | None:
        if node is None:
            return None
        fields = self._fields(node, "session", "session")
        time, acr, amr = self._authentication(fields)
        binding = self.document.choice(fields.get("binding"), "binding", BINDINGS[1:])
        return Session(acr=acr, amr=amr, authentication_time=time, binding=binding or "")

    def _federation(self, node: yaml.Node | None) -> Federation | None:
        if node is None:
            return None
        fields = self._fields(node, "federation", "federation")
        issuer = self.document.text(fields.get("issuer"), "issuer", SYMBOL, "an issuer")
        time, acr, amr = self._authentication(fields)
        return Federation(issuer=issuer or "", acr=acr, amr=amr, authentication_time=time)

    def _authentication(self, fields: Mapping[str, yaml.Node]) -> tuple[float | None, str, tuple[str, ...]]:
        age = self.document.seconds(fields.get("age"), "age")
        acr = self.document.text(fields.get("acr"), "acr", SYMBOL, "an acr value")
        amr = self.document.texts(fields.get("amr"), "amr", METHOD, "an amr value")
        return None if age is None else _NOW - age, acr or "", amr

    def _attributes(self, node: yaml.Node | None) -> dict[str, str]:
        entries = self.document.entries(node, "attributes")
        for name, key, _ in entries:
            self.document.attribute(name, self._declared, key.start_mark.line + 1, key.start_mark.column + 1)
        texts = {name: self.document.text(value, name) for name, _, value in entries}
        return {name: value for name, value in texts.items() if value is not None}

    def _expected(self, node: yaml.Node | None, policy: Policy | None, journey: str) -> Expected | None:
        document = self.document
        fields = self._fields(node, "expect", "expect")
        tier = document.choice(fields.get("tier"), "tier", _TIERS)
        satisfied = document.boolean(fields["satisfied"], "satisfied") if "satisfied" in fields else None
        level = document.choice(fields.get("level"), "level", ("low", "medium", "high"))
        rules = policy.journeys[journey].rules if policy is not None and journey in policy.journeys else ()
        gaps = [f"MISSING_{source.upper()}" for source in SOURCES]
        codes = [*(rule.reason for rule in rules), "NO_HISTORY", "RESTRICTED_METHOD", *gaps]
        acting = [rule.name for rule in rules if not rule.shadow]
        shadow = [rule.name for rule in rules if rule.shadow]
        if tier is None:
            return None
        return Expected(
            tier=tier,
            satisfied=satisfied,
            level=level,
            reasons=self._names(fields.get("reasons"), f"reason of {journey}", codes),
            hits=self._names(fields.get("hits"), f"acting rule of {journey}", acting),
            shadow_hits=self._names(fields.get("shadow_hits"), f"shadow rule of {journey}", shadow),
        )

    def _names(self, node: yaml.Node | None, what: str, known: Sequence[str]) -> tuple[str, ...] | None:
        if node is None:
            return None
        found = [self.document.choice(item, what, known) for item in self.document.items(node, what)]
        return tuple(name for name in found if name is not None)


_ANONYMIZERS: Final = ("vpn", "tor", "proxy", "relay", "satellite")
