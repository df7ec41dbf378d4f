"""Reports as one HTML file: tables and pictures, no script, nothing from the network."""

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
.key::before { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .3em; }
.key.kr::before { background: var(--r); } .key.kc::before { background: var(--c); }
.key.kg::before { background: var(--g); } .key.kf::before { background: var(--f); }
"""


def document(title: str, body: str) -> str:
    """A whole document. `body` is HTML; whatever it took from elsewhere must be escaped in it."""
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
    """A table with its cells escaped; nothing without rows."""
    if not rows:
        return ""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><caption>{escape(caption)}</caption><tr>{titles}</tr>{body}</table></div>'


def tiles(tiles: Iterable[tuple[str, str]]) -> str:
    """Figures, each with what it is of."""
    found = "".join(f"<li><b>{escape(figure)}</b><small>{escape(what)}</small></li>" for figure, what in tiles)
    return f'<ul class="tiles">{found}</ul>'
