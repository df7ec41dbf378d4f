"""Who made a bundle: an Ed25519 signature (RFC 8032) of its manifest, which has the hashes of everything else.

What is signed are the bytes of `manifest.json` as they are, so that any other tool can check it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from riskd.core.errors import UNDECODABLE, InvalidModel, Problem
from riskd.files import SHARED, put

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE: Final = "signature.json"
_SIGN: Final = "riskd model sign --key FILE, by somebody whose key is in models.trusted_keys"


class Signature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Public key and signature, in hexadecimal: 32 and 64 bytes."""

    key: str
    signature: str


def read_signature(path: Path) -> Signature | None:
    """Who says to have signed the bundle in directory `path`; None where nobody has. Raises InvalidModel."""
    file = path / SIGNATURE
    try:
        with file.open("rb") as stream:
            return msgspec.json.decode(stream.read(4096), type=Signature)
    except FileNotFoundError:
        return None
    except (OSError, *UNDECODABLE) as error:
        raise InvalidModel([Problem(str(file), f"is no signature: {error}", "sign the bundle again")]) from error


def sign(path: Path, manifest: bytes, key: Path) -> Signature:
    """Sign a manifest with the private key in file `key` (PEM, PKCS 8) and write that beside it.

    Raises InvalidModel when the key is not an Ed25519 key that can be read.
    """
    private = _private_key(key)
    signed = Signature(key=private.public_key().public_bytes_raw().hex(), signature=private.sign(manifest).hex())
    put(path / SIGNATURE, msgspec.json.format(msgspec.json.encode(signed), indent=2) + b"\n", SHARED)
    return signed


def signature_problems(path: Path, manifest: bytes, trusted: Sequence[str]) -> Iterator[Problem]:
    """Why the bundle in `path`, with these bytes as its manifest, has no signature by a trusted key."""
    where = str(path / SIGNATURE)
    try:
        found = read_signature(path)
    except InvalidModel as error:
        yield from error.problems
        return
    if found is None:
        yield Problem(where, "is missing: models.trusted_keys asks for signed bundles", _SIGN)
    elif found.key not in trusted:
        yield Problem(where, f"signed with {found.key[:64]}, which models.trusted_keys does not have", _SIGN)
    elif not verified(found, manifest):
        yield Problem(where, "does not fit manifest.json: one of them was changed", f"review the bundle, then {_SIGN}")


def verified(found: Signature, manifest: bytes) -> bool:
    """Whether a signature is that of its own key over these bytes. Whether to trust the key is another question.

    Raises InvalidModel where `cryptography` is not installed.
    """
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra, needed by who signs alone
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
        raise InvalidModel([Problem(str(file), "is no private key in PEM without a password", remedy)]) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise InvalidModel([Problem(str(file), "is not an Ed25519 key", remedy)])
    return private


def _not_installed() -> InvalidModel:
    what = "signatures need the package cryptography"
    return InvalidModel([Problem("models.trusted_keys", what, "pip install 'riskd[sign]'")])
