"""A session: the conversation with one client, command by command.

Owns the order of commands, the transaction under way, and the order of replies.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Final

import structlog

from waypost.delivery import Delivery, Envelope
from waypost.lmtp.room import Room, Share
from waypost.lmtp.wire import Command, Gone, Input, NotSyntax, is_utf8, written
from waypost.reply import Reply
from waypost.status import NO_ROOM, STOPPING, TOO_LARGE, TOO_MANY_RECIPIENTS, TROUBLE

MAX_RECIPIENTS: Final = 1000
"""Of one transaction. RFC 5321 section 4.5.3.1.8 asks for 100, and Postfix hands over 50 at a time
(postconf(5), default_destination_recipient_limit)."""
_IN_A_ROW: Final = 100
"""Commands that are answered before other clients have their turn."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

# A client sends only the attributes that are named (Postfix, XFORWARD_README).
_ATTRIBUTES: Final = frozenset({"IDENT", "SOURCE"})
_EXTENSIONS: Final = (
    "PIPELINING",
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    f"XFORWARD {' '.join(sorted(_ATTRIBUTES))}",
)
# The parameters of MAIL (RFC 1870, RFC 6152, RFC 6531).
_PARAMETERS: Final = {
    "SIZE": re.compile(r"SIZE=\d{1,20}"),
    "BODY": re.compile(r"BODY=(?:7BIT|8BITMIME)"),
    "SMTPUTF8": re.compile(r"SMTPUTF8"),
}

_OK: Final = Reply.own("250 2.0.0 ok")
_SENDER_OK: Final = Reply.own("250 2.1.0 sender ok")
_RECIPIENT_OK: Final = Reply.own("250 2.1.5 recipient ok")
_GO_ON: Final = Reply.own("354 end with <CRLF>.<CRLF>")
_BYE: Final = Reply.own("221 2.0.0 bye")
_SILENT: Final = Reply.own("421 4.4.2 silent for too long")
_LEAVING: Final = Reply(421, STOPPING.status, STOPPING.text)
_BROKEN: Final = Reply(421, TROUBLE.status, TROUBLE.text)
_TOO_LONG: Final = Reply.own("500 5.5.2 line too long")
_NO_COMMAND: Final = Reply.own("500 5.5.2 no such command")
_NO_SMTP: Final = Reply.own("500 5.5.1 this is LMTP: say LHLO")
_BAD_ARGUMENT: Final = Reply.own("501 5.5.4 bad argument")
_BAD_SENDER: Final = Reply.own("501 5.1.7 a sender beyond ASCII is written in UTF-8")
_NOT_IMPLEMENTED: Final = Reply.own("502 5.5.1 not implemented")
_OUT_OF_ORDER: Final = Reply.own("503 5.5.1 not now")
_NO_RECIPIENT: Final = Reply.own("503 5.5.1 no valid recipient")
_BAD_PARAMETER: Final = Reply.own("555 5.5.4 no such parameter")

# Commands that get the same reply whenever they come.
_FIXED: Final = {
    "NOOP": _OK,
    "VRFY": Reply.own("252 2.5.0 RCPT will tell"),
    "EXPN": _NOT_IMPLEMENTED,
    "HELP": _NOT_IMPLEMENTED,
    "HELO": _NO_SMTP,  # RFC 2033 section 4.1
    "EHLO": _NO_SMTP,
}


