"""`riskd events tell`: reports one event to a running service, by hand or from a script."""

from __future__ import annotations

import argparse

from riskd.cli.arguments import add_connection, moment
from riskd.cli.assess import EXIT_CODES
from riskd.core.attempt import DOMAINS, EVENTS, RISK_LEVELS, SecurityEvent


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `events tell`."""
    parser = actions.add_parser(
        "tell",
        help="report by hand what another party says about an account",
        description="Report to a running service what another party says about an account. The event counts in every "
        "attempt of the account for as long as the policy keeps sensitive steps (30 days by default). The latest event "
        "counts, and one that is reported twice counts once. docs/events.md says what follows from each.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("kind", choices=EVENTS, metavar="KIND", help=f"one of: {', '.join(EVENTS)}")
    parser.add_argument("--domain", required=True, choices=DOMAINS, help="identity domain")
    parser.add_argument(
        "--subject", required=True, metavar="TEXT", help="identifier of the account, the same as in its attempts"
    )
    parser.add_argument("--tenant", metavar="NAME", default="", help="tenant of the account")
    parser.add_argument("--issuer", metavar="URL", default="", help="who reports it (default: the caller)")
    parser.add_argument("--time", metavar="TIME", type=moment, help="when it happened (default: now)")
    parser.add_argument("--level", choices=RISK_LEVELS[1:], default="", help="for risk_level_change: the current level")
    parser.add_argument(
        "--credential-type",
        metavar="TYPE",
        default="",
        help="for credential_compromise and credential_change: password, pin, fido2-roaming and so on (CAEP 1.0)",
    )
    parser.add_argument(
        "--hijacked", action="store_true", help="for account_disabled: somebody has taken the account over"
    )
    add_connection(parser)
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.cli.client import assess

    event = SecurityEvent(**{name: getattr(args, name) for name in SecurityEvent.__struct_fields__})
    return assess.run(args, lambda stub: stub.RecordSecurityEvent, assess.event_request(event))
