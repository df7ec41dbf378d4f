"""`riskd log show`: explains one assessment: what was required, why, and what followed."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import asdict

from riskd.cli.arguments import add_log, assessment_id, log_of
from riskd.cli.log.find import particulars, reported_by
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import aligned, print_json, print_section, progress, report_unreadable
from riskd.config import obtain_peppers, pepper_file
from riskd.core.context import SOURCES, WHYS, Missing
from riskd.core.errors import InvalidFile, InvalidSettings, Unavailable, UnknownRelease
from riskd.core.features import NAMES
from riskd.core.pseudonym import Pseudonyms
from riskd.core.record import AssessmentRecord, Authentication
from riskd.wording import figure, when

if TYPE_CHECKING:
    from riskd.offline.on_record import OnRecord

UNKNOWN = 1
_NOTICEABLE: Final = 0.1
"""Features that moved the log-odds less than this are not listed for people; `--json` has all."""


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `log show`."""
    show = actions.add_parser(
        "show",
        help="explain one decision: what was required, why, and what followed",
        description="Show everything that the decision log has about one assessment: what was required and why, what "
        "was missing, which features moved the score, which security events had been reported for the "
        "account, what a release in shadow would have required, and the outcomes. What its rules say, and "
        "which of them required the tier, is in the release that decided, if that is still in "
        "`release.dir`. It reads the whole log, a gigabyte in a few seconds. Security events from before "
        "a rotation of the pepper are found only with the pepper of the service.",
        epilog="exit codes: 0 found; 1 the log has nothing about it; 2 refused: an invalid id, wrong settings, or a "
        "directory that cannot be read",
    )
    show.add_argument("id", metavar="ID", help="assessment id, 32 hexadecimal digits")
    add_arguments(show)
    add_log(show)
    show.add_argument("--json", action="store_true", help="print the log's lines as JSON")
    show.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.counts import Counts
    from riskd.offline.on_record import on_record

    log = log_of(args)
    wanted, counts = assessment_id(args.id, "ID"), Counts()
    with progress() as begin:
        record = on_record(Path(log), wanted, begin, counts, _pseudonyms(args))
    report_unreadable(counts["unreadable"], counts.first)
    if record is not None and record.assessment is not None:
        record = _explained(args, record, record.assessment)
    if args.json:
        print_json(record and {**asdict(record), "first_unreadable": counts.first})
    elif record is None:
        print(f"{log} has nothing about {args.id}.")
        print("It is in another log, was erased, or has expired (log.keep_days, log.keep_mb, `retention`).")
    else:
        _print(record, log)
    return 0 if record else UNKNOWN


def _explained(args: argparse.Namespace, record: OnRecord, one: AssessmentRecord) -> OnRecord:
    """With what only the policy that decided knows, if its release is still on this host."""
    from riskd.adapters.cel_rules import CelCompiler
    from riskd.adapters.policy_file import load_policy
    from riskd.offline.policies.why import by_policy
    from riskd.wiring import open_releases

    try:
        policies, _ = open_releases(given(args).settings).files.folders(one.release)
        return by_policy(record, load_policy(policies / f"{one.domain}.yaml", CelCompiler(NAMES)))
    except (InvalidFile, UnknownRelease, Unavailable):
        return record


def _pseudonyms(args: argparse.Namespace) -> Pseudonyms | None:
    """The service's pseudonyms, if its pepper is there. A log named with --log may be a copy, and is shown without."""
    try:
        settings = given(args).settings
        path = pepper_file(settings)
        if path is not None and not path.exists():
            return None
        first, *layers = obtain_peppers(settings)
    except InvalidSettings:
        if args.log:
            return None
        raise
    return Pseudonyms(first, layers)