class _Refused(Exception):  # no error
    """The command gets this reply and has no effect."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Session:
    """One connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        delivery: Delivery,
        room: Room,
        hostname: str,
        idle_seconds: float,
    ) -> None:
        self._input = Input(reader, idle_seconds)
        self._writer = writer
        self._delivery = delivery
        self._room = room
        self._hostname = hostname
        self._idle_seconds = idle_seconds
        self._listening = False
        self._leaving = False
        self._greeted = False
        self._forget()

    def _forget(self) -> None:
        self._queue_id = ""
        self._envelope: Envelope | None = None
        self._recipients: list[str] = []

    async def run(self) -> None:
        """Hold the conversation. Does not raise."""
        try:
            await self._converse()
        except (Gone, ConnectionError):
            pass
        except TimeoutError:
            self._end(_SILENT)
        except Exception:
            self._log_trouble()
            self._end(_BROKEN)
        finally:
            self._writer.close()
        with contextlib.suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(self._idle_seconds):
                await self._writer.wait_closed()

    def take_leave(self) -> None:
        """End it now if the client has the word, else as soon as it is the client's turn."""
        self._leaving = True
        if self._listening:
            self._end(_LEAVING)

    def disconnect(self) -> None:
        """Drop the connection."""
        self._writer.transport.abort()

    async def _converse(self) -> None:
        if not self._leaving:
            await self._say(Reply(220, None, f"{self._hostname} LMTP Waypost"))
        obeyed = 0
        while not (self._leaving or self._writer.is_closing()):
            obeyed += 1
            if obeyed % _IN_A_ROW == 0:
                await asyncio.sleep(0)
            self._listening = True
            line = await self._input.line()
            self._listening = False
            if self._writer.is_closing():
                return
            if line is None:
                await self._say(_TOO_LONG)
            else:
                await self._obey(Command.read(line))
        self._end(_LEAVING)

    async def _obey(self, command: Command) -> None:
        if command.verb == "DATA":
            await self._data(command)
        elif command.verb == "QUIT":
            self._end(_BYE)
        else:
            await self._say(await self._answer(command))

    async def _answer(self, command: Command) -> Reply:
        try:
            match command.verb:
                case "RCPT":
                    reply = await self._rcpt(command)
                case "MAIL":
                    reply = self._mail(command)
                case "XFORWARD":
                    reply = self._xforward(command)
                case "LHLO":
                    reply = self._lhlo(command)
                case "RSET":
                    self._forget()
                    reply = _OK
                case verb:
                    reply = _FIXED.get(verb, _NO_COMMAND)
        except _Refused as refused:
            return refused.reply
        except NotSyntax:
            return _BAD_ARGUMENT
        except Exception:
            self._log_trouble()
            return TROUBLE
        return reply

    def _lhlo(self, command: Command) -> Reply:
        if not command.argument:
            raise _Refused(_BAD_ARGUMENT)
        self._greeted = True
        self._forget()
        size = f"SIZE {self._room.largest}"
        return Reply(250, None, "\n".join((self._hostname, size, *_EXTENSIONS)))

    def _xforward(self, command: Command) -> Reply:
        if not self._greeted or self._envelope:
            raise _Refused(_OUT_OF_ORDER)
        attributes = command.attributes()
        if not attributes.keys() <= _ATTRIBUTES:
            raise _Refused(_BAD_ARGUMENT)
        self._queue_id = attributes.get("IDENT", self._queue_id)
        return _OK

    def _mail(self, command: Command) -> Reply:
        if not self._greeted or self._envelope:
            raise _Refused(_OUT_OF_ORDER)
        # XFORWARD was for this transaction alone, even if nothing comes of it.
        queue_id, self._queue_id = self._queue_id, ""
        sender, parameters = command.path("FROM")
        if not is_utf8(sender):
            raise _Refused(_BAD_SENDER)
        for parameter in parameters:
            _check_parameter(parameter)
            self._check_size(parameter)
        self._envelope = Envelope(sender, queue_id, "SMTPUTF8" in parameters)
        return _SENDER_OK

    def _check_size(self, parameter: str) -> None:
        """Raise _Refused for a message that would not be taken (RFC 1870 section 6.1)."""
        name, _, value = parameter.partition("=")
        if name == "SIZE":
            if int(value) > self._room.largest:
                raise _Refused(TOO_LARGE)
            if int(value) > self._room.free:
                raise _Refused(NO_ROOM)

    async def _rcpt(self, command: Command) -> Reply:
        if not self._envelope:
            raise _Refused(_OUT_OF_ORDER)
        recipient, parameters = command.path("TO")
        if parameters:  # they belong to DSN, which is not offered
            raise _Refused(_BAD_PARAMETER)
        if len(self._recipients) >= MAX_RECIPIENTS:
            raise _Refused(TOO_MANY_RECIPIENTS)
        refusal = await self._delivery.check(recipient)
        if refusal is None:
            self._recipients.append(recipient)
        return refusal or _RECIPIENT_OK

    async def _data(self, command: Command) -> None:
        envelope, recipients = self._envelope, self._recipients
        if envelope is None or not recipients:  # RFC 2033 section 4.2
            await self._say(_NO_RECIPIENT if envelope else _OUT_OF_ORDER)
            return
        if command.argument:
            await self._say(_BAD_ARGUMENT)
            return
        await self._say(_GO_ON)
        with Share(self._room) as share:
            content = await self._input.content(share.grow_to)
            self._forget()
            if content.octets is None:
                refusal = TOO_LARGE if content.length > self._room.largest else NO_ROOM
                for _ in recipients:
                    await self._say(refusal)
                return
            deliveries = [
                asyncio.create_task(self._deliver(envelope, recipient, content.octets))
                for recipient in recipients
            ]
            for delivery in deliveries:
                await self._say(await delivery)

    async def _deliver(self, envelope: Envelope, recipient: str, content: bytes) -> Reply:
        with Share(self._room) as share:
            if not share.grow_to(len(content)):
                return NO_ROOM
            try:
                return await self._delivery.deliver(envelope, recipient, content)
            except Exception:
                _log.exception("lmtp_trouble", queue_id=envelope.queue_id, recipient=recipient)
                return TROUBLE

    def _log_trouble(self) -> None:
        queue_id = self._envelope.queue_id if self._envelope else self._queue_id
        _log.exception("lmtp_trouble", queue_id=queue_id)

    async def _say(self, reply: Reply) -> None:
        """Tell the client, if it is still there."""
        if self._writer.is_closing():
            return
        self._writer.write(written(reply))
        try:
            async with asyncio.timeout(self._idle_seconds):
                await self._writer.drain()
        except OSError:  # TimeoutError is one
            self.disconnect()

    def _end(self, reply: Reply) -> None:
        """Say the last word."""
        if not self._writer.is_closing():
            self._writer.write(written(reply))
            self._writer.close()


def _check_parameter(parameter: str) -> None:
    """Raise _Refused for a parameter of MAIL that is unknown or has a value it cannot have."""
    pattern = _PARAMETERS.get(parameter.partition("=")[0])
    if pattern is None:
        raise _Refused(_BAD_PARAMETER)
    if not pattern.fullmatch(parameter):
        raise _Refused(_BAD_ARGUMENT)
