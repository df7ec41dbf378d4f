"""Parsing of user agents of people and of scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.adapters.user_agent import LONGEST, AgentParser
from riskd.core.context import Agent, Missing

PARSER = AgentParser(cache_size=64)
_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_CHROME = f"{_WEBKIT} Chrome/131.0.0.0"
_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
_SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1"

PEOPLE = {
    f"{_WINDOWS} {_CHROME} Safari/537.36": Agent("Chrome", "131", "Windows", "10", "desktop"),
    f"{_WINDOWS} {_CHROME} Safari/537.36 Edg/131.0.0.0": Agent("Edge", "131", "Windows", "10", "desktop"),
    f"{_WINDOWS} {_CHROME} Safari/537.36 OPR/116.0.0.0": Agent("Opera", "116", "Windows", "10", "desktop"),
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0": Agent(
        "Firefox", "132", "Windows", "10", "desktop"
    ),
    f"{_MAC} {_SAFARI} Safari/605.1.15": Agent("Safari", "18", "Mac OS X", "10", "desktop"),
    f"Mozilla/5.0 (X11; Linux x86_64) {_CHROME} Safari/537.36": Agent("Chrome", "131", "Linux", "", "desktop"),
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0": Agent(
        "Firefox", "132", "Ubuntu", "", "desktop"
    ),
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {_CHROME} Safari/537.36": Agent(
        "Chrome", "131", "Chrome OS", "14541", "desktop"
    ),
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) {_SAFARI} Mobile/15E148 Safari/604.1": Agent(
        "Mobile Safari", "18", "iOS", "18", "mobile"
    ),
    f"Mozilla/5.0 (iPad; CPU OS 18_1 like Mac OS X) {_SAFARI} Mobile/15E148 Safari/604.1": Agent(
        "Mobile Safari", "18", "iOS", "18", "tablet"
    ),
    f"Mozilla/5.0 (Linux; Android 10; K) {_CHROME} Mobile Safari/537.36": Agent(
        "Chrome Mobile", "131", "Android", "10", "mobile"
    ),
    f"Mozilla/5.0 (Linux; Android 10; K) {_CHROME} Safari/537.36": Agent("Chrome", "131", "Android", "10", "tablet"),
    f"Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S918B) {_WEBKIT} SamsungBrowser/26.0 Mobile Safari/537.36": Agent(
        "Samsung Internet", "26", "Android", "14", "mobile"
    ),
    f"Mozilla/5.0 (Linux; Android 7.0; CUBOT NOTE Plus) {_CHROME} Mobile Safari/537.36": Agent(
        "Chrome Mobile", "131", "Android", "7", "mobile"
    ),
    f"Mozilla/5.0 (Web0S; Linux/SmartTV) {_CHROME} Safari/537.36": Agent("Chrome", "131", "Web0S", "", "tv"),
    "Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/AP2A)": Agent("Android", "14", "Android", "14", "mobile"),
    "okhttp/4.12.0": Agent("okhttp", "4"),
    "Bank/3.1 CFNetwork/1490.0.4 Darwin/23.2.0": Agent("Bank", "3", "iOS", "17", "mobile"),
}
MACHINES = {
    "curl/8.5.0": Agent("curl", "8", automated=True),
    "Wget/1.21.4": Agent("Wget", "1", automated=True),
    "python-requests/2.32.3": Agent("Python Requests", "2", automated=True),
    "Python/3.12 aiohttp/3.10.5": Agent("Python aiohttp", "3", automated=True),
    "Go-http-client/2.0": Agent("Go-http-client", "2", automated=True),
    "Java/17.0.9": Agent("Java", "17", automated=True),
    "grpc-python/1.67.0 grpc-c/44.0.0 (linux; chttp2)": Agent(
        "grpc-python", "1", "Linux", "", "desktop", automated=True
    ),
    "grpc-go/1.68.0": Agent("grpc-go", "1", automated=True),
    f"Mozilla/5.0 (X11; Linux x86_64) {_WEBKIT} HeadlessChrome/131.0.0.0 Safari/537.36": Agent(
        "HeadlessChrome", "131", "Linux", "", "desktop", automated=True
    ),
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": Agent(
        "Googlebot", "2", "", "", "bot", automated=True
    ),
    f"Mozilla/5.0 {_WEBKIT}; compatible; GPTBot/1.2; +https://openai.com/gptbot)": Agent(
        "GPTBot", "1", "", "", "bot", automated=True
    ),
}


@pytest.mark.parametrize(("user_agent", "expected"), (PEOPLE | MACHINES).items())
def test_user_agents(user_agent: str, expected: Agent) -> None:
    """The parser gives browser and system with major versions, the device class, and whether it is a script."""
    assert PARSER.parse(user_agent, "", None) == expected


@pytest.mark.parametrize(
    ("user_agent", "platform", "mobile", "os", "device_class"),
    [
        (f"Mozilla/5.0 {_CHROME} Safari/537.36", "macOS", False, "Mac OS X", "desktop"),
        (f"Mozilla/5.0 {_CHROME} Safari/537.36", "Windows", False, "Windows", "desktop"),
        (f"Mozilla/5.0 {_CHROME} Safari/537.36", "Android", True, "Android", "mobile"),
        (f"Mozilla/5.0 {_CHROME} Safari/537.36", "Android", False, "Android", "tablet"),
        (f"Mozilla/5.0 {_CHROME} Safari/537.36", "Unknown", None, "", "other"),
        (f"{_WINDOWS} {_CHROME} Safari/537.36", "Linux", None, "Windows", "desktop"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {_CHROME} Safari/537.36", "Android", True, "Android", "mobile"),
    ],
)
def test_client_hints_complete_the_user_agent(
    user_agent: str, platform: str, mobile: bool | None, os: str, device_class: str
) -> None:
    """A client hint adds what the user agent lacks, and does not override the system that it names."""
    agent = PARSER.parse(user_agent, platform, mobile)
    assert isinstance(agent, Agent)
    assert (agent.os, agent.device_class) == (os, device_class)


def test_nothing_sent_is_a_gap() -> None:
    """An absent user agent gives the reason `not_sent`."""
    assert PARSER.parse("", "Windows", False) == Missing("agent", "not_sent")


def test_nothing_known_is_a_gap() -> None:
    """A text that names no software gives the reason `unreadable`."""
    assert PARSER.parse("???", "", None) == Missing("agent", "unreadable")


def test_only_so_much_is_read() -> None:
    """Only a bounded prefix is parsed, so that long texts cost no time."""
    padded = "curl/8.5.0 ".ljust(LONGEST)
    assert PARSER.parse(padded + "Googlebot" * 100_000, "", None) == PARSER.parse(padded, "", None)


@given(st.text(max_size=600), st.text(max_size=20), st.none() | st.booleans())
def test_any_text_is_answered(user_agent: str, platform: str, mobile: bool | None) -> None:
    """No text raises an exception, and the same text gets the same answer."""
    answer = PARSER.parse(user_agent, platform, mobile)
    assert isinstance(answer, Agent | Missing)
    assert PARSER.parse(user_agent, platform, mobile) == answer
