"""The cost of rules: conditions fused and one by one, and the decision after them. Prints a table.

python -m benchmarks.rules
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from timeit import repeat
from typing import Final

from benchmarks import program
from riskd.adapters.cel_rules import CACHED, CelCompiler
from riskd.adapters.policy_file.lists import LONGEST
from riskd.core.attempt import JOURNEYS, Attempt, Network, Session
from riskd.core.context import Agent, Context, Missing, Place, Remembered, Route
from riskd.core.decide import decide
from riskd.core.lists import listed, of_networks
from riskd.core.policy import Bands, Journey, Policy, ladder, weigh
from riskd.core.requirement import Terms, Tier
from riskd.core.rules import Evaluate, Rule, RuleFacts

ROUNDS: Final = 2_000
FEATURES: Final = tuple(f"feature_{at}" for at in range(80))
ATTEMPT: Final = Attempt(
    domain="customer",
    subject="s",
    journey="login",
    network=Network(client_ip="192.0.2.1"),
    credential_result="succeeded",
    session=Session(acr="mfa", amr=("pwd", "otp"), authentication_time=0.0),
)
CONTEXT: Final = Context(
    now=60.0,
    values={},
    place=Place("NO", 59.9, 10.7, 20.0),
    route=Route(2119, "Telenor"),
    agent=Agent("Firefox"),
    remembered=Remembered(),
    missing=tuple(Missing(source, "not_sent") for source in ("rtt", "behaviour", "federation", "outside", "session")),
)
TIERS: Final = {
    Tier.BASELINE: Terms(1, (), 30 * 86_400),
    Tier.STEP_UP: Terms(2, ("mfa",), 86_400, (("pwd", "otp"), ("hwk",))),
    Tier.PHISHING_RESISTANT: Terms(2, ("phr",), 86_400, (("hwk",), ("swk",))),
}
LOGIN: Final = Journey(
    floor=Tier.BASELINE,
    bands=Bands((0.02, 0.15, 0.6), (Tier.BASELINE, Tier.STEP_UP, Tier.PHISHING_RESISTANT, Tier.DENY)),
    postures={"place": None, "route": None, "history": Tier.STEP_UP, "behaviour": None, "rtt": None},
    cold_start=Tier.BASELINE,
    valid_for_s=300,
)
POLICY: Final = Policy(
    domain="customer",
    version="1",
    levels=(0.02, 0.15),
    ladder=ladder(TIERS),
    journeys=dict.fromkeys(JOURNEYS, LOGIN),
)


VECTOR: Final = [0.5] * len(FEATURES)


def conditions(count: int) -> list[str]:
    """Conditions on at most fifteen features, none of which is true."""
    return [
        f'feature_{at % 15} > {at}.5 && (feature_{(at + 3) % 15} >= 2.0 || country in ["XX", "YY"])'
        for at in range(count)
    ]


def rules(count: int) -> Evaluate:
    """Compiled rules, none of which hits."""
    compiled = CelCompiler(FEATURES)(
        [
            Rule(name=f"r{at}", when=when, tier=Tier.STEP_UP, reason="CODE", text="Text.", journeys=JOURNEYS)
            for at, when in enumerate(conditions(count))
        ]
    )
    assert not isinstance(compiled, list), compiled
    return compiled


def run_all(compiled: Sequence[Evaluate], attempts: Iterator[RuleFacts]) -> None:
    """Evaluate all of these rules on the next attempt."""
    facts = next(attempts)
    for run in compiled:
        run(facts)


def microseconds(call: Callable[[], object]) -> float:
    """Microseconds of a call, in the best of seven rounds."""
    return min(repeat(call, number=ROUNDS, repeat=7)) / ROUNDS * 1e6


def main() -> None:
    """Measure and print."""
    vectors = ([at / CACHED] + [0.5] * (len(FEATURES) - 1) for at in range(2 * CACHED))
    new = cycle([RuleFacts(ATTEMPT, CONTEXT, vector, 0.01, LOGIN.postures) for vector in vectors])
    print(f"{'what':<28}{'us':>8}")
    for count in (1, 5, 20, 200):
        run = rules(count)
        print(f"{f'{count} rules, fused':<28}{microseconds(partial(run_all, [run], new)):>8.1f}")
        print(f"{f'{count} rules, remembered':<28}{microseconds(partial(run, next(new))):>8.1f}")
    singles = [rules(1) for _ in range(20)]
    print(f"{'20 rules, one by one':<28}{microseconds(partial(run_all, singles, new)):>8.1f}")
    networks = of_networks((4, at << 14, (at << 14) + 255) for at in range(LONGEST))
    listing = {"office": networks}
    looked_up = microseconds(lambda: listed(listing, ATTEMPT, CONTEXT))
    print(f"{f'a list of {LONGEST:,} networks':<28}{looked_up:>8.1f}")
    print(f"{'weigh, no lists':<28}{microseconds(lambda: weigh(POLICY, ATTEMPT, CONTEXT, VECTOR)):>8.1f}")
    print(f"{'decide, baseline':<28}{microseconds(lambda: decide(POLICY, ATTEMPT, CONTEXT, 0.01, ())):>8.1f}")
    print(f"{'decide, stepped up':<28}{microseconds(lambda: decide(POLICY, ATTEMPT, CONTEXT, 0.1, ())):>8.1f}")


if __name__ == "__main__":
    program(main)
