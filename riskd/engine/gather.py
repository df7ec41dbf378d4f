"""Gathers all facts about an attempt: about its address and user agent, and the histories of everything it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from time import perf_counter
from typing import Final

from msgspec import Struct

from riskd.core import replies, signals
from riskd.core.address import Address
from riskd.core.assess import Release
from riskd.core.attempt import Attempt, Device
from riskd.core.context import Agent, Context, Missing, Place, Remembered, Route
from riskd.core.errors import Unavailable
from riskd.core.pseudonym import Keys
from riskd.core.recall import history_keys, recall, reply_to, unread
from riskd.core.stored import PLACE
from riskd.ports import IncompleteRead, Parts

_UNKNOWN: Final = Device()
_NO_AGENT: Final = Missing("agent", "not_sent")
_NO_STORE: Final = Missing("history", "unavailable")


class Observed(Struct, frozen=True):
    """The facts about an attempt that need no history. `values` and `stale` are as in `Context`."""

    place: Place | Missing
    route: Route | Missing
    agent: Agent | Missing
    stale: tuple[str, ...]
    values: dict[str, str]
    keys: Keys


def observe(parts: Parts, attempt: Attempt, address: Address, when: float, counters: Sequence[str] = ()) -> Observed:
    """Look up the address, parse the user agent and derive the history keys, as of `when` (epoch seconds)."""
    device = attempt.device or _UNKNOWN
    place, route, stale = parts.geo.locate(address, when)
    agent: Agent | Missing = _NO_AGENT
    if device.user_agent:
        agent = parts.agents.parse(device.user_agent, device.platform, device.mobile)
    values = signals.values(attempt, place, route, agent, when)
    return Observed(place, route, agent, stale, values, parts.pseudonyms.keys(attempt, address, values, counters))


class Gathered(Struct, frozen=True):
    """An attempt with everything that is needed to assess and record it."""

    attempt: Attempt
    """Without the signals that lack consent, and with what security events said about the subject."""
    parts: Parts
    """Used until this attempt is recorded, even if the engine's change: `keys` were made by these pseudonyms."""
    release: Release
    address: Address
    keys: Keys
    assessment_id: str
    context: Context
    reply_key: bytes
    """Key of the stored answer to this request id."""
    seal: bytes
    """Keyed hash of the attempt's content. This and `reply_key` are empty without a request id."""
    reply: bytes | None
    """The stored answer, if the request id was answered before."""


def gather(
    parts: Parts,
    attempt: Attempt,
    release: Release,
    address: Address,
    now: float,
    *,
    deadline: float,
    counters: Sequence[str] = (),
) -> Gathered:
    """Collect every fact that consent allows, with all histories in one batched read. Unknown facts are Missing.

    `counters`: the attributes to count.
    """
    policy = release.policy(attempt)
    attempt = signals.consented(attempt, explicit=policy.explicit_consent)
    when = attempt.time if attempt.time is not None else now
    device = attempt.device or _UNKNOWN
    observed = observe(parts, attempt, address, when, counters)
    keys = observed.keys
    assessment_id = new_id(keys.subject, attempt.request_id, parts.random)
    offset = parts.geo.offset(device.timezone, when) if device.timezone else None
    reply_key = seal = b""
    if attempt.request_id:
        seal = parts.pseudonyms.seal(replies.content(attempt))
        reply_key = reply_to(attempt, parts.pseudonyms, keys.subject)
    read_from = perf_counter()
    remembered, documents = _read(parts, keys, (reply_key,) if reply_key else (), now, deadline)
    parts.meter.stage("store_read", perf_counter() - read_from)
    if isinstance(remembered, Remembered):
        attempt = signals.with_events(attempt, remembered, when, policy.retention.sequence)
    context = signals.context(
        attempt,
        when,
        observed.values,
        facts=(observed.place, observed.route, observed.agent),
        remembered=remembered,
        device_offset_min=offset,
        measured_from=parts.edge,
        stale=observed.stale,
        kept=policy.retention.profile,
    )
    reply = documents[0] if documents else None
    return Gathered(attempt, parts, release, address, keys, assessment_id, context, reply_key, seal, reply)


def _read(
    parts: Parts, keys: Keys, documents: tuple[bytes, ...], now: float, deadline: float
) -> tuple[Remembered | Missing, list[bytes | None]]:
    """What can be read of the histories and of the documents; nothing of either if the store fails."""
    try:
        histories, found = parts.store.read(history_keys(keys), documents, now, deadline - perf_counter())
        return recall(keys, histories), found
    except IncompleteRead as part:
        parts.meter.failed("store")
        return recall(keys, part.histories, unread(keys, part.unread)), part.documents
    except Unavailable:
        parts.meter.failed("store")
        return _NO_STORE, []


def new_id(subject: bytes, request_id: str, random: Callable[[int], bytes]) -> str:
    """32 hex digits: the subject's place in the store, then a hash of the request id, or without one random bytes."""
    if request_id:
        unique = blake2b(subject + request_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    else:
        unique = random(8)
    return (subject[:PLACE] + unique).hex()
