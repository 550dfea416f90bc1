"""A certificate authority for tests, and what servers and clients do with its certificates."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import trustme

HOST = "127.0.0.1"
"""What the certificates of fake next hops are made out to: that is how they are connected to."""


@dataclass(frozen=True)
class Authority:
    """A private CA. Certificates are expensive, so `authority` makes one for all tests."""

    ca: trustme.CA = field(default_factory=trustme.CA)

    def server(self, name: str = HOST, expires: datetime.datetime | None = None) -> ssl.SSLContext:
        """A server's context, with a certificate made out to `name`."""
        return _server(self.ca.issue_cert(name, not_after=expires))

    def demanding_server(self) -> ssl.SSLContext:
        """A server that talks to nobody without a client certificate of this CA."""
        context = self.server()
        context.verify_mode = ssl.CERT_REQUIRED
        self.ca.configure_trust(context)
        return context

    def write_ca(self, directory: Path) -> Path:
        """The CA's own certificate, for `ca_file`."""
        path = directory / "ca.pem"
        self.ca.cert_pem.write_to_path(path)
        return path

    def write_client_cert(self, directory: Path) -> tuple[Path, Path]:
        """A client's certificate and its key, for `client_cert` and `client_key`."""
        issued = self.ca.issue_cert("mx.mydomain.net")
        cert, key = directory / "client.pem", directory / "client.key"
        issued.cert_chain_pems[0].write_to_path(cert)
        issued.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return cert, key


@cache
def authority() -> Authority:
    """The authority that tests trust."""
    return Authority()


@cache
def stranger() -> Authority:
    """An authority that nobody trusts."""
    return Authority()


def self_signed() -> ssl.SSLContext:
    """A server's context with a certificate that nobody but itself has signed."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with ca.private_key_pem.tempfile() as key, ca.cert_pem.tempfile() as cert:
        context.load_cert_chain(cert, key)
    return context


def expired() -> datetime.datetime:
    """A time at which certificates had ended."""
    return datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)


def _server(cert: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context
