"""The server's TLS certificate: tested before it is used, and renewed without a restart."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from pathlib import Path

import grpc
from msgspec import Struct

from riskd.config import Settings
from riskd.core.errors import InvalidSettings, Problem


class Identity(Struct, frozen=True):
    """The server's key and certificate chain, and the authorities whose certificates clients must show.

    All PEM. `authorities`: None where clients need no certificate. The server certificate is valid from `begins` until
    `expires`, epoch seconds.
    """

    key: bytes
    chain: bytes
    authorities: bytes | None
    begins: float
    expires: float

    def __repr__(self) -> str:
        return f"Identity(expires={self.expires})"


def read_identity(settings: Settings) -> Identity:
    """Read the files that the settings name, and test them in a TLS handshake in memory.

    Raises InvalidSettings if one is unreadable or not PEM, if the key does not belong to the certificate, and if the
    certificate has expired or is not valid yet.
    """
    server = settings.server
    files = (server.tls_key, server.tls_cert, server.tls_client_ca)
    try:
        key, chain, authorities = found = _contents(files)
        begins, expires = _test(server.tls_cert, server.tls_key, chain)
        if _contents(files) != found:  # renewed meanwhile, so what was tested is not what was read
            return read_identity(settings)
    except (OSError, ValueError) as error:
        what = f"cannot be used with server.tls_key: {_why(error)}"
        remedy = "provide a valid certificate chain and its private key, both PEM, the key without a password"
        raise InvalidSettings([Problem("server.tls_cert", what, remedy)]) from None
    if server.tls_client_ca:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=_pem(authorities))
        except (ssl.SSLError, ValueError) as error:
            what, remedy = f"has no usable certificates: {_why(error)}", "provide the authorities' certificates, PEM"
            raise InvalidSettings([Problem("server.tls_client_ca", what, remedy)]) from None
    return Identity(key, chain, authorities or None, begins, expires)


def _contents(files: Sequence[str]) -> list[bytes]:
    return [Path(file).read_bytes() if file else b"" for file in files]


def _pem(content: bytes) -> str:
    """Certificates as text, without the letters of comments in other languages."""
    return content.decode("ascii", "ignore")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason.lower().replace("_", " ") if error.reason else "not PEM"
    return error.strerror or "unreadable" if isinstance(error, OSError) else "not PEM"


def _test(cert: str, key: str, chain: bytes) -> tuple[float, float]:
    """Complete a handshake with a client that trusts only this certificate; return from when until when it is valid.

    Raises OSError, which includes ssl.SSLError, and ValueError.
    """
    serving, asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    serving.load_cert_chain(cert, key, password=lambda: "")
    leaf = _pem(chain).partition(ssl.PEM_FOOTER)[0] + ssl.PEM_FOOTER
    asking.load_verify_locations(cadata=leaf)  # text before and after the certificate is ignored
    asking.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    asking.check_hostname = False
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = asking.wrap_bio(down, up), serving.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = client.getpeercert() or {}
    begins, expires = (float(ssl.cert_time_to_seconds(str(shown[name]))) for name in ("notBefore", "notAfter"))
    return begins, expires


class Tls:
    """Server credentials that can be renewed: new connections get the certificate of the last `reload`."""

    def __init__(self, settings: Settings) -> None:
        """Raises InvalidSettings."""
        self._settings = settings
        self._lock = threading.Lock()
        self.identity = read_identity(settings)
        self._given = self.identity

    def reload(self) -> None:
        """Read the files again. Raises InvalidSettings if they are bad; the previous certificate then stays in use."""
        self.identity = read_identity(self._settings)

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials for `add_secure_port`. With authorities, clients must show a certificate issued by one."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self.identity),
            self._fetch,  # type: ignore[arg-type]  # None is what gRPC documents for "as before"
            require_client_authentication=bool(self.identity.authorities),
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """gRPC calls this at each handshake. Returns None if the certificate is still the one it got last."""
        with self._lock:
            identity = self.identity
            if identity is self._given:
                return None
            self._given = identity
        return _configuration(identity)


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.chain)], identity.authorities)
