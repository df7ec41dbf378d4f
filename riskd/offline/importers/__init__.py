"""Warm start: teaches histories from past sign-ins that identity providers export."""

from __future__ import annotations

from typing import Final

from riskd.offline.importers import auth0, entra, keycloak, ocsf, okta, rba_dataset
from riskd.offline.importers.event import Source

SOURCES: Final[dict[str, Source]] = {
    source.name: source
    for source in (okta.SOURCE, entra.SOURCE, auth0.SOURCE, keycloak.SOURCE, ocsf.SOURCE, rba_dataset.SOURCE)
}
"""Every source, by its name on the command line."""
