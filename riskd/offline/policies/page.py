"""The backtest report as one HTML file."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

from riskd.offline.intervals import Share
from riskd.offline.page import Cell, document, table, tiles
from riskd.offline.policies import charts
from riskd.offline.policies.report import DomainReport, Group, Report, RuleUse
from riskd.wording import date

_HEAD: Final = (
    "decisions", "good", "fraud", "wrong credential", "stricter", "laxer", "challenged", "denied", "unproven",
    "friction on good", "recall of fraud", "precision"
)  # fmt: skip
RULES: Final = (
    "rule", "tier", "hits", "alone", "good", "fraud", "wrong credential", "unproven", "precision", "recall"
)  # fmt: skip
_WORDS: Final = """
<p><small>A decision is <b>challenged</b> when more than BASELINE is required and the attempt has not met it already;
with DENY it is <b>denied</b>, which is counted in both.
<b>Friction</b>: the share of good decisions that are challenged. <b>Recall</b>: the share of fraud that is challenged.
<b>Precision</b>: the share of fraud among the challenged decisions whose label is known. With a <b>wrong credential</b>
nobody comes in and nobody is challenged: such decisions are counted apart, and are in no share. Intervals are those of
Clopper and Pearson (1934) at 95 %; decisions of one account, from one network and of one day resemble each other, so
they count as fewer. The scores are those of the log, unless a model is named.
"""
_LABELS: Final = {
    "outcomes": """<b>Good</b>: confirmed legitimate, or a challenge, a recovery or the sign-in was passed and nobody
reported fraud. <b>Fraud</b>: confirmed. <b>Unproven</b>: challenged, and the challenge was failed or abandoned. Most
attackers whom the recorded policy stopped are unproven or have no outcome, so recall and precision leave them out and
are too low for what it challenged. Fraud that nobody reported counts as good.</small></p>
""",
    "truth": """<b>Good</b> and <b>fraud</b> are the truth of a simulation: every attempt of an attacker is fraud,
