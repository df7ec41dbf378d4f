"""The page of the simulated world: what is in it, by its own tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from riskd.cli.terminal import markdown_table

_HEAD: Final = """\
# The simulated world

`riskd simulate --out world` lets people, machines and attackers sign in to the real engine for two months, and leaves

- `decisions/`: an ordinary decision log, as a service writes it, with the outcomes that callers would have sent;
- `truth.jsonl`: of every assessment who it really was: class of attack, campaign, step of the visit, segments;
- `world.json`: settings, seed, assumptions, digest of the addresses, and counts.

It serves to try a policy before there is traffic, to train and judge models on attacks that are known, and to test
riskd. It says nothing about how often real attackers come, nor how clever they are: **a figure measured in it is an
upper bound for the field, good for comparing two policies or models, and no promise.**

    riskd geo install
    riskd simulate --out world
    riskd policy backtest data/policies --log world/decisions

The same seed leaves the same bytes. Another number of users is another world. `riskd simulate --vary 7` draws every
assumption from its range: what holds in one world only is not worth much. `riskd simulate --audit world` looks for
what gives attackers away ([below](#the-audit)). This page is `riskd simulate --markdown`.

## How it works

- **A closed loop.** What is tried goes through the engine, in order of time, and the tier decides what happens next:
  an owner passes, fails or abandons the challenge, an attacker passes what that class can. Fraud is confirmed days
  later, or never; some owners who were shut out are heard. `riskd.offline.world` makes the same attempts without an
  engine, too.
- **People have habits**: hours, homes whose addresses change, carriers behind shared gateways, offices, trips, VPNs,
  privacy relays, devices that are replaced and browsers that update, computers that are put to another screen, rhythms
  of typing, consent that is withheld, typing errors. Staff come through an issuer. Machines run jobs on nodes of a
  cloud, and are deployed and rotated.
- **Addresses are real ones**, drawn from the installed databases by operator and country; devices are the commonest
  of a published list, by their weights. Without databases nothing is simulated.
- **An attack replaces a visit** that the owner would have made. The hour, the weekday and the time since the last
  visit are the owner's; device, hand and consent come from people made as everybody is made; a residential proxy is a
  line where somebody will be on another day. What else would tell is a bug, and the audit finds it. Tries of accounts
  that are not there (segment `nobody`) and registrations are the two kinds that come on top.
- **Attackers are careful or careless**, in every class (decision
  [0085](decisions/0085-careful-and-careless-attackers.md)): they mistype as owners do and try variants of a password
  on top, so that a form has failed more often before they are in; some come out in another country than the victim's
  (`matched`), keep the clock, the language and the coordinates of home (`disguised`), or rent a server where others
  take somebody's line (`rented`). Only those who aim at one person, `targeted`, have all of it right.
- Everything that is drawn depends on the seed and on whom and when it is about, and on nothing that happened: under
  another policy the same people come at the same moments.

Segments: `traveller`, `roaming`, `mobile`, `vpn`, `relay`, `shared_address`, `new_device`, `new_user`, `private` (no
cookie), `assistive` (screen readers and switches: other typing, no pointer), `nobody`.

"""
_AUDIT: Final = """\
## The audit

For every class, a small boosted model tries to tell its first attempts from those of owners by one group of numbers
at a time: each group of features, and traits that no engine sees (`presence` of optional fields, `address_digits`,
`user_agent`, `clock`, `lengths`, `order`, `hand`). What the class is made of may tell it, and is declared here;
anything else must not. A group **fails** where
the cross-validated AUC, people and campaigns kept together, is above 0.6, and above 0.55 by three of its standard
errors (bootstrap over people), on average over five ways to fold. Then the command names class, group and numbers,
and its exit code is 1. Classes with fewer than 30 attempts are named as not judged. It needs the extra `train`.

**Looking riskier must not prove honesty.** For every class and every feature with a direction, the command also
compares how frequent the riskier values are among attackers and owners who came as far: in the journey that the class
begins with, credentials that failed with others that failed. It is a fault where a riskier value (beyond the owners'
median, 80th or 95th percentile) is less than 0.6 times as frequent among attackers, and surely less than 0.8 times
(three standard errors of each). Whoever knew a model of such a world would look riskier on purpose; a model that is
held to the directions cannot learn it, and is measured short. What must be so is declared: fresh lines are quiet, a
copied device is one whose identifier is known, exits in the owner's country never travel and their operators are few.
Few owners travel, so that one world of some hundred people shows little: name several, `--audit worlds/1 worlds/2`, and
they are compared together.

| Class | May be told by | Because |
|---|---|---|
"""
_LIMITS: Final = """\

## Limits

- All customers live in the proportions of one published service, most of them in Norway; there is no IPv6.
- Histories start empty: the first weeks are everybody's cold start. Split by time, and judge on the later part.
- Small worlds have small attacks: at the defaults a stuffing campaign is dozens of tries, not millions.
- Attackers do not learn from what they meet, and none comes back for more. Whether one is careful is drawn anew for
  country, clock and line: real ones may well be careful in all of it, or in nothing.
- Outcomes are as careful callers send them. Real ones forget some.
- Staff and machines have no published rates at all: their numbers are assumptions.
"""


def page() -> str:
    """The whole page."""
    return "".join([_HEAD, *_classes(), *_assumptions(), _AUDIT, *_defined(), _LIMITS])


def _classes() -> Iterator[str]:
    from riskd.offline.world.attacks import ATTACKS

    rows = [(f"`{each.name}`", ", ".join(each.domains), f"{each.weight:g}", each.what) for each in ATTACKS]
    yield f"## Attackers\n\n{markdown_table(('Class', 'Domains', 'Weight', 'What it is'), rows)}"
    yield (
        "\nOf each domain's assessments about `riskd simulate --attack-share` are attacks, by the classes that are\n"
        "there, in proportion to their weights. `--weight registration_bots=0.2` gives a class another weight: to\n"
        "have enough rows of a rare one to train on, or none at all of one.\n\n"
    )


def _assumptions() -> Iterator[str]:
    from riskd.offline.world.assumptions import TABLE

    yield (
        "## Assumptions\n\n`riskd simulate --assumptions` prints them. What is marked as an assumption was published"
        " nowhere that we know.\n\n"
    )
    rows = [
        (each.name, f"{each.value:g}", f"{each.low:g} to {each.high:g}", each.unit, each.what, each.source)
        for each in TABLE
    ]
    yield markdown_table(("Name", "Value", "Range", "Unit", "What", "Source"), rows) + "\n"


def _defined() -> Iterator[str]:
    from riskd.offline.world.defined import DEFINED

    for attack, declared in DEFINED.items():
        reasons: dict[str, list[str]] = {}
        for name, why in declared.items():
            reasons.setdefault(why, []).append(name)
        for why, names in reasons.items():
            yield f"| `{attack}` | {', '.join(_told(name) for name in names)} | {why} |\n"


def _told(name: str) -> str:
    domain, colon, bare = name.rpartition(":")
    return f"`{bare}` ({domain})" if colon else f"`{bare}`"
