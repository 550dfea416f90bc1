"""The SMTP that a fake next hop speaks: one `Conversation` per connection (RFC 5321).

Owns what a misbehaviour can do: it is given the Conversation, says what it likes by `send`, and
returns the reply, None for the usual one, or raises HangUp. Promises: once the client has heard
that a message is accepted, it is among the next hop's messages; bytes are kept as they came.
"""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import hmac
import itertools
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waypost.testing.next_hop import FakeNextHop

_PATH = re.compile(r'(?:FROM|TO):\s*<((?:"(?:[^"\\]|\\.)*"|[^">])*)>\s*(.*)\Z', re.IGNORECASE)

Misbehaviour = Callable[["Conversation"], Awaitable[str | None]]
Answer = str | Misbehaviour


@dataclass(frozen=True, slots=True)
class Message:
    """A message that a next hop took responsibility for."""

    sender: str
    """The reverse-path without brackets; empty for the null sender."""
    recipients: tuple[str, ...]
    """Those that were accepted, as they were written."""
    data: bytes
    """As it came, lines ended by CRLF, dots unstuffed."""
    mail_parameters: str
    """What followed the path in MAIL: `BODY=8BITMIME SIZE=1000`."""
    rcpt_parameters: tuple[str, ...]
    """What followed the path in RCPT, for each of `recipients`."""
    connection: int
    """The number of the connection it came on, from 1, per next hop."""
    order: int
    """Grows with every message that any FakeNextHop of this process takes."""
    tls: bool
    """Whether it came over TLS."""
    login: str | None
    """The user name of whoever had logged in (RFC 4954)."""

    @property
    def parsed(self) -> EmailMessage:
        """The message as Python's `email` package reads it."""
        return email.message_from_bytes(self.data, policy=email.policy.default)


class HangUp(Exception):
    """Close the connection without another word."""


_order = itertools.count(1)