whether it got in or not.</small></p>
""",
}


def page(report: Report) -> str:
    """The report as an HTML document. Everything that comes from the log or a policy is escaped."""
    counts = report.counts
    decided = counts.get("replayed", 0)
    figures = [
        (f"{decided:,}", f"decisions, {date(report.first)} to {date(report.last)}"),
        (f"{report.differences:,}", f"differ from the recorded ones ({_part(report.differences, decided)})"),
        (f"{counts.get('outcomes', 0):,}", f"outcomes; labels are from the {report.labels}"),
        *((f"{count:,}", f"left out: {name.replace('_', ' ')}") for name, count in counts.items() if name in _LEFT_OUT),
        *((f"{count:,}", "older than a counter") for name, count in counts.items() if name == "uncounted"),
    ]
    body = "".join(_domain(domain) for domain in report.domains if domain.total.decisions)
    return document(f"Backtest of {report.log}", f"{tiles(figures)}{_WORDS}{_LABELS[report.labels]}{body}")


_LEFT_OUT: Final = ("not_chosen", "other_domain", "other_features", "unreadable")


def _domain(domain: DomainReport) -> str:
    total = domain.total
    good, fraud = total.candidate.friction, total.candidate.recall
    figures = [
        (f"{total.recorded.challenged:,} → {total.candidate.challenged:,}", "challenged"),
        (f"{total.stricter:,} / {total.laxer:,}", "stricter / laxer tiers"),
        (str(good), f"friction on {total.good:,} good ones"),
        (str(fraud), f"recall of {total.fraud:,} frauds"),
    ]
    journeys = domain.journeys
    return "".join(
        [
            f"<h2>{escape(domain.domain)}: candidate {escape(domain.version)}{escape(_model(domain))}</h2>",
            tiles(figures),
            _releases(domain),
            charts.shares(
                "Friction: good decisions that are challenged",
                [(one.value, one.recorded.friction, one.candidate.friction) for one in journeys],
            ),
            charts.shares(
                "Recall: confirmed fraud that is challenged",
                [(one.value, one.recorded.recall, one.candidate.recall) for one in journeys],
            ),
            charts.days("Share of decisions challenged, by day", domain.days) if domain.days else "",
            _groups("By journey", (*journeys, total)),
            "<h3>Tiers</h3>",
            charts.moves(domain.moves, domain.tiers),
            _groups("What set the candidate's tier", domain.causes),
            "<h3>Scores, and where the candidate's bands begin</h3>",
            *(
                charts.scores(f"{one.journey}: decisions by score, good and fraud each on its own scale", one)
                for one in domain.scores
            ),
            "<h3>Rules</h3>",
            _rules(domain),
            "<h3>Whom it meets</h3>",
            *(_groups(name.capitalize(), groups) for name, groups in domain.segments.items()),
            _examples(domain),
        ]
    )


def _model(domain: DomainReport) -> str:
    return f", scored by {domain.model}" if domain.model else ""


def _releases(domain: DomainReport) -> str:
    if len(domain.releases) < 2:
        return ""
    releases = ", ".join(f"{escape(release)} ({count:,})" for release, count in domain.releases.items())
    return f"<p>Several releases made these decisions, which may explain differences: {releases}.</p>"


def rule_cells(rule: RuleUse) -> tuple[str, ...]:
    """What a rule did, as a row of a table."""
    counts = rule.hits, rule.alone, rule.good, rule.fraud, rule.wrong_credential, rule.unproven
    return (
        rule.name + (" (shadow)" if rule.shadow else ""),
        rule.tier,
        *(f"{number:,}" for number in counts),
        str(rule.precision),
        str(rule.recall),
    )


def _rules(domain: DomainReport) -> str:
    overlaps = [
        (f"{one.rule} and {one.other}", f"{one.together:,}", f"{one.share * 100:.3g} %") for one in domain.overlaps
    ]
    caption = "Alone: hits without which the tier would be lower (of a shadow rule: would be higher)"
    return table(caption, RULES, [rule_cells(rule) for rule in domain.rules]) + table(
        "Rules that hit together", ("rules", "together", "of the rarer one's hits"), overlaps
    )


def counted(group: Group) -> tuple[int, ...]:
    """The counts of a group, as columns of a table."""
    return group.decisions, group.good, group.fraud, group.wrong_credential, group.stricter, group.laxer


def _groups(title: str, groups: Iterable[Group]) -> str:
    rows = [
        (
            group.value,
            *(f"{number:,}" for number in counted(group)),
            f"{group.recorded.challenged:,} → {group.candidate.challenged:,}",
            f"{group.recorded.denied:,} → {group.candidate.denied:,}",
            f"{group.recorded.unproven:,} → {group.candidate.unproven:,}",
            _change(group.recorded.friction, group.candidate.friction),
            _change(group.recorded.recall, group.candidate.recall),
            _change(group.recorded.precision, group.candidate.precision),
        )
        for group in groups
    ]
    return table(title, ("", *_HEAD), rows)


def _examples(domain: DomainReport) -> str:
    rows = [
        (
            example.id,
            date(example.time),
            example.journey,
            example.country,
            f"{example.score:.4f}",
            f"{example.recorded} → {example.candidate}",
            ", ".join(example.why),
            example.label,
        )
        for example in domain.examples
    ]
    head = ("assessment", "day", "journey", "country", "score", "tier", "why", "outcome")
    return table("Examples of each move, drawn at random", head, rows)


def _change(recorded: Share, candidate: Share) -> str | Cell:
    """Both shares, with their intervals as a tooltip."""
    if recorded.share is None or candidate.share is None:
        return "-"
    note = f"{recorded} → {candidate} of {candidate.total:,}"
    return Cell(f"{recorded.share * 100:.3g} → {candidate.share * 100:.3g} %", note)


def _part(count: int, of: int) -> str:
    return f"{count / of * 100:.3g} %" if of else "-"
