"""Devices: real models, browsers that update, identifiers that get lost, fingerprints that change."""

from __future__ import annotations

import re
from bisect import bisect
from hashlib import blake2b
from itertools import accumulate
from random import Random
from typing import Final

from msgspec import Struct

from riskd.core.attempt import Device
from riskd.core.history import DAY
from riskd.offline.world.assumptions import Values
from riskd.offline.world.tables import Model

_VERSION: Final = re.compile(r"(Chrome|CriOS|Edg|EdgA|EdgiOS|Firefox|FxiOS|rv|SamsungBrowser)([/:])(\d+)")
_PLATFORMS: Final = (
    ("Windows", "Windows"),
    ("CrOS", "Chrome OS"),
    ("Android", "Android"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)


class Machine(Struct, frozen=True):
    """One device of one owner. `key` makes it reproducible; `lag`: how late it installs updates, in seconds."""

    key: int
    category: str
    model: Model
    lag: float
    english: bool
    app: bool
    """Whether it uses the service's app, whose platform attests it."""
    born: float
    """When its owner began to use it, in epoch seconds."""
    kept: float
    """How long its fingerprint stays the same, in seconds."""
    docked: str
    """Screen size of the monitor that a computer is connected to on some days; '' if there is none."""


def mix(*parts: int | str) -> int:
    """A 64-bit hash of all parts. Everything that must not depend on the order of events is drawn from it."""
    return int.from_bytes(blake2b(":".join(map(str, parts)).encode(), digest_size=8).digest())


class Shop:
    """Creates devices."""

    def __init__(self, models: tuple[Model, ...], values: Values, start: float) -> None:
        self._values = values
        self._start = start
        self._of = {
            category: [each for each in models if each.category == category]
            for category in ("mobile", "desktop", "tablet")
        }
        self._weights = {category: list(accumulate(m.weight for m in found)) for category, found in self._of.items()}
        self._weights["mobile"] = list(accumulate(_weights(self._of["mobile"], values["iphones"])))

    def machine(self, key: int, category: str, born: float) -> Machine:
        """The device with this key."""
        random = Random(key)
        weights = self._weights[category]
        model = self._of[category][bisect(weights, random.random() * weights[-1])]
        late = random.random() * self._values["browser_days"] * DAY
        english = random.random() < self._values["english"]
        app = category == "mobile" and random.random() < self._values["sends_attestation"]
        docked = category == "desktop" and random.random() < self._values["docks"]
        other = self._of[category][bisect(weights, random.random() * weights[-1])].screen
        kept = max(random.expovariate(1 / self._values["fingerprint_days"]), 1.0) * DAY
        return Machine(key, category, model, late, english, app, born, kept, other if docked else "")

    def clearings(self, machine: Machine, time: float) -> int:
        """How often the cookies of a device had been cleared at a time."""
        return int((time + machine.key % 1000 * DAY) // (self._values["cookie_days"] * DAY))

    def seen(
        self, machine: Machine, languages: tuple[str, ...], timezone: str, time: float, *, private: bool
    ) -> Device:
        """What the device sends at a time. `private`: without the identifier that a cookie stores."""
        values = self._values
        version = int((time - self._start + machine.lag) // (values["browser_days"] * DAY))
        agent = updated(machine.model.user_agent, version)
        age = int((time + machine.key % 1000 / 1000 * machine.kept) // machine.kept)
        spoken = ("en-US", "en") if machine.english and languages[0] != "en-US" else languages
        chromium = "Chrome/" in agent
        docked = machine.docked and mix(machine.key, "docked", int(time // DAY)) % 1000 < 1000 * values["docked"]
        screen = machine.docked if docked else machine.model.screen
        # Phones of one model look much alike; computers differ by what is installed.
        variety = mix(machine.key, age) % (40 if machine.category == "mobile" else 4000)
        looks = mix(machine.model.user_agent, machine.model.screen, spoken[0], variety)
        return Device(
            user_agent=agent,
            platform=platform(agent) if chromium else "",
            mobile="Mobile" in agent if chromium else None,
            device_id="" if private else f"{mix(machine.key, self.clearings(machine, time), 'id'):016x}",
            fingerprint=f"{looks:016x}",
            screen=screen,
            languages=spoken,
            timezone=timezone,
            attestation="hardware" if machine.app else "",
        )


def _weights(phones: list[Model], iphones: float) -> list[float]:
    """The weights of telephones, of which this share are iPhones."""
    total = sum(each.weight for each in phones)
    apple = sum(each.weight for each in phones if "iPhone" in each.user_agent)
    shares = (1 - iphones) / (total - apple), iphones / apple
    return [each.weight * shares["iPhone" in each.user_agent] for each in phones]


def updated(user_agent: str, versions: int) -> str:
    """The same browser, `versions` versions later."""
    if not versions:
        return user_agent
    return _VERSION.sub(lambda match: f"{match[1]}{match[2]}{int(match[3]) + versions}", user_agent)


def platform(user_agent: str) -> str:
    """The platform client hint of a browser that sends hints."""
    return next((name for part, name in _PLATFORMS if part in user_agent), "")
