"""Parses user agents and client hints with ua-parser's Rust engine and a bounded cache.

Clients can send any user agent: it says which software they claim to use, not which they use.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Final

from ua_parser import Domain, load_lazy_builtins
from ua_parser.regex import Resolver

from riskd.core.context import Agent, Missing

LONGEST: Final = 512
"""Most characters of a user agent that are parsed. Real ones are shorter, and parsing time grows with length."""
_LONGEST_PLATFORM: Final = 32
_NOT_SENT: Final = Missing("agent", "not_sent")
_UNREADABLE: Final = Missing("agent", "unreadable")

_DESKTOPS: Final = frozenset({"Windows", "Mac OS X", "Linux", "Ubuntu", "Fedora", "Debian", "Chrome OS", "FreeBSD"})
_MOBILES: Final = frozenset({"iOS", "Android", "Windows Phone", "KaiOS", "HarmonyOS", "BlackBerry OS", "Tizen"})
_PLATFORMS: Final = {"macOS": "Mac OS X", "Chromium OS": "Chrome OS", "Unknown": ""}
"""Values of Sec-CH-UA-Platform (UA Client Hints) that have another name in ua-parser."""

_BOT: Final = re.compile(r"(?<!cu)bots?(?![a-z])")
"""Excludes Cubot, which makes telephones."""
_CRAWLERS: Final = ("crawl", "spider", "slurp", "facebookexternalhit", "archiver", "+http", "(http")
_BROWSER_DRIVERS: Final = (
    "headless",
    "phantomjs",
    "puppeteer",
    "playwright",
    "selenium",
    "webdriver",
    "cypress",
    "jsdom",
)
_SCRIPTS: Final = (
    *("curl/", "wget/", "libwww", "lwp", "powershell", "windowspowershell", "httpie/", "postmanruntime/", "insomnia/"),
    *("python", "aiohttp/", "httpx/", "urllib3/", "scrapy/", "go-http-client/", "grpc-", "java/", "apache-httpclient/"),
    *("ruby", "faraday", "php", "guzzlehttp", "axios/", "node", "undici", "got ", "got/"),
    *("k6/", "locust", "apachebench", "jmeter", "sqlmap", "nikto", "nmap", "masscan", "zgrab"),
)
_TVS: Final = (
    " tv",
    "smarttv",
    "smart-tv",
    "googletv",
    "appletv",
    "hbbtv",
    "web0s",
    "roku",
    "bravia",
    "crkey",
    "; aft",
)
_TABLETS: Final = ("ipad", "tablet", "kindle", "playbook")
_PHONES: Final = ("mobi", "iphone", "ipod", "windows phone", "opera mini")
_PRODUCT: Final = re.compile(r"(?!Mozilla)([A-Za-z][A-Za-z0-9._-]{0,31})/(\d{1,6})")


@cache
def _resolver() -> Resolver:
    """ua-parser without the patterns of devices, which are most of its time to load and of its memory."""
    browsers, systems, _ = load_lazy_builtins()
    return Resolver((browsers, systems, []))


class AgentParser:
    """Finds browser, operating system and device class. Immutable except for its cache; thread-safe."""

    def __init__(self, cache_size: int = 4096) -> None:
        self._resolve = _resolver()
        self._cached = lru_cache(cache_size)(self._parse)

    def parse(self, user_agent: str, platform: str, mobile: bool | None) -> Agent | Missing:
        """What `user_agent` claims, completed by the client hints `platform` and `mobile`.

        Returns Missing with `not_sent` if it is empty, and with `unreadable` if nothing in it is recognised.
        """
        return self._cached(user_agent[:LONGEST], platform[:_LONGEST_PLATFORM], mobile)

    def _parse(self, user_agent: str, platform: str, mobile: bool | None) -> Agent | Missing:
        if not user_agent:
            return _NOT_SENT
        parsed = self._resolve(user_agent, Domain.USER_AGENT | Domain.OS)
        browser, system = parsed.user_agent, parsed.os
        product = _PRODUCT.match(user_agent)
        os = system.family if system else _PLATFORMS.get(platform, platform)
        lowered = user_agent.lower()
        crawler = _has(lowered, _CRAWLERS) or bool("bot" in lowered and _BOT.search(lowered))
        automated = crawler or lowered.startswith(_SCRIPTS) or _has(lowered, _BROWSER_DRIVERS)
        if not (browser or product or os or automated):
            return _UNREADABLE
        return Agent(
            browser.family if browser else product[1] if product else "",
            (browser.major or "") if browser else product[2] if product else "",
            os,
            (system.major or "") if system else "",
            "bot" if crawler else _device_class(lowered, os, mobile),
            automated,
        )


def _device_class(lowered: str, os: str, mobile: bool | None) -> str:
    if _has(lowered, _TVS):
        return "tv"
    if _has(lowered, _TABLETS):
        return "tablet"
    if mobile or _has(lowered, _PHONES):
        return "mobile"
    if os == "Android" and lowered.startswith("mozilla/"):
        return "tablet"
    if os in _MOBILES:
        return "mobile"
    return "desktop" if os in _DESKTOPS else "other"


def _has(lowered: str, tokens: tuple[str, ...]) -> bool:
    return any(token in lowered for token in tokens)
