"""From the tables under `relays` to next hops: how they are encrypted, and who we say we are.

Owns which keys of a relay go together. What is in the files that it names is not known here: that
is asked of the `Files` that the caller gives. Without, no file is looked at and no password is
known, which is enough for whoever connects to nobody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from waypost.config.problems import Findings, Path
from waypost.config.tables import RelayTable
from waypost.config.values import SMTPS_PORT
from waypost.route import Login, NextHop, Tls, TlsPolicy


class Files(Protocol):
    """What is in files. Every method raises ValueError with a text for the operator."""

    def secret(self, path: str) -> str:
        """The password in the file, which nobody else may read."""

    def check_ca_file(self, path: str) -> None:
        """Whether it holds certificates."""

    def check_client_cert(self, cert: str, key: str | None) -> None:
        """Whether they are a certificate and its private key, which nobody else may read. Without
        `key`, `cert` holds both.
        """


@dataclass(frozen=True, slots=True)
class RelayReader:
    """Reads the relays of one document; what is wrong with them goes to `found`."""

    files: Files | None
    found: Findings

    def read(self, name: str, table: RelayTable, raw: Mapping[str, object]) -> NextHop:
        """The next hop that the relay is. `raw` is the table as it is written: a key that is wrong
        is there still, and not missed.
        """
        path: Path = ("relays", name)
        for key, text in _contradictions(table, raw):
            self.found.error((*path, key), text)
        if table.url.port == SMTPS_PORT and not table.url.tls.from_the_start:
            text = "port 465 is for TLS from the start, which is written smtps://"
            self.found.warning((*path, "url"), text)
        password = "" if self.files is None else self._read_files(path, table, self.files)
        login = None if table.username is None else Login(table.username, password)
        return replace(table.url, relay=name, tls=_tls(table), login=login)

    def _read_files(self, path: Path, table: RelayTable, files: Files) -> str:
        """Check all files; the password."""
        password = ""
        if table.ca_file is not None:
            with self._told((*path, "ca_file")):
                files.check_ca_file(table.ca_file)
        if table.client_cert is not None:
            with self._told((*path, "client_cert")):
                files.check_client_cert(table.client_cert, table.client_key)
        if table.password_file is not None:
            with self._told((*path, "password_file")):
                password = files.secret(table.password_file)
        return password

    @contextmanager
    def _told(self, path: Path) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            self.found.error(path, str(error))


def _contradictions(table: RelayTable, raw: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Keys that do not go with others, and why."""
    if "username" in raw and "password_file" not in raw:
        yield "username", "a password belongs to it; password_file names the file that holds it"
    if "password_file" in raw and "username" not in raw:
        yield "password_file", "a username belongs to it"
    if "client_key" in raw and "client_cert" not in raw:
        yield "client_key", "a certificate belongs to it; client_cert names the file that holds it"
    if table.ca_file is not None and raw.get("tls", "") in ("", "opportunistic", "require"):
        yield "ca_file", 'certificates are checked under tls = "verify" only; write that as well'
    if table.tls == "never":
        yield from _contradictions_of_never(table)


def _contradictions_of_never(table: RelayTable) -> Iterator[tuple[str, str]]:
    if table.url.tls.from_the_start:
        yield "tls", '"never" contradicts smtps://, which is TLS from the start'
    elif table.username is not None and not _on_loopback(table.url.host):
        text = '"never" would send the password in plaintext; choose "require" or, better, "verify"'
        yield "tls", text
    for key in ("ca_file", "client_cert"):
        if getattr(table, key) is not None:
            yield key, 'it is used in TLS only, and tls = "never" forbids that'


def _tls(table: RelayTable) -> Tls:
    given = table.url.tls
    policy = given.policy if table.tls is None else TlsPolicy(table.tls)
    # Where there is no plaintext to go on in, TLS is not an opportunity.
    secret = table.username is not None and not _on_loopback(table.url.host)
    if policy is TlsPolicy.OPPORTUNISTIC and (given.from_the_start or secret):
        policy = TlsPolicy.REQUIRE
    return Tls(
        policy,
        given.from_the_start,
        table.ca_file,
        table.client_cert,
        table.client_key,
    )


def _on_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
