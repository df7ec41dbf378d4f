"""Reports as one HTML file, and that of a backtest: pictures and tables, no script, nothing from the network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from msgspec import Struct

from riskd.core.requirement import Tier
from riskd.offline import charts
from riskd.offline.intervals import Share
from riskd.offline.report import DomainReport, Group, Report

_STYLE: Final = """
:root { color-scheme: light dark; --r: #8a8f98; --c: #2563eb; --g: #2e9e6b; --f: #d64545; --line: #8884; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } td { white-space: nowrap; }
caption { text-align: left; font-weight: 600; }
.scroll { overflow-x: auto; } .tiles { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; }
.tiles li { list-style: none; border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem; }
.tiles b { display: block; font-size: 1.4rem; } .tiles small, p small { opacity: .75; }
.up { background: #d6454533; } .down { background: #2e9e6b33; } .same { opacity: .6; }
figure { margin: 1rem 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg text { fill: currentColor; font-size: 12px; }
svg text.n { font-size: 10px; paint-order: stroke; stroke: Canvas; stroke-width: 3px; }
.r { fill: var(--r); } .c { fill: var(--c); } .g { fill: var(--g); fill-opacity: .6; } .f { fill: var(--f);
fill-opacity: .6; } .i, .a, .e { stroke: currentColor; fill: none; } .a { opacity: .2; } .e { stroke-dasharray: 3 3; }
.lr { stroke: var(--r); fill: none; stroke-width: 2; } .lc { stroke: var(--c); fill: none; stroke-width: 2; }
.key::before { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .3em; }
.key.kr::before { background: var(--r); } .key.kc::before { background: var(--c); }
.key.k0::before, .m0 { background: #2563eb; fill: #2563eb; } .key.k1::before, .m1 { background: #8a8f98; fill: #8a8f98; }
.key.k2::before, .m2 { background: #d97706; fill: #d97706; } .key.k3::before, .m3 { background: #d64545; fill: #d64545; }
.key.k4::before, .m4 { background: #2e9e6b; fill: #2e9e6b; } .key.k5::before, .m5 { background: #9333ea; fill: #9333ea; }
polyline { fill: none; stroke-width: 2; } .s0 { stroke: #2563eb; stroke-width: 3; } .s1 { stroke: #8a8f98; }
.s2 { stroke: #d97706; stroke-dasharray: 6 3; } .s3 { stroke: #d64545; stroke-dasharray: 2 3; }
.s4 { stroke: #2e9e6b; stroke-dasharray: 8 3 2 3; } .s5 { stroke: #9333ea; }
.key.kg::before { background: var(--g); } .key.kf::before { background: var(--f); }
"""
_HEAD: Final = (
    "decisions", "stricter", "laxer", "challenged", "refused", "friction on good", "recall of fraud", "precision"
)  # fmt: skip
_WORDS: Final = """
<p><small>A decision is <b>challenged</b> when it is asked for more than BASELINE and has not shown it already.
<b>Good</b>: confirmed legitimate, or a challenge, a recovery or the sign-in was passed and nobody reported fraud.
<b>Friction</b> is the share of good ones that are challenged, <b>recall</b> the share of confirmed fraud that is,
<b>precision</b> the share of fraud among the challenged of whom it is known. Intervals are exact (Clopper and Pearson
1934) at 95 %. Fraud that nobody reported counts as good, so friction is a little too high and recall a guess about the
fraud that is found. The scores are those of the log: a candidate policy is judged, not another model.</small></p>
"""


def page(found: Report) -> str:
    """The report as a document. Everything that comes from the log or a policy is escaped."""
    counts = found.counts
    replayed = counts.get("replayed", 0)
    figures = [
        (f"{replayed:,}", f"decisions, {charts.date(found.first)} to {charts.date(found.last)}"),
        (f"{found.differences:,}", f"differ from the recorded ones ({_part(found.differences, replayed)})"),
        (f"{counts.get('outcomes', 0):,}", "outcomes"),
        *((f"{count:,}", f"left out: {name.replace('_', ' ')}") for name, count in counts.items() if name in _LEFT_OUT),
    ]
    body = "".join(_domain(domain) for domain in found.domains if domain.total.decisions)
    return document(f"Backtest of {found.log}", f"{tiles(figures)}{_WORDS}{body}")


def document(title: str, body: str) -> str:
    """A whole page. `body` is HTML, `title` plain text."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
        '<meta name="viewport" content="width=device-width"/>'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{body}</body></html>\n"
    )


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
    used = {tier for row in domain.moves.values() for tier in row} | domain.moves.keys()
    journeys = domain.journeys
    keys = '<p><span class="key kr">recorded</span> <span class="key kc">candidate</span></p>'
    known = '<p><span class="key kg">good</span> <span class="key kf">fraud</span>, each on its own scale</p>'
    return "".join(
        [
            f"<h2>{escape(domain.domain)}: candidate {escape(domain.version)}</h2>",
            tiles(figures),
            _releases(domain),
            keys,
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
            charts.heat(domain.moves, [tier.name for tier in Tier if tier.name in used]),
            _groups("What set the candidate's tier", domain.causes),
            "<h3>Scores, and where the candidate's bands begin</h3>",
            known,
            *(charts.scores(f"{one.journey}: score", one) for one in domain.scores),
            "<h3>Rules</h3>",
            _rules(domain),
            "<h3>Whom it meets</h3>",
            *(_groups(name.capitalize(), groups) for name, groups in domain.segments.items()),
            _examples(domain),
        ]
    )


def _releases(domain: DomainReport) -> str:
    if len(domain.releases) < 2:
        return ""
    told = ", ".join(f"{escape(release)} ({count:,})" for release, count in domain.releases.items())
    return f"<p>Several releases decided then; what differs may be theirs: {told}.</p>"


def _rules(domain: DomainReport) -> str:
    rows = [
        (
            rule.name + (" (shadow)" if rule.shadow else ""),
            rule.tier,
            *(f"{number:,}" for number in (rule.hits, rule.alone, rule.good, rule.fraud, rule.unproven)),
            str(rule.precision),
            str(rule.recall),
        )
        for rule in domain.rules
    ]
    head = ("rule", "tier", "hits", "alone", "good", "fraud", "unproven", "precision", "recall")
    overlaps = [
        (f"{one.rule} and {one.other}", f"{one.together:,}", f"{one.share * 100:.3g} %") for one in domain.overlaps
    ]
    caption = "Alone: hits without which the tier would be lower (of a shadow rule: would be higher)"
    return table(caption, head, rows) + table(
        "Rules that hit together", ("rules", "together", "of the rarer one's hits"), overlaps
    )


def _groups(title: str, groups: Iterable[Group]) -> str:
    rows = [
        (
            group.value,
            *(f"{number:,}" for number in (group.decisions, group.stricter, group.laxer)),
            f"{group.recorded.challenged:,} → {group.candidate.challenged:,}",
            f"{group.recorded.refused:,} → {group.candidate.refused:,}",
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
            charts.date(example.time),
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


class Noted(Struct, frozen=True):
    """A cell with a note for whoever points at it."""

    text: str
    note: str


def _change(recorded: Share, candidate: Share) -> str | Noted:
    """Both shares, with their intervals as a note."""
    if recorded.share is None or candidate.share is None:
        return "-"
    note = f"{recorded} → {candidate} of {candidate.total:,}"
    return Noted(f"{recorded.share * 100:.3g} → {candidate.share * 100:.3g} %", note)


def _cell(cell: str | Noted) -> str:
    if isinstance(cell, Noted):
        return f'<td title="{escape(cell.note)}">{escape(cell.text)}</td>'
    return f"<td>{escape(cell)}</td>"


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str | Noted]]) -> str:
    """Rows below a caption and a head, all of it plain text; nothing without rows."""
    if not rows:
        return ""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><caption>{escape(caption)}</caption><tr>{titles}</tr>{body}</table></div>'


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Figures that stand out, each with what it is."""
    found = "".join(f"<li><b>{escape(figure)}</b><small>{escape(what)}</small></li>" for figure, what in figures)
    return f'<ul class="tiles">{found}</ul>'


def _part(count: int, of: int) -> str:
    return f"{count / of * 100:.3g} %" if of else "-"
