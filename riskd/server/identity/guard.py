"""Identifies the caller of each call, checks what the caller may do, and logs how many calls were refused."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Final

from grpc import ServicerContext

from riskd.core.errors import Problem, RiskdError
from riskd.server.identity.callers import PACKAGE, Caller, Callers, UnknownCaller

BEARER: Final = "bearer "
LOG_SECONDS: Final = 10.0
"""Shortest time between two log lines about refused calls."""
LOGGED: Final = 20
"""Most entries of such a line. The callers file may have thousands, so it has those who were refused most."""
_LOG: Final = logging.getLogger(__name__)
_UNLOGGED: Final = f"{PACKAGE}RiskService/"
"""Methods whose calls are not logged one by one."""
_NOBODY: Final = Problem(
    "caller",
    "sent neither a token nor a certificate",
    "send `authorization: Bearer TOKEN`, or use a client certificate",
)


class Guard:
    """Authorises calls. `install` replaces all callers at once; it does not affect calls that were let in before."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._lock = threading.Lock()
        self._turned_away: Counter[tuple[str, str, str]] = Counter()
        self._logged = monotonic()

    def install(self, callers: Callers) -> None:
        """Use these callers from now on."""
        self._callers = callers

    def admit(self, method: str, context: ServicerContext) -> Caller:
        """The caller, if it may use this method; a call of an administrative service is logged. Raises UnknownCaller,
        NotAllowed."""
        caller = self.check(method, context)
        if not method.startswith(_UNLOGGED):
            _LOG.info("administration", extra={"fields": {"caller": caller.name, "method": method}})
        return caller

    def check(self, method: str, context: ServicerContext) -> Caller:
        """The caller, if it may use this method. Raises UnknownCaller, NotAllowed."""
        caller = None
        try:
            caller = identify(self._callers, context)
            caller.check_method(method)
        except RiskdError as error:
            self.count(error.reason, method, caller.name if caller else "unknown")
            raise
        return caller

    def name(self, context: ServicerContext) -> str:
        """The caller's name. Raises UnknownCaller."""
        return identify(self._callers, context).name

    def check_tenants(self, caller: Caller, tenants: tuple[str, ...], method: str) -> None:
        """Raises NotAllowed if the caller may not act for one of the tenants."""
        try:
            for tenant in tenants:
                caller.check_tenant(tenant)
        except RiskdError as error:
            self.count(error.reason, method, caller.name)
            raise

    def log_refused(self, now: Callable[[], float] = monotonic) -> None:
        """Log which calls were refused, and how many, since the last such line; at most every `LOG_SECONDS`."""
        with self._lock:
            if not self._turned_away or now() - self._logged < LOG_SECONDS:
                return
            counts, seconds = self._turned_away, now() - self._logged
            self._turned_away, self._logged = Counter(), now()
        refused = [
            {"reason": reason, "method": method, "caller": caller, "calls": calls}
            for (reason, method, caller), calls in counts.most_common(LOGGED)
        ]
        _LOG.warning("turned_away", extra={"fields": {"seconds": round(seconds, 1), "refused": refused}})

    def count(self, reason: str, method: str, caller: str) -> None:
        """Count a refusal. The keys are bounded: `caller` is a name of the callers file or `unknown`, and never what a
        client sent."""
        with self._lock:
            self._turned_away[reason, method, caller] += 1


def identify(callers: Callers, context: ServicerContext) -> Caller:
    """The caller: by the bearer token if the call has one, else by its certificate. Raises UnknownCaller."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            text = value if isinstance(value, str) else ""
            if text[: len(BEARER)].lower() != BEARER:
                raise UnknownCaller([Problem("authorization", "is not a bearer token", "send `Bearer TOKEN`")])
            return callers.by_token(text[len(BEARER) :].strip())
    names = certificate_names(context)
    if not names:
        raise UnknownCaller([_NOBODY])
    return callers.by_certificate(names)


def certificate_names(context: ServicerContext) -> list[str]:
    """The names in the client's verified certificate: its subject alternative names, or else its common name
    (RFC 9525, section 2). Empty if the client has shown none."""
    shown: Mapping[str, Iterable[bytes]] = context.auth_context()  # type: ignore[assignment]  # its stub says bytes
    names = [_text(name) for name in shown.get("x509_subject_alternative_name", ())]
    return names or [f"CN={_text(name)}" for name in shown.get("x509_common_name", ())]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
