"""Reports as one HTML file: pictures and tables, no script, nothing from the network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from msgspec import Struct

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
@media print { .scroll { overflow: visible; } td { white-space: normal; } }
.key { white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .3em; }
.key.kr::before { background: var(--r); } .key.kc::before { background: var(--c); }
.key.k0::before { background: #2563eb; } .m0 { fill: #2563eb; }
.key.k1::before { background: #8a8f98; } .m1 { fill: #8a8f98; }
.key.k2::before { background: #d97706; } .m2 { fill: #d97706; }
.key.k3::before { background: #d64545; } .m3 { fill: #d64545; }
.key.k4::before { background: #2e9e6b; } .m4 { fill: #2e9e6b; }
.key.k5::before { background: #9333ea; } .m5 { fill: #9333ea; }
polyline { fill: none; stroke-width: 2; } .s0 { stroke: #2563eb; stroke-width: 3; } .s1 { stroke: #8a8f98; }
.s2 { stroke: #d97706; stroke-dasharray: 6 3; } .s3 { stroke: #d64545; stroke-dasharray: 2 3; }
.s4 { stroke: #2e9e6b; stroke-dasharray: 8 3 2 3; } .s5 { stroke: #9333ea; }
.key.kg::before { background: var(--g); } .key.kf::before { background: var(--f); }
"""


def document(title: str, body: str) -> str:
    """A whole page. `body` is HTML, `title` plain text."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
        '<meta name="viewport" content="width=device-width"/>'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{body}</body></html>\n"
    )


class Noted(Struct, frozen=True):
    """A cell with a note for whoever points at it."""

    text: str
    note: str


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
