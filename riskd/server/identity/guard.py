"""Lets calls in by who makes them, and counts whom it turns away."""

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
TELL_SECONDS: Final = 10.0
"""Shortest time between two log lines about calls that were turned away."""
_LOG: Final = logging.getLogger(__name__)
_EVERYDAY: Final = f"{PACKAGE}RiskService/"
_NOBODY: Final = Problem(
    "caller", "shows neither a token nor a certificate", "send `authorization: Bearer TOKEN`, or use a certificate"
)


class Guard:
    """Who may call what. `install` swaps everybody at once; calls under way go on with whom they began."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._lock = threading.Lock()
        self._turned_away: Counter[tuple[str, str, str]] = Counter()
        self._told = monotonic()

    def install(self, callers: Callers) -> None:
        """Know these callers from now on."""
        self._callers = callers

    def enter(self, method: str, context: ServicerContext) -> Caller:
        """The caller, who may call this method. Raises UnknownCaller, NotAllowed."""
        caller = None
        try:
            caller = identify(self._callers, context)
            caller.check_method(method)
        except RiskdError as error:
            self.turned_away(error, method, caller)
            raise
        if not method.startswith(_EVERYDAY):
            _LOG.info("administration", extra={"fields": {"caller": caller.name, "method": method}})
        return caller

    def name(self, context: ServicerContext) -> str:
        """Who calls. Raises UnknownCaller."""
        return identify(self._callers, context).name

    def check(self, caller: Caller, tenants: tuple[str, ...], method: str) -> None:
        """Raises NotAllowed where one of the tenants is not theirs."""
        try:
            for tenant in tenants:
                caller.check_tenant(tenant)
        except RiskdError as error:
            self.turned_away(error, method, caller)
            raise

    def turned_away(self, error: RiskdError, method: str, caller: Caller | None) -> None:
        """Count a refusal, for the next line of `tell`. Names come from the file alone, so there are few."""
        with self._lock:
            self._turned_away[error.reason, method, caller.name if caller else "unknown"] += 1

    def tell(self, now: Callable[[], float] = monotonic) -> None:
        """A log line about who was turned away how often since the last one, every `TELL_SECONDS` at most."""
        with self._lock:
            if not self._turned_away or now() - self._told < TELL_SECONDS:
                return
            counts, seconds = self._turned_away, now() - self._told
            self._turned_away, self._told = Counter(), now()
        refused = [
            {"reason": reason, "method": method, "caller": caller, "calls": calls}
            for (reason, method, caller), calls in counts.most_common()
        ]
        _LOG.warning("turned_away", extra={"fields": {"seconds": round(seconds, 1), "refused": refused}})


def identify(callers: Callers, context: ServicerContext) -> Caller:
    """Who calls: by the token where there is one, else by the certificate. Raises UnknownCaller."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            text = value if isinstance(value, str) else ""
            if text[: len(BEARER)].lower() != BEARER:
                raise UnknownCaller([Problem("authorization", "is no bearer token", "send `Bearer TOKEN`")])
            return callers.by_token(text[len(BEARER) :].strip())
    names = certificate_names(context)
    if not names:
        raise UnknownCaller([_NOBODY])
    return callers.by_certificate(names)


def certificate_names(context: ServicerContext) -> list[str]:
    """The names of the client's certificate, once it was verified; the common name counts only without any other
    (RFC 9525, section 2)."""
    shown: Mapping[str, Iterable[bytes]] = context.auth_context()  # type: ignore[assignment]  # its stub says bytes
    names = [_text(name) for name in shown.get("x509_subject_alternative_name", ())]
    return names or [f"CN={_text(name)}" for name in shown.get("x509_common_name", ())]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
