"""One attempt: a conversation with one host that may end with the message accepted.

The sole user of aiosmtplib. Owns connecting, the greeting, MAIL, RCPT, DATA and the final dot, and
says what each answer or silence makes of the attempt (`waypost.outcome.judge`).

Promises: never raises for what a host does, but for `NoAnswer` (nothing was said about the message
yet, so asking once more repeats nothing); once DATA was answered with 354 the attempt runs to its
end, whatever the deadline; a connection on which anything went out of step is not used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from dataclasses import dataclass

from aiosmtplib import SMTP
from aiosmtplib.errors import (
    SMTPException,
    SMTPHeloError,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)
from aiosmtplib.protocol import normalize_message_line_endings

from waypost.address import Address
from waypost.outcome import Bounced, Deferred, Outcome, Stage, judge
from waypost.reply import Reply, ReplyClass, Scope
from waypost.route import Host

CONNECT_SECONDS = 30.0
"""Postfix's own default (postconf(5), smtp_connect_timeout)."""
COMMAND_SECONDS = 300.0
"""RFC 5321 section 4.5.3.2: five minutes for the greeting, MAIL and RCPT."""
DOT_SECONDS = 600.0
"""RFC 5321 section 4.5.3.2.6: ten minutes after the final dot."""
SLOWEST_OCTETS_PER_SECOND = 16 * 1024
"""What a large message's way out may take on top of DOT_SECONDS."""

_LEADING_DOT = re.compile(rb"(?m)^\.")


@dataclass(frozen=True, slots=True)
class Mail:
    """A message for one destination, as it goes out."""

    sender: str
    to: Address
    content: bytes
    smtputf8: bool
    """Whether its envelope or header needs SMTPUTF8 (RFC 6531 section 3.1)."""
    eight_bit: bool


class NoAnswer(Exception):  # it reads as what it says
    """The connection was gone before MAIL was answered."""


class Unavailable(Exception):  # it reads as what it says
    """No conversation came about; `outcome` is what that makes of the attempt."""

    def __init__(self, outcome: Deferred) -> None:
        super().__init__(str(outcome.reply))
        self.outcome = outcome


