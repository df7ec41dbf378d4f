"""`riskd tenant`: erase all that is stored about a tenant that has left."""

from __future__ import annotations

import argparse

from riskd.cli.arguments import confirmed
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import complain, print_json, progress
from riskd.core.errors import InvalidSubject, Problem
from riskd.wording import date, quantity, second

INCOMPLETE = 1
_ERASE = """\
Erase everything that is stored about a tenant that has left: the histories of its accounts, addresses, devices and
common values, and its lines of the decision log. Services may be running. First stop the tenant's sign-ins: remove its
callers. docs/tenants.md says what remains, and until when."""
_EPILOG = """\
The log leads to the records, so run this on each machine that has one. If it is interrupted, run it again.

exit codes: 0 done; 1 not confirmed; or done, but some lines of the tenant could not be read, and what they lead to ends
by itself; 2 refused: the log has nothing of the tenant, or a problem with the settings, the pepper or the store"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `tenant` and its action."""
    tenant = commands.add_parser("tenant", description="Erase what is stored about a tenant that has left.")
    actions = tenant.add_subparsers(required=True, metavar="ACTION")
    erase = actions.add_parser(
        "erase", help="erase everything that is stored about a tenant", description=_ERASE, epilog=_EPILOG
    )
    erase.add_argument("tenant", metavar="TENANT", help="name of the tenant, as sent in its attempts")
    add_arguments(erase)
    erase.add_argument("--json", action="store_true", help="print JSON")
    erase.add_argument("--yes", action="store_true", help="erase without asking for confirmation")
    erase.set_defaults(handler=_erase)


def _erase(args: argparse.Namespace) -> int:
    from riskd.tenants import erase

    if not args.tenant:
        raise InvalidSubject([Problem("TENANT", "is empty", "name one: attempts without a tenant are nobody's")])
    settings = given(args, writes=True).settings
    if not (args.yes or confirmed(f"tenant {args.tenant}")):
        print("Nothing was erased.")
        return 1
    with progress() as begin:
        erased = erase(settings, args.tenant, begin)
    if erased.unread:
        complain(f"{quantity(erased.unread, 'line')} could not be read: another pepper, or another version of riskd")
    if args.json:
        print_json(erased)
    else:
        counts = ", ".join(f"{kind} {count:,}" for kind, count in sorted(erased.records.items()))
        print(f"erased from the store: {counts or 'nothing was kept'}")
        print(f"the decision log will be free of its {quantity(erased.lines, 'line')} by {second(erased.log_by)}")
        print(f"what was imported, or is older than this log, ends by itself, by {date(erased.store_by)} at the latest")
    return INCOMPLETE if erased.unread else 0
