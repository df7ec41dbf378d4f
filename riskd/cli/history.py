"""`riskd history`: list what is stored about whom, for how long and why, and print the reference page."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Final

from riskd.cli.terminal import aligned, markdown_table
from riskd.core.assessment import Assessment
from riskd.core.attempt import EVENTS, OUTCOMES
from riskd.core.history import DAY, HOUR, TABLES, WEEK, sketch
from riskd.core.learn import Lesson, Receipt
from riskd.core.marks import MARKS
from riskd.offline.kept import ATTEMPT, Content, Kept, observe
from riskd.wording import quantity

_INTRODUCTION: Final = """\
# What is kept

What riskd stores about whom, for how long and in which form, what changes it, and which [features](features.md) read
it. This page is generated: `riskd history --markdown` runs an engine with the shipped policies, records every write,
and withholds each item from a read to see which features need it.

Keys are pseudonyms (BLAKE2b, keyed with the deployment's pepper), unrelated between tenants and identity domains. An
expired record is never read again, and is deleted soon after. A write can extend a record's life, and never shortens
it. A table keeps a fixed number of periods: older periods are dropped even while the record lives on.

- **Attempt**: every assessment, whoever made the attempt.
- **Proof**: {proofs}, if the attempt met its requirement.
- **Failure**: {failures}.
- **Taken back**: {takers} undoes exactly what the attempt taught.
- {told}: [security events](events.md), which other parties report.
"""
_KINDS: Final = {
    "profile": "What proven sign-ins taught.",
    "activity": "What was attempted recently.",
    "common": "How common values are in the whole identity domain. It belongs to no subject.",
    "share": "What a subject taught one of its devices or fingerprints, so that it can be taken back from it.",
    "receipt": "What an assessment would teach, until its outcomes are known.",
    "reply": "The first answer to a request id, for repeated requests.",
}
_DOCUMENTS: Final = {"receipt": (Receipt, Lesson), "reply": (Assessment,)}
_HEAD: Final = ("About", "What", "Stored as", "Kept for", "Changed by", "Read by")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `history`."""
    parser = commands.add_parser("history", description="Show what is stored about whom, for how long and why.")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print the reference page docs/history.md")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.config import Settings
    from riskd.wiring import load_release

    kept = observe(load_release(Settings()))
    if args.json:
        print(document(kept))
    elif args.markdown:
        print(page(kept), end="")
    else:
        print(table(kept))
    return 0


def table(kept: Sequence[Kept]) -> str:
    """One line for each item: about whom, in which record, what, and for how long."""
    rows = [("ABOUT", "RECORD", "WHAT", "KEPT FOR")]
    rows += [
        (one.entity, one.kind, content.name or content.form, _life(one)) for one in kept for content in one.contents
    ]
    return aligned(rows)


def document(kept: Sequence[Kept]) -> str:
    """The same as JSON, with lifetimes in seconds."""
    rows = [
        {
            "entity": one.entity,
            "kind": one.kind,
            "what": content.name,
            "form": content.form,
            "held_as": _form(one, content),
            "seconds": list(one.seconds),
            "changed_by": [event for event in events if not event.startswith("-")],
            "taken_back_by": [event.removeprefix("-") for event in events if event.startswith("-")],
            "read_by": one.readers[content],
        }
        for one in kept
        for content, events in one.contents.items()
    ]
    return json.dumps({"kept": rows}, indent=2)


def page(kept: Sequence[Kept]) -> str:
    """The reference page, in Markdown."""
    words = _words(kept)
    parts = [_INTRODUCTION.format(told=_codes(EVENTS), **{name: _codes(events) for name, events in words.items()})]
    for kind in dict.fromkeys(one.kind for one in kept):
        rows = [_cells(one, content, words) for one in kept if one.kind == kind for content in one.contents]
        parts.append(f"\n## {kind.capitalize()}\n\n{_KINDS.get(kind, '')}\n\n{markdown_table(_HEAD, rows)}")
    return "".join(parts)


def _words(kept: Sequence[Kept]) -> dict[str, tuple[str, ...]]:
    """The outcomes that prove, fail and take back, found by what each did to the subject's records."""
    events = {
        (one.kind, content.name): events
        for one in kept
        if one.entity == "subject"
        for content, events in one.contents.items()
    }
    taught, failed = events["profile", "sign_in"], events["activity", "failure"]
    return {
        "proofs": tuple(event for event in taught if not event.startswith("-")),
        "failures": tuple(event for event in failed if event != ATTEMPT),
        "takers": tuple(event.removeprefix("-") for event in taught if event.startswith("-")),
    }


def _cells(one: Kept, content: Content, words: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return (
        one.entity.replace("_", " "),
        f"`{content.name}`" if content.name else one.kind,
        _form(one, content),
        _life(one),
        _changed(one.contents[content], words),
        _codes(one.readers[content]) or _READ_BY.get(one.kind, "no feature"),
    )


_READ_BY: Final = {"receipt": "outcomes", "reply": "repeats"}


def _changed(events: Sequence[str], words: dict[str, tuple[str, ...]]) -> str:
    rest = list(events)
    said = []
    named = {"attempt": (ATTEMPT,), "any outcome": OUTCOMES, "proof": words["proofs"], "failure": words["failures"]}
    named["taken back"] = tuple(f"-{event}" for event in words["takers"])
    for word, those in named.items():
        if set(those) <= set(rest):
            said.append(word)
            rest = [event for event in rest if event not in those]
    return ", ".join([*said, *(f"`{event}`" for event in rest)])


def _form(one: Kept, content: Content) -> str:
    """How the content is stored, and how large it can become."""
    if content.form == "moments":
        return f"the newest {MARKS} moments"
    if content.form == "distinct":
        held = sketch(content.name)
        seen = f"each with the {_period(held.period)} period in which it was last seen"
        return f"{held.capacity} slots, {seen}, the last {held.keep} periods"
    if content.form == "count":
        bound = TABLES[content.name]
        values = "counts" if bound.capacity == 1 else f"counts of {bound.capacity} values"
        return f"{values} per {_period(bound.period)}, the last {bound.keep} kept"
    return "; ".join(", ".join(_fields(struct)) for struct in _DOCUMENTS.get(one.kind, ()))


def _fields(struct: type) -> Iterator[str]:
    yield from (f"`{name}`" for name in getattr(struct, "__struct_fields__", ()))


def _life(one: Kept) -> str:
    shortest, longest = one.seconds
    return _span(shortest) if shortest == longest else f"{_span(shortest)} to {_span(longest)}"


def _span(seconds: float) -> str:
    for unit, name in ((WEEK, "week"), (DAY, "day")):
        if seconds % unit == 0:
            return quantity(seconds / unit, name)
    return f"{seconds / HOUR:g} h" if seconds % HOUR == 0 else f"{seconds / 60:g} min"


def _period(seconds: float) -> str:
    return _span(seconds).removeprefix("1 ")


def _codes(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