def _print(record: OnRecord, log: str) -> None:
    one = record.assessment
    if one is None:
        print("The line of the assessment itself is no longer in the log; this is what followed it.")
    else:
        print(aligned([row for row in _facts(one, record) if row[1]]))
        print_section(
            ("reason", "log-odds", "because"),
            [(each.code, _moved(each.contribution), each.text) for each in record.reasons],
        )
        if not all(each.text for each in record.reasons):
            what = "which is not in `release.dir`, or of another version of riskd"
            print(f"\nThe sentences of its rules are in release {one.release}, {what}.")
        print_section(
            ("gap", "why", "meaning"),
            [(gap.source, gap.why, _meaning(gap)) for gap in one.gaps],
        )
        print_section(("feature", "value", "log-odds"), list(_features(one, record)))
        if one.contributions is None and record.features is not None:
            explain = f"riskd model explain {one.domain} {one.model} --log {shlex.quote(log)} --id {one.id}"
            print(f"\nContributions of features were not recorded. With the model at hand, compute them:\n  {explain}")
    print_section(
        ("reported before", "event", "details", "reported by"),
        [(when(each.time), each.kind, particulars(each), reported_by(each)) for each in record.events],
    )
    print_section(
        ("in shadow", "model", "required", "score", "rules"),
        [(each.release, each.model, each.tier, f"{each.score:.4f}", ", ".join(each.hits)) for each in record.shadows],
    )
    print_section(("answered again", "request id"), [(when(each.time), each.request_id) for each in record.repeats])
    print_section(
        ("reported", "outcome", "methods", "took", "taught"),
        [
            (when(each.time), each.kind, " ".join(each.amr), _seconds(each.seconds), str(each.taught))
            for each in record.outcomes
        ],
    )


def _facts(one: AssessmentRecord, record: OnRecord) -> Iterator[tuple[str, str]]:
    """The lines above the tables. Those without a value are left out."""
    facts = one.facts
    met = "satisfied" if one.satisfied else "not satisfied" if one.tier != "DENY" else ""
    yield "required", ", ".join(filter(None, (one.tier, met)))
    yield "required by", ", ".join(record.required_by)
    yield "withheld", f"{one.withheld}: the journey was learning" if one.withheld else ""
    yield "attempt", f"{when(one.time)}, {one.domain} {one.journey}, credential {one.credential_result}"
    yield "score", f"{one.score:.4f} ({one.level}), by model {one.model} of release {one.release}"
    yield "rules", ", ".join((*one.hits, *(f"{name} (in shadow)" for name in one.shadow_hits)))
    yield "degraded", ", ".join(one.causes)
    yield "unread", ", ".join(facts.unread)
    yield "coverage", f"{one.coverage:.0%}"
    if place := facts.place:
        yield "place", ", ".join(filter(None, (place.city, place.region, place.country)))
    yield "network", facts.network
    if route := facts.route:
        kinds = ("hosting" if route.hosting else "", route.anonymizer)
        yield "operator", ", ".join(filter(None, (f"AS{route.asn} {route.organization}", *kinds)))
    if agent := facts.agent:
        words = (agent.browser, agent.browser_version, "on" if agent.os else "", agent.os, agent.os_version)
        yield "agent", " ".join(filter(None, words)) + f", {agent.device_class}"
    yield "device", "not yet the account's own: without a key it teaches at most once a day" if one.probation else ""
    yield "session", _authentication(one.session)
    yield "assertion", _authentication(one.federation)
    yield "registered", when(one.registration_time) if one.registration_time is not None else ""
    yield "lists", ", ".join(one.lists)
    yield "attributes", ", ".join(f"{name}={value}" for name, value in one.attributes.items())
    yield "counted", ", ".join(f"{name}={value:.4g}" for name, value in facts.counted.items())
    yield "subject", f"{one.subject} (pseudonym)" + (f", of tenant {one.tenant}" if one.tenant else "")
    yield "request id", one.request_id
    yield "assessment", one.id
    if record.features is None:
        yield "features", "those of another version of riskd"


def _authentication(recorded: Authentication | None) -> str:
    if recorded is None:
        return ""
    at = f"authenticated {when(recorded.authentication_time)}" if recorded.authentication_time is not None else ""
    acr, amr = f"acr {recorded.acr}" if recorded.acr else "", f"amr {' '.join(recorded.amr)}" if recorded.amr else ""
    key = f"binding {recorded.binding}" if recorded.binding else ""
    return ", ".join(filter(None, (recorded.issuer, acr, amr, at, key))) or "empty"


def _features(one: AssessmentRecord, record: OnRecord) -> Iterator[tuple[str, str, str]]:
    """The features that moved the score, the strongest first."""
    moved = one.contributions or {}
    for name in sorted(moved, key=lambda each: -abs(moved[each])):
        if abs(moved[name]) >= _NOTICEABLE:
            yield name, figure(record.features[name]) if record.features else "", f"{moved[name]:+.2f}"


def _meaning(gap: Missing) -> str:
    """A gap in words; those of another version may be unknown."""
    return ": ".join(filter(None, (SOURCES.get(gap.source), WHYS.get(gap.why))))


def _moved(contribution: float) -> str:
    return f"{contribution:+.2f}" if contribution else ""


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s"