class Connection:
    """A connection to one host that has greeted us. Create it with `Connection.open`."""

    def __init__(self, client: SMTP) -> None:
        self._client = client
        self._in_step = True

    @classmethod
    async def open(cls, host: Host, *, helo: str, bind: str | None, until: float) -> Connection:
        """Connect and say EHLO. `until` is the loop's time at which to give up.

        Raises Unavailable.
        """
        stage = Stage.CONNECT
        client: SMTP | None = None
        try:
            async with asyncio.timeout_at(until):
                sock = await _connected(host, bind)
                client = SMTP(
                    sock=sock, start_tls=False, local_hostname=helo, timeout=COMMAND_SECONDS
                )
                stage = Stage.GREETING
                await client.connect()
                stage = Stage.EHLO
                await _introduce(client)
        except SMTPResponseException as error:
            outcome = _answered(stage, error.code, error.message)
        except (SMTPException, OSError, ValueError) as error:
            outcome = _silent(stage, error)
        else:
            return cls(client)
        if client is not None:
            client.close()
        raise Unavailable(outcome)

    @property
    def usable(self) -> bool:
        """Whether another message may be given to this connection."""
        return self._in_step and self._client.is_connected

    async def send(self, mail: Mail, *, until: float, reused: bool) -> Outcome:
        """Give the message to the host. `until` is the loop's time at which to give up, up to the
        answer to DATA. Raises NoAnswer, and that only on a `reused` connection.
        """
        lacking = self._lacking(mail)
        if lacking is not None:
            return lacking
        stage = Stage.MAIL
        try:
            async with asyncio.timeout_at(until):
                for stage, command in self._commands(mail):
                    reply = await self._ask(command)
                    if reused and stage is Stage.MAIL and reply.code == 421:
                        raise NoAnswer
                    if reply.code // 100 != (3 if stage is Stage.DATA else 2):
                        return await self._refused(stage, reply)
            stage = Stage.DOT
            return judge(stage, await self._content(mail.content))
        except (SMTPException, OSError) as error:
            self._in_step = False
            if reused and stage is Stage.MAIL:
                raise NoAnswer from error
            return _interrupted(stage, error)
        except BaseException:
            self._in_step = False
            raise

    async def close(self) -> None:
        """Say QUIT if that is still possible, and hang up."""
        if self.usable:
            with contextlib.suppress(SMTPException, OSError):
                await self._client.quit(timeout=5)
        self._client.close()

    def _lacking(self, mail: Mail) -> Bounced | None:
        """What the host said in EHLO that it cannot take."""
        extensions = self._client.esmtp_extensions
        if mail.smtputf8 and "smtputf8" not in extensions:
            return _bounced("553 5.6.7 SMTPUTF8 is needed and not offered")
        if mail.eight_bit and "8bitmime" not in extensions:
            return _bounced("554 5.6.3 8BITMIME is needed and not offered")
        limit = extensions.get("size", "").strip()
        if limit.isdecimal() and 0 < int(limit) < len(mail.content):
            return _bounced("552 5.3.4 the message is larger than the next hop takes")
        return None

    def _commands(self, mail: Mail) -> list[tuple[Stage, bytes]]:
        extensions = self._client.esmtp_extensions
        options = [
            f" SIZE={len(mail.content)}" if "size" in extensions else "",
            " BODY=8BITMIME" if mail.eight_bit else "",
            " SMTPUTF8" if mail.smtputf8 else "",
        ]
        sender = mail.sender.encode(errors="surrogateescape")
        return [
            (Stage.MAIL, b"MAIL FROM:<" + sender + b">" + "".join(options).encode()),
            (Stage.RCPT, f"RCPT TO:<{mail.to}>".encode()),
            (Stage.DATA, b"DATA"),
        ]

    async def _ask(self, command: bytes) -> Reply:
        response = await self._client.execute_command(command)
        return self._read(response.code, response.message)

    async def _content(self, content: bytes) -> Reply:
        protocol = self._client.protocol
        if protocol is None:
            raise SMTPServerDisconnected("Connection lost")
        # A bare CR or LF must not leave: some hosts end a line there (RFC 5321 section 2.3.8).
        stuffed = _LEADING_DOT.sub(b"..", normalize_message_line_endings(content))
        protocol.write(stuffed + b".\r\n")
        response = await protocol.read_response(
            timeout=DOT_SECONDS + len(stuffed) / SLOWEST_OCTETS_PER_SECOND
        )
        return self._read(response.code, response.message)

    def _read(self, code: int, message: str) -> Reply:
        # A reply that came too early would be taken for the next answer.
        protocol = self._client.protocol
        if code == 421 or (protocol is not None and protocol._buffer):  # noqa: SLF001  # no public way to ask
            self._in_step = False
        return Reply.read(code, message)

    async def _refused(self, stage: Stage, reply: Reply) -> Outcome:
        outcome = judge(stage, reply)
        if reply.code // 100 not in (4, 5):
            self._in_step = False
        if self.usable:
            try:
                if (await self._ask(b"RSET")).code != 250:
                    self._in_step = False
            except (SMTPException, OSError):
                self._in_step = False
        return outcome


async def _connected(host: Host, bind: str | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if bind is not None:
            sock.bind((bind, 0))
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, (host.address, host.port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _introduce(client: SMTP) -> None:
    try:
        await client.ehlo()
    except SMTPHeloError as error:
        # A host of the old kind knows HELO only (RFC 5321 section 3.2).
        if error.code // 100 != 5 or not client.is_connected:
            raise
        await client.helo()


def _answered(stage: Stage, code: int, text: str) -> Deferred:
    outcome = judge(stage, Reply.read(code, text))
    if not isinstance(outcome, Deferred):
        raise AssertionError(f"an answer at {stage} can only defer")
    return outcome


def _silent(stage: Stage, error: Exception) -> Deferred:
    if isinstance(error, TimeoutError | SMTPTimeoutError):
        reply = Reply.own(f"451 4.4.2 no answer in time ({stage})")
        return Deferred(reply, ReplyClass.TIMEOUT, Scope.HOST, stage)
    if isinstance(error, OSError) and error.strerror:
        reply = Reply.own(f"451 4.4.1 {error.strerror} ({stage})")
    else:
        reply = Reply.own(f"451 4.4.2 connection lost ({stage})")
    return Deferred(reply, ReplyClass.CONNECT, Scope.HOST, stage)


def _interrupted(stage: Stage, error: Exception) -> Deferred:
    if isinstance(error, SMTPResponseException):
        # Gibberish, or an endless reply: the library's own code says so.
        reply = Reply.own(f"451 4.5.0 no SMTP reply ({stage})")
        told = Deferred(reply, ReplyClass.UNAVAILABLE, Scope.HOST, stage)
    else:
        told = _silent(stage, error)
    if stage is not Stage.DOT:
        return told
    return Deferred(told.reply, told.reply_class, told.scope, stage, ambiguous=True)


def _bounced(line: str) -> Bounced:
    return Bounced(Reply.own(line), ReplyClass.MESSAGE, Scope.MESSAGE, Stage.MAIL)
