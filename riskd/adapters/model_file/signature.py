"""Signs bundles and checks signatures: Ed25519 (RFC 8032) over the manifest, which has the hashes of the other files.

The signed message is the content of `manifest.json`, byte for byte, so that other tools can check it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from riskd.core.errors import UNDECODABLE, InvalidModel, Problem
from riskd.host.files import SHARED, cause, put

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE: Final = "signature.json"
_SIGN: Final = "sign it with a key of models.trusted_keys: riskd model sign --key FILE"


class Signature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The public key (32 bytes) and the signature (64 bytes), both hexadecimal."""

    key: str
    signature: str


def read_signature(path: Path) -> Signature | None:
    """The signature of the bundle in directory `path`, not checked; None if it has none. Raises InvalidModel."""
    file = path / SIGNATURE
    try:
        with file.open("rb") as stream:
            return msgspec.json.decode(stream.read(4096), type=Signature)
    except FileNotFoundError:
        return None
    except (OSError, *UNDECODABLE) as error:
        raise InvalidModel(
            [Problem(str(file), f"is not a signature: {cause(error)}", "sign the bundle again")]
        ) from error


def sign(path: Path, manifest: bytes, key: Path) -> Signature:
    """Sign a manifest with the private key in file `key` (PEM, PKCS 8), and write the signature into the bundle.

    Raises InvalidModel if the key cannot be read or is not an Ed25519 key.
    """
    private = _private_key(key)
    signed = Signature(key=private.public_key().public_bytes_raw().hex(), signature=private.sign(manifest).hex())
    put(path / SIGNATURE, msgspec.json.format(msgspec.json.encode(signed), indent=2) + b"\n", SHARED)
    return signed


def signature_problems(path: Path, manifest: bytes, trusted: Sequence[str]) -> Iterator[Problem]:
    """Why the bundle in `path`, whose manifest has these bytes, lacks a valid signature by a trusted key."""
    where = str(path / SIGNATURE)
    try:
        found = read_signature(path)
    except InvalidModel as error:
        yield from error.problems
        return
    if found is None:
        yield Problem(where, "is missing, and models.trusted_keys requires signed bundles", _SIGN)
    elif found.key not in trusted:
        yield Problem(where, f"is by the key {found.key[:64]}, which is not in models.trusted_keys", _SIGN)
    elif not verified(found, manifest):
        yield Problem(
            where, "does not match manifest.json: one of them was changed", f"review the bundle, then {_SIGN}"
        )


def verified(found: Signature, manifest: bytes) -> bool:
    """Whether a signature is valid for these bytes and the key that it names. Does not say whether to trust the key.

    Raises InvalidModel if `cryptography` is not installed.
    """
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra, needed only for signatures
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ImportError as error:
        raise _not_installed() from error
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(found.key)).verify(bytes.fromhex(found.signature), manifest)
    except (InvalidSignature, ValueError):
        return False
    return True


def _private_key(file: Path) -> Ed25519PrivateKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415
    except ImportError as error:
        raise _not_installed() from error
    remedy = "make one: openssl genpkey -algorithm ed25519 -out FILE"
    try:
        private = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise InvalidModel([Problem(str(file), f"cannot be read: {error.strerror}", remedy)]) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidModel([Problem(str(file), "is not a PEM private key without a password", remedy)]) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise InvalidModel([Problem(str(file), "is not an Ed25519 key", remedy)])
    return private


def _not_installed() -> InvalidModel:
    what = "signatures need the package cryptography, which is not installed"
    return InvalidModel([Problem("models.trusted_keys", what, "in riskd's repository: pip install '.[sign]'")])
