"""Reports as one HTML file: charts and tables, no script, nothing from the network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from msgspec import Struct

STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --r: #82888f; --c: #2563eb; --g: #2e9e6b; --f: #d64545;
--0: #2563eb; --1: #82888f; --2: #d97706; --3: #d64545; --4: #2e9e6b; --5: #9d4bf0; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; break-after: avoid; overflow-wrap: anywhere; } p { max-width: 52rem; }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
small { opacity: .8; } figure { margin: 1rem 0; } figcaption, caption { font-weight: 600; text-align: left; }
.scroll { overflow-x: auto; background: linear-gradient(to right, Canvas 1rem, transparent) local,
linear-gradient(to left, Canvas 1rem, transparent) local, linear-gradient(to right, #8888, transparent .6rem),
linear-gradient(to left, #8888, transparent .6rem); }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
caption span { position: sticky; left: 0; display: inline-block; max-width: min(52rem, 100vw - 2rem); }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
thead th { vertical-align: bottom; } td, tbody th { white-space: nowrap; } .w { text-align: left; white-space: normal; }
tbody th { font-weight: inherit; text-align: left; }
th:first-child { position: sticky; left: 0; z-index: 1; background: Canvas; }
.long { min-width: 20rem; } .up { background: #d6454533; } .down { background: #2563eb33; } .same { opacity: .7; }
.tiles { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; } .tiles small { display: block; }
.tiles li { list-style: none; border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem; }
.tiles b { display: block; font-size: 1.4rem; }
.key { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; margin: .3rem 0; padding: 0; }
.key li { list-style: none; } .key svg { width: 24px; height: 12px; margin-right: .4em; }
.scroll > svg { display: block; width: 100%; min-width: 42rem; max-width: 54rem; }
text { fill: currentColor; font-size: 13px; paint-order: stroke; stroke: Canvas; stroke-width: 3px; }
.n { font-size: 12px; } .i, .a, .e { stroke: currentColor; fill: none; } .a { opacity: .2; }
.e { stroke-dasharray: 3 3; } .r { fill: var(--r); } .c { fill: var(--c); } .g { fill: var(--g); }
.f { fill: var(--f); fill-opacity: .25; stroke: var(--f); stroke-width: 1.5; }
.lr, .lc, .s { fill: none; stroke-width: 2; } .lr { stroke: var(--r); stroke-dasharray: 5 3; } .lc { stroke: var(--c); }
.m0 { fill: var(--0); } .s0 { stroke: var(--0); stroke-width: 3; } .m1 { fill: var(--1); } .s1 { stroke: var(--1); }
.m2 { fill: var(--2); } .s2 { stroke: var(--2); stroke-dasharray: 6 3; }
.m3 { fill: var(--3); } .s3 { stroke: var(--3); stroke-dasharray: 2 3; }
.m4 { fill: var(--4); } .s4 { stroke: var(--4); stroke-dasharray: 8 3 2 3; }
.m5 { fill: var(--5); } .s5 { stroke: var(--5); stroke-dasharray: 12 2; }
@media (max-width: 40rem) { body { margin: 1rem auto; }
tbody th { min-width: 8rem; max-width: 40vw; overflow-wrap: anywhere; white-space: normal; } }
@media print { body { font-size: 10px; margin: 0; max-width: none; } figure, tr, .tiles { break-inside: avoid; }
.scroll { overflow: visible; background: none; } .scroll > svg { min-width: 0; } th:first-child { position: static; }
th, td { padding: .15rem .3rem; } td, tbody th { white-space: normal; } .long { min-width: 0; } }
"""
_LONG: Final = 50
"""A cell with more characters than this gets a wide column."""
_NUMBER: Final = re.compile(r"[-+≤<>]?\s?\d|-?$")


def document(title: str, body: str) -> str:
    """A complete page. `body` is HTML, `title` plain text."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )


class Cell(Struct, frozen=True):
    """A table cell. `note` is its tooltip, `kind` a class of `STYLE`."""

    text: str
    note: str = ""
    kind: str = ""


def scrolled(label: str, content: str) -> str:
    """Content that may be wider than the page: it scrolls by itself, also with the keyboard."""
    return f'<div class="scroll" role="group" tabindex="0" aria-label="{escape(label)}">{content}</div>'


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> str:
    """A table with a caption and a head, all of it plain text. Empty if there are no rows.

    The first cell of a row is its heading. A column whose other cells are all numbers is right-aligned.
    """
    if not rows:
        return ""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    kinds = [_kind([row[at].text for row in cells]) if at else "w" for at in range(len(head))]
    titles = "".join(
        f'<th scope="col"{_class(kind)}>{escape(title)}</th>' for title, kind in zip(head, kinds, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{escape(row[0].text).replace("_", "_<wbr/>")}</th>'
        + "".join(_cell(cell, kind) for cell, kind in zip(row[1:], kinds[1:], strict=True))
        + "</tr>"
        for row in cells
    )
    return scrolled(
        caption,
        f"<table><caption><span>{escape(caption)}</span></caption>"
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>",
    )


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Numbers to highlight, each with its label."""
    items = "".join(f"<li><b>{escape(figure)}</b><small>{escape(what)}</small></li>" for figure, what in figures)
    return f'<ul class="tiles">{items}</ul>'


def are_figures(column: Iterable[str]) -> bool:
    """Whether all cells are numbers, a dash or empty, so that the column is to be right-aligned."""
    return all(map(_NUMBER.match, column))


def _kind(column: Sequence[str]) -> str:
    """The CSS class of a column: none for numbers; words may wrap, and long ones get a minimum width."""
    if are_figures(column):
        return ""
    return "w long" if max(map(len, column)) > _LONG else "w"


def _cell(cell: Cell, kind: str) -> str:
    note = f' title="{escape(cell.note)}"' if cell.note else ""
    return f"<td{_class(cell.kind or kind)}{note}>{escape(cell.text)}</td>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
