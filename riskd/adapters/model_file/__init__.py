"""Reads, seals and signs model bundles on disk."""

from __future__ import annotations

from riskd.adapters.model_file.bundle import (
    CARD,
    EVALUATION,
    FOREST,
    MANIFEST,
    MAX_BYTES,
    REFERENCE,
    TRAINING,
    Manifest,
    load_model,
    read_card,
    read_evaluation,
    read_forest,
    read_manifest,
    read_reference,
    read_training,
    render,
    seal,
    write_bundle,
)
from riskd.adapters.model_file.signature import SIGNATURE, Signature, read_signature, sign, verified

__all__ = [
    "CARD",
    "EVALUATION",
    "FOREST",
    "MANIFEST",
    "MAX_BYTES",
    "REFERENCE",
    "SIGNATURE",
    "TRAINING",
    "Manifest",
    "Signature",
    "load_model",
    "read_card",
    "read_evaluation",
    "read_forest",
    "read_manifest",
    "read_reference",
    "read_signature",
    "read_training",
    "render",
    "seal",
    "sign",
    "verified",
    "write_bundle",
]
