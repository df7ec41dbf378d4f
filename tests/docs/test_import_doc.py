"""docs/import.md names every source, every event that is used, and every reason to skip a record."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from riskd.offline.importers import SOURCES, auth0, entra, keycloak, okta
from riskd.offline.importers.event import REASONS
from riskd.offline.importers.learner import WINDOW

PAGE: Final = (Path(__file__).parents[2] / "docs" / "import.md").read_text(encoding="utf-8")
SECTIONS: Final = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))
HEADINGS: Final = {
    "okta": "Okta",
    "entra": "Entra",
    "auth0": "Auth0",
    "keycloak": "Keycloak",
    "ocsf": "OCSF",
    "rba-dataset": "RBA dataset",
}
USED: Final = {
    "okta": {"user.session.start", "user.authentication.auth_via_mfa", *okta._OWN_CHANGES},
    "entra": entra._WRONG_CREDENTIAL | entra._WRONG_CHALLENGE | entra._INTERRUPTED,
    "auth0": auth0._MEANING.keys(),
    "keycloak": keycloak._MEANING.keys() | keycloak._WRONG_CREDENTIAL,
}


def test_every_source_has_a_section() -> None:
    """Every source has a section, which names the fields that can identify the subject."""
    assert HEADINGS.keys() == SOURCES.keys()
    for name, source in SOURCES.items():
        missing = [field for field in source.subjects if f"`{field}`" not in SECTIONS[HEADINGS[name]]]
        assert missing == [] or source.subjects == ("id",), name


@pytest.mark.parametrize("name", USED)
def test_every_event_that_is_used_is_named(name: str) -> None:
    """Every event that an import uses is named in the section of its source."""
    words = set(re.findall(r"[\w.]+", SECTIONS[HEADINGS[name]]))
    assert USED[name] - words == set()


def test_every_reason_is_explained() -> None:
    """Every reason to skip a record is explained in the words of the summary."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", SECTIONS["How it runs"], re.MULTILINE))
    assert rows == REASONS


def test_the_window_is_stated() -> None:
    """The page says how many records the events of one sign-in may lie apart."""
    assert f"{WINDOW:,} records" in SECTIONS["Okta"]
