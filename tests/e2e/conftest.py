"""One service, shared by tests that do not change it, and the clients of the pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.e2e.clients.pages import APPS, App
from tests.e2e.service import Service, serving


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of two workers with the tests' geo databases."""
    settings = {"RISKD_ATTRIBUTES__NAMES": "amount"}
    with serving(tmp_path_factory.mktemp("service"), workers=2, settings=settings) as running:
        yield running


@pytest.fixture(scope="session")
def client_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], App]:
    """The client of the page of a language, which takes seconds to generate and to compile."""
    return cache(lambda language: APPS[language](tmp_path_factory.mktemp(language)))
