"""From a host of a next hop to a connection on which mail may be sent.

Owns the greeting, EHLO, STARTTLS (RFC 3207) and AUTH (RFC 4954), and what each TLS policy makes of
them. Promises: under `require` and `verify` nothing but EHLO and STARTTLS is said in plaintext; a
password is said in TLS or to loopback only; what a host offers is read anew after STARTTLS.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from dataclasses import dataclass, field

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPHeloError, SMTPResponseException

from waypost import tls
from waypost.outcome import Deferred, Stage
from waypost.reply import ReplyClass
from waypost.route import Host, Login, NextHop, TlsPolicy
from waypost.smtp_client.connection import Connection, hang_up
from waypost.smtp_client.limits import SECONDS
from waypost.smtp_client.racing import connect
from waypost.smtp_client.trouble import (
    Unavailable,
    check_step,
    deferred,
    outcome_of,
    outcome_of_opening,
)


class _TlsBroken(Exception):
    """STARTTLS was begun, and no conversation in TLS came of it."""

    def __init__(self, address: str, outcome: Deferred) -> None:
        super().__init__(str(outcome.reply))
        self.address = address
        self.outcome = outcome


@dataclass(slots=True)
class Opener:
    """Opens connections to the hosts of one next hop."""

    next_hop: NextHop
    helo: str
    bind: str | None
    _context: ssl.SSLContext | None = field(default=None, init=False)

    async def open(self, host: Host, *, until: float) -> Connection:
        """Connect to `host` and introduce ourselves. `until` is the loop's time at which to give
        up. Raises Unavailable.
        """
        policy = self.next_hop.tls.policy
        try:
            return await self._open(host, policy, until)
        except _TlsBroken as broken:
            if policy is not TlsPolicy.OPPORTUNISTIC or asyncio.get_running_loop().time() >= until:
                raise Unavailable(broken.outcome, broken.address) from broken
            same = Host((broken.address,), host.port)
        return await self._open(same, TlsPolicy.NEVER, until)

    async def _open(self, host: Host, policy: TlsPolicy, until: float) -> Connection:
        """Raises Unavailable, _TlsBroken."""
        context = await self._tls_context()
        try:
            async with asyncio.timeout_at(until):
                address, sock = await connect(host, self.bind)
        except OSError as error:
            raise Unavailable(outcome_of(Stage.CONNECT, error)) from error
        session = _Session(self.next_hop, policy, self.helo, context, address, sock)
        try:
            async with asyncio.timeout_at(until):
                await session.open()
        except (SMTPException, OSError, ValueError) as error:
            hang_up(session.client)
            if session.tls_is_fresh and not _is_refusal(session.stage, error):
                outcome = outcome_of_opening(Stage.STARTTLS, error)
                raise _TlsBroken(address, outcome) from error
            raise Unavailable(outcome_of_opening(session.stage, error), address) from error
        except BaseException:
            hang_up(session.client)
            raise
        return Connection(session.client)

    async def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            try:
                # In a thread: it reads files.
                self._context = await asyncio.to_thread(tls.make_context, self.next_hop.tls)
            except tls.BadTlsFile as error:
                raise Unavailable(_no_tls(str(error))) from error
        return self._context


class _Session:
    """One connected socket on its way to a conversation."""

    def __init__(
        self,
        next_hop: NextHop,
        policy: TlsPolicy,
        helo: str,
        context: ssl.SSLContext,
        address: str,
        sock: socket.socket,
    ) -> None:
        self.stage = Stage.GREETING
        self.tls_is_fresh = False
        """From STARTTLS until the host has said something in TLS: until then it may be broken, for
        in TLS 1.3 a client learns late that its certificate is not wanted (RFC 8446 section 4.4.2).
        """
        self._next_hop = next_hop
        self._policy = policy
        self._in_tls = next_hop.tls.from_the_start
        self._address = address
        self.client = SMTP(
            sock=sock,
            # Whom the certificate must name. Of mail exchangers none is asked to prove its name.
            hostname=None if next_hop.port is None else next_hop.host,
            use_tls=self._in_tls,
            start_tls=False,
            tls_context=context,
            local_hostname=helo,
        )

    async def open(self) -> None:
        """Raises Unavailable, and what aiosmtplib and `ssl` raise."""
        await self.client.connect(timeout=SECONDS[Stage.GREETING])
        check_step(self.client)
        await self._introduce()
        if not self._in_tls and self._policy is not TlsPolicy.NEVER:
            await self._start_tls()
        if self._next_hop.login is not None:
            await self._log_in(self._next_hop.login)

    async def _introduce(self) -> None:
        self.stage = Stage.EHLO
        try:
            await self.client.ehlo(timeout=SECONDS[Stage.EHLO])
        except SMTPHeloError as error:
            # A host of the old kind knows HELO only (RFC 5321 section 3.2).
            if error.code // 100 != 5 or not self.client.is_connected:
                raise
            await self.client.helo(timeout=SECONDS[Stage.EHLO])
        check_step(self.client)

    async def _start_tls(self) -> None:
        optional = self._policy is TlsPolicy.OPPORTUNISTIC
        if not self.client.supports_extension("starttls"):
            if optional:
                return
            raise Unavailable(_no_tls("TLS is required and not offered"), self._address)
        self.stage = Stage.STARTTLS
        self.tls_is_fresh = True
        try:
            await self.client.starttls(timeout=SECONDS[Stage.STARTTLS])
        except SMTPResponseException as error:
            if optional and error.code // 100 in (4, 5) and error.code != 421:
                self.tls_is_fresh = False
                return
            raise
        self._in_tls = True
        await self._introduce()
        self.tls_is_fresh = False

    async def _log_in(self, login: Login) -> None:
        self.stage = Stage.AUTH
        if not self._in_tls and not ipaddress.ip_address(self._address).is_loopback:
            raise Unavailable(_no_login("no password is sent in plaintext"), self._address)
        # PLAIN first, as every server has it: what it does not hide, TLS does. One try only: more
        # of them with a wrong password get the account locked.
        for name, mechanism in (
            ("plain", self.client.auth_plain),
            ("login", self.client.auth_login),
            ("cram-md5", self.client.auth_crammd5),
        ):
            if name in self.client.server_auth_methods:
                await mechanism(login.username, login.password, timeout=SECONDS[Stage.AUTH])
                check_step(self.client)
                return
        raise Unavailable(_no_login("no way to log in is offered that we know"), self._address)


def _is_refusal(stage: Stage, error: Exception) -> bool:
    """Whether it is an answer to the EHLO after STARTTLS, so that TLS is not to blame."""
    return stage is Stage.EHLO and isinstance(error, SMTPHeloError) and error.code // 100 in (4, 5)


def _no_tls(text: str) -> Deferred:
    return deferred(Stage.STARTTLS, f"451 4.7.4 {text}", ReplyClass.MISCONFIGURED)


def _no_login(text: str) -> Deferred:
    return deferred(Stage.AUTH, f"451 4.7.0 {text}", ReplyClass.MISCONFIGURED)
