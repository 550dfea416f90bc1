"""How LMTP is written: command lines, contents and replies.

Promises: only CRLF.CRLF ends a content, and a content is kept octet by octet, whatever is in it, or
not at all; a line that is too long is skipped whole; a line and a content come to their end in
time; a reply never breaks out of its line.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from waypost.reply import Reply

MAX_COMMAND_OCTETS: Final = 4096
"""With CRLF. RFC 5321 section 4.5.3.1.4 asks for 512, but knows no route addresses."""
MAX_REPLY_OCTETS: Final = 512
"""With CRLF: RFC 5321 section 4.5.3.1.5."""
_READ_OCTETS: Final = 1 << 18
_END_OCTETS: Final = 4
"""The end of a content may have begun in that many octets."""

_COMMAND = re.compile(rb"([A-Za-z]+)(?: ([^\x00-\x1f\x7f]*))?\Z")
# Within quotes ">" is part of the address (RFC 5321 section 4.1.2).
_PATH = re.compile(r'(FROM|TO): ?<((?:[^">]|"(?:[^"\\]|\\.)*")*)>(?: (.*))?\Z', re.IGNORECASE)
_XTEXT_OCTET = re.compile(r"\+([0-9A-F]{2})", re.IGNORECASE)
# What a queue id can be; the length is Postfix's limit for an attribute.
_ATTRIBUTE_VALUE = re.compile(r"[!-~]{1,255}\Z")
_NOTHING_KNOWN: Final = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")
_UNPRINTABLE = re.compile(r"[^ -~]")


class Gone(Exception):  # no error
    """The client will send nothing more."""


class NotSyntax(ValueError):  # it reads as what it says
    """A command's argument is not written as it must be."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line. What cannot be read is a command with an empty verb."""

    verb: str
    """In upper case."""
    argument: str
    """Octets that are not UTF-8 are lone surrogates in it (PEP 383), which no address takes."""

    @classmethod
    def read(cls, line: bytes) -> Command:
        """Read a line without its CRLF."""
        match = _COMMAND.match(line)
        if not match:
            return cls("", "")
        argument = (match[2] or b"").decode("utf-8", "surrogateescape")
        return cls(match[1].decode("ascii").upper(), argument.strip(" "))

    def path(self, keyword: str) -> tuple[str, list[str]]:
        """The address between the angle brackets behind `keyword` (FROM, TO), and the parameters.

        Parameters are in upper case. Raises NotSyntax.
        """
        match = _PATH.match(self.argument)
        if not match or match[1].upper() != keyword:
            raise NotSyntax
        return match[2], (match[3] or "").upper().split()

    def attributes(self) -> dict[str, str]:
        """The attributes of XFORWARD (Postfix, XFORWARD_README), their names in upper case.

        A value that the client does not know is empty. Raises NotSyntax.
        """
        return dict(_attribute(word) for word in self.argument.split(" "))


def _attribute(word: str) -> tuple[str, str]:
    name, _, xtext = word.partition("=")
    value = _XTEXT_OCTET.sub(lambda octet: chr(int(octet[1], 16)), xtext)
    if not _ATTRIBUTE_VALUE.match(value):
        raise NotSyntax
    return name.upper(), "" if value.upper() in _NOTHING_KNOWN else value


def is_utf8(text: str) -> bool:
    """Whether a command's argument came in UTF-8."""
    return not any("\udc80" <= char <= "\udcff" for char in text)


@dataclass(frozen=True, slots=True)
class Content:
    """A message as it came."""

    octets: bytes | None
    """None when it might not be kept."""
    length: int
    """On the wire."""


class Input:
    """What a client sends. `seconds` is how long it may take for a line, and for a content: the
    client is on this host, so that a slow one is none that works.
    """

    def __init__(self, reader: asyncio.StreamReader, seconds: float) -> None:
        self._reader = reader
        self._seconds = seconds
        self._buffer = bytearray()

    async def line(self) -> bytes | None:
        """A line without its CRLF; None for one that is too long. Raises Gone, TimeoutError."""
        async with asyncio.timeout(self._seconds):
            return await self._line()

    async def _line(self) -> bytes | None:
        too_long = False
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) >= MAX_COMMAND_OCTETS:
                too_long = True
                del self._buffer[:-1]  # the last one may be the CR
            await self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return None if too_long or end + 2 > MAX_COMMAND_OCTETS else line

    async def content(self, grow_to: Callable[[int], bool]) -> Content:
        """All up to the final dot, dot-stuffing undone (RFC 5321 section 4.5.2).

        `grow_to` is asked, with the octets so far, whether they may be kept. When it says no, the
        rest is read and thrown away. Raises Gone, TimeoutError.
        """
        async with asyncio.timeout(self._seconds):
            return await self._content(grow_to)

    async def _content(self, grow_to: Callable[[int], bool]) -> Content:
        received = self._buffer
        received[:0] = b"\r\n"  # a dot on the first line is like any other then
        thrown_away = searched = 0
        kept = grow_to(len(received))
        while (end := received.find(b"\r\n.\r\n", searched)) < 0:
            kept = kept and grow_to(len(received))
            if not kept:
                thrown_away += max(0, len(received) - _END_OCTETS)
                del received[:-_END_OCTETS]
            searched = max(0, len(received) - _END_OCTETS)
            await self._more()
        kept = kept and grow_to(end)
        self._buffer = received[end + 5 :]
        if not kept:
            return Content(None, thrown_away + end)
        del received[end + 2 :]
        received = received.replace(b"\r\n.", b"\r\n")
        return Content(bytes(memoryview(received)[2:]), end)

    async def _more(self) -> None:
        octets = await self._reader.read(_READ_OCTETS)
        if not octets:
            raise Gone
        self._buffer += octets


def written(reply: Reply) -> bytes:
    """A reply as it is sent: ASCII, the status on every line (RFC 2034), long lines cut."""
    status = f"{reply.status} " if reply.status else ""
    texts = reply.text.split("\n")
    last = len(texts) - 1
    lines = (
        f"{reply.code}{' ' if number == last else '-'}{status}{_UNPRINTABLE.sub('?', text)}"
        for number, text in enumerate(texts)
    )
    return b"".join(line[: MAX_REPLY_OCTETS - 2].encode("ascii") + b"\r\n" for line in lines)
