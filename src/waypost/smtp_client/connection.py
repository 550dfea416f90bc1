"""The transaction: MAIL, RCPT, DATA and the final dot on a connection that is open.

Owns what is said to the host for one message, and the state in which that leaves the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, replace
from typing import cast

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPServerDisconnected
from aiosmtplib.protocol import SMTPProtocol, normalize_message_line_endings
from aiosmtplib.response import SMTPResponse

from waypost.address import Address
from waypost.outcome import Bounced, Outcome, Stage, judge
from waypost.reply import Reply, ReplyClass, Scope
from waypost.smtp_client.limits import BLOCK_OCTETS, BLOCK_SECONDS, QUIT_SECONDS, SECONDS
from waypost.smtp_client.trouble import (
    NoAnswer,
    OutOfStep,
    check_step,
    is_in_step,
    outcome_of,
)

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


def hang_up(client: SMTP) -> None:
    """Close a connection at once: a goodbye of TLS would keep its socket while the host likes."""
    transport = client.transport
    client.close()
    if transport is not None:
        cast(asyncio.WriteTransport, transport).abort()


class Connection:
    """A connection to one host that has greeted us; `Opener.open` makes it."""

    def __init__(self, client: SMTP) -> None:
        self.messages = 0
        """How many it was given."""
        self._client = client
        self._in_step = True
        self._begun = False
        """Whether a transaction was left unfinished, and RSET has to end it."""
        self._stage = Stage.MAIL

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
        self.messages += 1
        self._stage = Stage.MAIL
        try:
            async with asyncio.timeout_at(until):
                refused = await self._envelope(mail, reused)
            return refused or await self._content(mail.content)
        except (SMTPException, OSError) as error:
            self._in_step = False
            if reused and self._stage is Stage.MAIL:
                raise NoAnswer from error
            return replace(outcome_of(self._stage, error), ambiguous=self._stage is Stage.DOT)
        except BaseException:
            self._in_step = False
            raise

    async def close(self) -> None:
        """Say QUIT if that is still possible, and hang up."""
        if self.usable:
            with contextlib.suppress(SMTPException, OSError):
                await self._client.quit(timeout=QUIT_SECONDS)
        hang_up(self._client)

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

    async def _envelope(self, mail: Mail, reused: bool) -> Outcome | None:
        """Up to the answer to DATA; None when that was a yes."""
        if self._begun:
            await self._reset()
        for stage, command in self._commands(mail):
            self._stage = stage
            reply = await self._ask(command)
            if reused and stage is Stage.MAIL and reply.code == 421:
                raise NoAnswer
            if reply.code // 100 != (3 if stage is Stage.DATA else 2):
                self._begun = True
                self._in_step = reply.code // 100 in (4, 5)
                return judge(stage, reply)
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

    async def _reset(self) -> None:
        # Now and not before: what was refused is told without waiting for this answer.
        if (await self._ask(b"RSET")).code != 250:
            raise OutOfStep("RSET was refused")
        self._begun = False

    async def _ask(self, command: bytes) -> Reply:
        response = await self._client.execute_command(command, timeout=SECONDS[self._stage])
        check_step(self._client)
        return Reply.read(response.code, response.message)

    async def _content(self, content: bytes) -> Outcome:
        protocol = self._client.protocol
        if protocol is None:
            raise SMTPServerDisconnected("Connection lost")
        # A bare CR or LF must not leave: some hosts end a line there (RFC 5321 section 2.3.8).
        stuffed = _LEADING_DOT.sub(b"..", normalize_message_line_endings(content))
        # Waited for from the start: a host may refuse the message before it has read it all.
        answer = asyncio.create_task(protocol.read_response())
        await asyncio.sleep(0)  # so that it reads by now: what comes before that, aiosmtplib drops
        try:
            self._in_step = await _write(protocol, stuffed + b".\r\n", answer)
            if self._in_step:
                self._stage = Stage.DOT
            async with asyncio.timeout(SECONDS[Stage.DOT]):
                response = await answer
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
        if response.code == 421 or not is_in_step(self._client):
            self._in_step = False
        if self._stage is not Stage.DOT and response.code // 100 not in (4, 5):
            raise OutOfStep("an answer to half a message")
        return judge(Stage.DOT, Reply.read(response.code, response.message))


async def _write(protocol: SMTPProtocol, data: bytes, answer: asyncio.Future[SMTPResponse]) -> bool:
    """Write `data` as fast as the host reads. False: it has answered, or gone, before the end."""
    last = (len(data) - 1) // BLOCK_OCTETS * BLOCK_OCTETS
    for start in range(0, last, BLOCK_OCTETS):
        if answer.done():
            return False
        protocol.write(data[start : start + BLOCK_OCTETS])
        try:
            async with asyncio.timeout(BLOCK_SECONDS):
                await protocol._drain_helper()  # noqa: SLF001  # no public way
        except OSError:
            if not answer.done():
                raise
    if answer.done():
        return False
    protocol.write(data[last:])
    return True


def _bounced(line: str) -> Bounced:
    return Bounced(Reply.own(line), ReplyClass.MESSAGE, Scope.MESSAGE, Stage.MAIL)
