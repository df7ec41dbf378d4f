"""A policy with every section that a tenant can override."""

from __future__ import annotations

from pathlib import Path
from typing import Final

HEAD: Final = """
format: 1
version: "1"
domain: customer
levels: {medium: 0.1, high: 0.5}
tiers:
  BASELINE: {aal: 1, max_age: 30d}
  STEP_UP: {aal: 2, acr_values: [mfa], max_age: 24h}
journeys:
  registration: &plain {floor: BASELINE, bands: {STEP_UP: 0.1, DENY: 0.9}, gaps: {place: note}, valid_for: 5m}
  login: *plain
  recovery: *plain
  profile_update: *plain
  payment: {floor: STEP_UP, bands: {DENY: 0.9}, valid_for: 5m}
  session: *plain
"""
SECTIONS: Final = """
lists:
  office: {networks: [192.0.2.0/24]}
  markets: {countries: [NO, SE]}
  carriers: {asns: [AS2119, 64511]}
  stolen: {device_ids: stolen.txt}
trusted_networks: []
tenants:
  acme:
    trusted_issuers: ["https://login.acme.example"]
    trusted_networks: [office]
    explicit_consent: true
    learning_until: 2030-01-01
    lists: {office: {networks: [198.51.100.0/24]}}
    tiers: {STEP_UP: {max_age: 1h}}
    journeys:
      login: {floor: STEP_UP, gaps: {place: DENY}}
      payment: {learning_until: 2020-01-01, friction_budget: 0.02}
rules:
  - {name: office, when: lists.office, then: STEP_UP, reason: OFFICE, text: Office., journeys: [login, payment]}
  - {name: abroad, when: "!lists.markets", then: STEP_UP, reason: ABROAD, text: Abroad., journeys: [login]}
  - {name: stolen, when: lists.stolen && !lists.office, then: DENY, reason: STOLEN, text: Stolen., journeys: [login]}
  - {name: carried, when: "lists.carriers || hosting == 1.0", then: STEP_UP, reason: NET, text: Net., journeys: [login]}
"""


def write(directory: Path, stolen: str = "# reported\nlaptop # alex\n\nphone\n") -> Path:
    (directory / "stolen.txt").write_text(stolen)
    (directory / "customer.yaml").write_text(HEAD + SECTIONS)
    return directory / "customer.yaml"