@dataclass(slots=True)
class Conversation:
    """One connection, from the greeting to its end; what a misbehaviour acts upon."""

    next_hop: FakeNextHop
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sender: str | None = None
    mail_parameters: str = ""
    recipients: dict[str, str] = field(default_factory=dict)
    """Those accepted so far in this transaction, with their parameters."""
    data: bytes = b""
    in_tls: bool = False
    login: str | None = None
    usual: str = ""
    """What would be said now, were all well."""
    pause: float = 0.0
    """Seconds between any two octets that are sent."""

    async def run(self) -> None:
        """Hold the conversation. Raises HangUp, OSError or EOFError when it ends early."""
        if await self._answer("greeting", f"220 {self.next_hop.name} ESMTP") != 220:
            return
        verb = ""
        while verb != "quit":
            line = await self._line()
            verb, _, argument = line.partition(" ")
            verb = verb.lower()
            self.next_hop.commands.append(line)
            match verb:
                case "mail":
                    await self._mail(argument)
                case "rcpt":
                    await self._rcpt(argument)
                case "data":
                    await self._data()
                case "starttls":
                    await self._start_tls()
                case "auth":
                    await self._auth(argument)
                case _:
                    await self._answer(verb, self._usual(verb))

    def _usual(self, verb: str) -> str:
        match verb:
            case "ehlo":
                return self.introduction(self.extensions())
            case "rset":
                self._reset()
                return "250 2.0.0 ok"
            case "helo" | "noop":
                return "250 ok"
            case "quit":
                return "221 2.0.0 bye"
        return "502 5.5.2 no such command"

    def introduction(self, extensions: Iterable[str]) -> str:
        """The reply to EHLO that offers `extensions`."""
        return _lines(250, [self.next_hop.name, *extensions])

    def extensions(self) -> Iterator[str]:
        """What is offered at EHLO at this point of the conversation."""
        yield from self.next_hop.extensions
        if self.next_hop.tls is not None and not self.in_tls:
            yield "STARTTLS"
        elif self.next_hop.logins:
            yield f"AUTH {' '.join(self.next_hop.mechanisms)}"

    def take(self) -> None:
        """Keep the message, as if it had been accepted."""
        assert self.sender is not None
        message = Message(
            self.sender,
            tuple(self.recipients),
            self.data,
            self.mail_parameters,
            tuple(self.recipients.values()),
            self.number,
            next(_order),
            self.in_tls,
            self.login,
        )
        self.next_hop.messages.append(message)

    async def send(self, data: bytes) -> None:
        """Write bytes to the client; for misbehaviours that say more than one reply."""
        for piece in [data] if self.pause == 0 else _octets(data):
            if self.pause > 0:
                # Before it and not after it: what the client says to the last octet is for others.
                await asyncio.sleep(self.pause)
            self.writer.write(piece)
            await self.writer.drain()

    async def _start_tls(self) -> None:
        context = self.next_hop.tls
        if context is None or self.in_tls:
            await self._answer("starttls", "502 5.5.1 no TLS here")
        elif await self._answer("starttls", "220 2.0.0 go ahead") == 220:
            await self.writer.start_tls(context)
            self.in_tls = True
            self._reset()

    async def _auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        name = await self._proven(mechanism.upper(), initial)
        usual = "535 5.7.8 wrong user name or password" if name is None else "235 2.7.0 welcome"
        if await self._answer("auth", usual) == 235:
            self.login = name

    async def _proven(self, mechanism: str, initial: str) -> str | None:
        """Who is there, by RFC 4954 with RFC 4616, RFC 2195 or the LOGIN of old; None: nobody."""
        if mechanism not in self.next_hop.mechanisms:
            return None
        if mechanism == "CRAM-MD5":
            challenge = f"<{self.number}@{self.next_hop.name}>".encode()
            name, _, digest = (await self._challenged(challenge)).decode().partition(" ")
            password = self.next_hop.logins.get(name, "")
            right = digest == hmac.new(password.encode(), challenge, "md5").hexdigest()
        else:
            if mechanism == "PLAIN":
                _, name, password = base64.b64decode(initial).decode().split("\0")
            else:
                name = base64.b64decode(initial).decode()
                password = (await self._challenged(b"Password:")).decode()
            right = self.next_hop.logins.get(name) == password
        return name if right and name in self.next_hop.logins else None

    async def _challenged(self, challenge: bytes) -> bytes:
        await self.send(b"334 " + base64.b64encode(challenge) + b"\r\n")
        return base64.b64decode(await self._line())

    async def _mail(self, argument: str) -> None:
        self._reset()
        path = _PATH.match(argument)
        usual = "250 2.1.0 ok" if path else "501 5.5.4 MAIL FROM:<address>"
        if self.next_hop.logins and self.login is None:
            usual = "530 5.7.0 log in first"
        if await self._answer("mail", usual) == 250 and path:
            self.sender, self.mail_parameters = path[1], path[2]

    async def _rcpt(self, argument: str) -> None:
        path = _PATH.match(argument)
        usual = "250 2.1.5 ok" if path else "501 5.5.4 RCPT TO:<address>"
        if self.sender is None:
            usual = "503 5.5.1 MAIL first"
        recipient = path[1] if path else ""
        if await self._answer("rcpt", usual, [recipient]) == 250 and path:
            self.recipients[recipient] = path[2]

    async def _data(self) -> None:
        usual = "354 end with a dot" if self.recipients else "554 5.5.1 no valid recipients"
        if await self._answer("data", usual, list(self.recipients)) != 354:
            return
        self.data = await self._until_dot()
        reply = await self._reply("dot", "250 2.0.0 queued", list(self.recipients))
        if reply.startswith("250"):
            self.take()  # before the client hears of it, so that it is there when somebody looks
        await self._say(reply)
        self._reset()

    def _reset(self) -> None:
        self.sender, self.mail_parameters, self.recipients, self.data = None, "", {}, b""

    async def _answer(self, stage: str, usual: str, recipients: Sequence[str] = ()) -> int:
        """Say what the script wants here; the code that was said."""
        return await self._say(await self._reply(stage, usual, recipients))

    async def _reply(self, stage: str, usual: str, recipients: Sequence[str]) -> str:
        self.usual = usual
        scripted = self.next_hop.scripted(stage, recipients)
        reply = scripted if scripted is None or isinstance(scripted, str) else await scripted(self)
        return usual if reply is None else reply

    async def _say(self, reply: str) -> int:
        await self.send(reply.encode("utf-8", "surrogateescape") + b"\r\n")
        code = int(reply[:3])
        if code == 421:  # RFC 5321 section 3.8: it announces that the connection closes.
            raise HangUp
        return code

    async def _line(self) -> str:
        line = await self.reader.readuntil(b"\n")
        return line.decode("utf-8", "surrogateescape").rstrip("\r\n")

    async def _until_dot(self) -> bytes:
        data = bytearray(await self.reader.readuntil(b"\n"))
        while data != b".\r\n" and not data.endswith(b"\r\n.\r\n"):
            data += await self.reader.readuntil(b".\r\n")
        return re.sub(rb"(?m)^\.", b"", bytes(data[:-3]))


def _octets(data: bytes) -> list[bytes]:
    return [bytes([octet]) for octet in data]


def _lines(code: int, lines: Sequence[str]) -> str:
    *first, last = lines
    return "".join(f"{code}-{line}\r\n" for line in first) + f"{code} {last}"
