"""The server's certificate, tried out before it is used, and replaced without a restart."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Final

import grpc
from msgspec import Struct

from riskd.config import Settings
from riskd.core.errors import InvalidSettings, Problem

CLOSED: Final = ssl.SSLWantReadError


class Identity(Struct, frozen=True):
    """What the server shows, and whom it asks for a certificate. `expires` is Unix time."""

    key: bytes
    chain: bytes
    authorities: bytes | None
    expires: float

    def __repr__(self) -> str:
        return f"Identity(expires={self.expires})"


def read_identity(settings: Settings) -> Identity:
    """The files that the settings name, once a handshake in memory has shown that they serve.

    Raises InvalidSettings: unreadable, not PEM, a key of another certificate, expired, not valid yet.
    """
    server = settings.server
    files = (server.tls_key, server.tls_cert, server.tls_client_ca)
    try:
        key, chain, authorities = (Path(file).read_bytes() if file else b"" for file in files)
        expires = _tried(server.tls_cert, server.tls_key, chain)
    except (OSError, ValueError) as error:
        what = f"cannot be served: {_why(error)}"
        remedy = "put a valid certificate and its own key there, PEM, the key without a password"
        raise InvalidSettings([Problem("server.tls_cert", what, remedy)]) from None
    if server.tls_client_ca:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=authorities.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            problem = Problem(
                "server.tls_client_ca", f"holds no authorities: {_why(error)}", "put certificates there, PEM"
            )
            raise InvalidSettings([problem]) from None
    return Identity(key, chain, authorities or None, expires)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason.lower().replace("_", " ") if error.reason else "not PEM"
    return error.strerror or "unreadable" if isinstance(error, OSError) else "not PEM"


def _tried(cert: str, key: str, chain: bytes) -> float:
    """When the certificate expires, after a handshake with a client that trusts it alone.

    Raises OSError, ssl.SSLError among them, and ValueError.
    """
    serving, asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    serving.load_cert_chain(cert, key, password=lambda: "")
    leaf = chain.decode("ascii").partition(ssl.PEM_FOOTER)[0] + ssl.PEM_FOOTER
    asking.load_verify_locations(cadata=leaf)  # what stands round it is ignored
    asking.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    asking.check_hostname = False
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = asking.wrap_bio(down, up), serving.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except CLOSED:
                continue
    shown = client.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(shown["notAfter"])))


class Tls:
    """Credentials that follow the files: connections made from now on get the certificate of the last `reload`."""

    def __init__(self, settings: Settings) -> None:
        """Raises InvalidSettings."""
        self._settings = settings
        self._lock = threading.Lock()
        self.identity = read_identity(settings)
        self._given = self.identity

    def reload(self) -> None:
        """Read the files again. Raises InvalidSettings; the last good certificate then stays."""
        self.identity = read_identity(self._settings)

    def credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`. With authorities, clients must show a certificate of theirs."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self.identity),
            self._fetch,  # type: ignore[arg-type]  # None is what gRPC documents for "as before"
            require_client_authentication=bool(self.identity.authorities),
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC asks at each handshake: None while nothing has changed."""
        with self._lock:
            identity = self.identity
            if identity is self._given:
                return None
            self._given = identity
        return _configuration(identity)


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.chain)], identity.authorities)
