"""The reference page of the simulated world, generated from its own tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from riskd.cli.terminal import markdown_table

_HEAD: Final = """\
# The simulated world

`riskd simulate` lets people, machines and attackers sign in to the real engine, and writes the decision log. This page
is for analysts who want to try a policy before there is traffic, to train and judge models on known attacks, or to test
riskd. The simulation does not say how often real attackers come or how clever they are: **a figure measured in it is an
upper bound for the field. It is good for comparing two policies or models, and promises nothing.**

    riskd geo install
    riskd simulate --out world
    riskd policy backtest data/policies --log world

By default the world has 800 accounts, nearly all of customers, and lasts a year from 2026-06-01. The directory holds

- `decisions/`: a decision log as a service writes it, with the outcomes that callers would have sent;
- `truth.jsonl`: for every assessment who it really was: class of attack, campaign, step of the visit, segments;
- `world.json`: settings, seed, assumptions, digest of the addresses, and counts.

| task | how |
|---|---|
| a small world, to try commands | `riskd simulate --out small --users 200 --days 120` |
| try, compare or calibrate a policy | [policy.md](policy.md#changing-a-policy), with `--log world` |
| train and judge a model | [training.md](training.md); a small world has too few attacks |
| see why an assessment was scored as it was | an id from `world/truth.jsonl`, and `riskd log show ID --log world` |
| ask questions in SQL | [dataset.md](dataset.md), with `--set log.dir=world/decisions` |
| more attacks, or more of one class | `riskd simulate --out world --attack-share 0.12 --weight registration_bots=0.2` |
| see whether a result depends on the assumptions | `riskd simulate --out world --vary 7` draws each from its range |
| check the world itself | `riskd simulate --audit world`, see [the audit](#the-audit) |

`riskd train`, `riskd evaluate` and `riskd policy` take the labels of a simulated log from its truth. With
`--labels outcomes` they know only what callers reported, as on a live log: then most attackers who were stopped have
no label, and recall and precision of a policy are too low. `riskd log query` knows only outcomes.

The same seed writes the same bytes, given the same geo databases. Another number of users makes another world, with
other people in it.

## How it works

- **The loop is closed.** Attempts go through the engine in order of time, and the tier decides what happens next. An
  owner passes, fails or abandons the challenge; an attacker passes what that class can. A challenge that is not passed
  ends the visit. Fraud is confirmed days later, or never. Some owners who were shut out are confirmed by a person.
  `riskd.offline.world` can also make the same attempts without an engine.
- **People have habits**: hours, homes whose addresses change, carriers with shared gateways, offices, trips, VPNs,
  privacy relays, new devices, browser updates, a second screen, a typing rhythm, withheld consent, and typing errors.
  Some customers share a home with its line, and some of these a computer or tablet. Staff live around their office and
  sign in through an issuer. Machines run jobs on nodes of a cloud, and are deployed and rotated.
- **Most customers come rarely**, every second one less than every two months; in varied worlds the median is between
  one visit a year, as in the RBA dataset, and two a month (decision
  [0121](decisions/0121-people-of-the-world-come-rarely.md)). So only a long world has people who come again, and worlds
  of the same size have different numbers of rows.
- **Addresses are real**, drawn from the installed databases by operator and country. Devices are the commonest of a
  published list, by its weights; only the share of iPhones is that of the RBA dataset. Without geo databases nothing
  is simulated.
- **An attack replaces a visit** of the owner, so hour, weekday and time since the last visit are the owner's, and
  consent is the account's. Device and typing are made as for everybody else; a residential proxy is a line that
  somebody uses on another day. Anything else that gives attackers away is a bug; the audit finds most,
  [Limits](#limits) has the rest. Only tries of accounts that do not exist (segment `nobody`, also of owners who mistype
  the name) and registrations come on top of the owners' visits.
- **Campaigns have tools**, four each. Some type and point as people do (`imitates`), others fill in the form. A list's
  tools show one device to all accounts, or another to each (`rotates`). Scripts that say so run no page, and send only
  an address and a user agent.
- **Attackers come back.** Whoever can sign in comes the next time, too, with the same tools (`returns`), whatever was
  answered, until the takeover is reported.
- **Each class has careful and careless attackers** (decision [0085](decisions/0085-careful-and-careless-attackers.md)).
  They mistype as owners do and also try variants of a password, so more tries have failed on a form before they are
  in. Some come from another country than the victim's (see `matched` below), keep the clock, language and coordinates
  of home (`disguised`), or use a rented server where others use somebody's line (`rented`). Only attackers who aim at
  one person, `targeted`, get all of it right.
- **Draws hardly depend on decisions.** What is drawn depends on the seed, the account, the time, whether there is a
  session to resume, and whether a takeover was reported. So under another policy the same people come at the same
  moments, and of 500 visits three differ.

Segments: `traveller`, `roaming`, `mobile`, `vpn`, `relay`, `shared_address`, `new_device`, `new_user`, `private` (no
cookie), `assistive` (screen readers and switches: other typing, no pointer), `shared_device` (one that all of a home
use), `nobody`.

"""
_AUDIT: Final = """\
## The audit

The audit checks that attackers differ from owners only in what defines their class. For every class, a small boosted
model tries to distinguish the class's attempts from those of owners, by one group of numbers at a time: each
group of features, and traits that no engine sees (`presence` of optional fields, `address_digits`, `user_agent`,
`clock`, `lengths`, `order`, `hand`). The table below declares what may distinguish a class; nothing else may.

Like is compared with like: the first attempts of visits; those that follow in a visit, by journey, and in sessions that
were resumed apart from those that were just begun; and tries of accounts that do not exist.

A group **fails** if the cross-validated AUC, with people and campaigns kept together, is above 0.6, and above 0.55 by
three of its standard errors (bootstrap over people), on average over five ways to fold. The command then names class,
attempts, group and numbers, and its exit code is 1. Attempts on fewer than 30 accounts are listed as not judged; in
worlds of some hundred people these are most of those that follow a sign-in. It needs the extra `train`.

**Looking riskier must not prove honesty.** If it did, anybody who knows a model of such a world would look riskier on
purpose; and a model with monotonic constraints cannot learn it, so its recall would be understated. So for every
class and every feature with a direction, the command compares how frequent the riskier values are among attackers and
among owners who got as far: in the journey that the class begins with, and failed credentials with failed ones. It is a
fault if a riskier value (beyond the owners' median, 80th or 95th percentile) is less than 0.6 times as frequent among
attackers, and surely less than 0.8 times (three standard errors of each). Exceptions are declared: fresh lines and
operators abroad are quiet, a copied device is one whose identifier is known, and exits in the owner's country never
travel and have few operators.

**No value may be an attacker's alone.** Attackers who are certainly given away are all found at a low rate of false
positives, and if they are few they hardly move the AUC. So it is a fault, too, if more than 3 % of a class, and surely
more than 1 %, have values of a feature that are riskier than those of 99.9 % of the owners in the same journey.

Few owners travel, so one world of some hundred people shows little. Name several to have them compared together:
`riskd simulate --audit worlds/1 worlds/2`.

"""
_LIMITS: Final = """\

## Limits

- All customers live in the proportions of one published service, most of them in Norway. There is no IPv6.
- Histories start empty, so the first visit of everybody is a cold start, whenever it comes. Split by time, and judge on
  the later part.
- Rare visits cost owners more: of the customers' second to tenth sign-ins 13 to 16 of 100 are challenged, mostly for a
  new device on a new network, from the eleventh on 13. After three months without a visit 22 are; after half a year,
  when the history is forgotten, 14.
- Everybody of a home has the same operator, but travels alone. The company's VPN comes out in one city, wherever its
  offices are.
- Small worlds have small attacks: at the defaults a stuffing campaign is dozens of tries, not millions.
- Attackers do not learn from what they meet. Care about country, clock and line is drawn separately; a real attacker
  may be careful about all of them, or about none.
- Of attackers who can sign in, 20 to 36 of 100 come from another country than the account ever did; of the takeovers in
  the RBA dataset 88, but those are the ones that were noticed. Of all tries 45 % are of accounts that do not exist
  there, and some 5 % here: such a flood would be half of a world.
- Outcomes are as careful callers send them. Real callers forget some.
- There are no published rates for staff and machines: their numbers are assumptions.
"""


def page() -> str:
    """The whole page."""
    return "".join([_HEAD, *_classes(), *_assumptions(), _AUDIT, *_defined(), _LIMITS])


def _classes() -> Iterator[str]:
    from riskd.offline.world.attacks import ATTACKS

    rows = [(f"`{each.name}`", ", ".join(each.domains), f"{each.weight:g}", each.what) for each in ATTACKS]
    yield f"## Attackers\n\n{markdown_table(('Class', 'Domains', 'Weight', 'What it is'), rows)}"
    yield (
        "\nThe share of attacks among a domain's assessments is about `--attack-share`. It is divided among the\n"
        "classes of the domain by their weights. `--weight CLASS=N` changes the weight of a class: more, to have\n"
        "enough rows of a rare one to train on; 0, to have none.\n\n"
    )


def _assumptions() -> Iterator[str]:
    from riskd.offline.world.assumptions import TABLE

    yield (
        "## Assumptions\n\n`riskd simulate --assumptions` prints this table. For a number whose source is `assumption`"
        " we know of no\npublished figure.\n\n"
    )
    rows = [
        (each.name, f"{each.value:g}", f"{each.low:g} to {each.high:g}", each.unit, each.what, each.source)
        for each in TABLE
    ]
    yield markdown_table(("Name", "Value", "Range", "Unit", "What", "Source"), rows) + "\n"


def _defined() -> Iterator[str]:
    from riskd.offline.world.defined import DEFINED

    classes: dict[tuple[str, str], list[str]] = {}
    for attack, declared in DEFINED.items():
        for why in dict.fromkeys(declared.values()):
            names = ", ".join(_named(name) for name, because in declared.items() if because == why)
            classes.setdefault((names, why), []).append(attack)
    rows = []
    for (names, why), named in classes.items():
        others = [attack for attack in DEFINED if attack not in named]
        few = len(others) <= 3
        listed = ", ".join(f"`{attack}`" for attack in (others if few else named))
        rows.append((names, why, f"all but {listed}" if few else listed))
    yield markdown_table(("What may distinguish", "Because", "Classes"), rows)


def _named(name: str) -> str:
    domain, colon, bare = name.rpartition(":")
    return f"`{bare}` ({domain})" if colon else f"`{bare}`"
