"""One service, shared by tests that do not change it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.service import Service, serving


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of two workers with the tests' geo databases."""
    settings = {"RISKD_ATTRIBUTES__NAMES": "amount"}
    with serving(tmp_path_factory.mktemp("service"), workers=2, settings=settings) as running:
        yield running
