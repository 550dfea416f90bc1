"""Milter packets: what Postfix sends and what we answer.

Owns our boundary around purepythonmilter's codec: packets in, commands out, and the packets of
every answer. Where the library's own decoding loses bytes or closes the connection over a legal
command, the piece is written here, and says so. Pure: no I/O.

Promises: addresses and parameters are bytes, exactly as Postfix sent them; whatever arrives is
either a packet or raises `BadPacket`; nothing but one line of ASCII becomes a reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from purepythonmilter.api.models import RequestProtocolFlags
from purepythonmilter.protocol import commands, responses
from purepythonmilter.protocol.definitions import VERSION, MacroStage

from waypost.reply import Reply

MAX_PACKET: Final = 1 << 17
"""Octets. Postfix's longest packet is a chunk of the body, 64 KB, which is negotiated away."""
_MAX_SHOWN: Final = 512
"""Characters of a client's text that go to logs and observers. No address is as long."""
_LENGTH: Final = 4

NEGOTIATE: Final = commands.OptionsNegotiate.command_char
MACROS: Final = commands.DefineMacro.command_char
MAIL: Final = commands.MailFrom.command_char
RCPT: Final = commands.RcptTo.command_char
END_OF_MESSAGE: Final = commands.EndOfMessage.command_char
ABORT: Final = commands.Abort.command_char
QUIT: Final = commands.Quit.command_char
QUIT_NEW_CONNECTION: Final = commands.QuitNoClose.command_char

_NEEDED = RequestProtocolFlags(
    call_mail_from=True,
    call_rcpt_to=True,
    reply_rcpt_to=True,
    can_add_recipients=True,
    can_add_recipients_with_esmtp_args=True,
    can_remove_recipients=True,
    can_skip_body_chunks=False,
)
# The queue id, for the logs. Postfix sends macros before every command, also before one that was
# negotiated away (milter8.c), and an empty list is no list to it: one short macro is the least.
_WANTED_MACROS: dict[MacroStage, set[str]] = {
    MacroStage.MAIL_FROM: {"i"},
    MacroStage.RCPT_TO: {"i"},
    MacroStage.END_OF_MESSAGE: {"i"},
}


class BadPacket(ValueError):
    """What arrived is no milter conversation that we can have; the message says why."""


def packet(payload: bytes) -> bytes:
    """`payload` as it goes over the wire."""
    return len(payload).to_bytes(_LENGTH) + payload


def take_packet(buffer: bytearray) -> bytes | None:
    """Take the first payload off `buffer`; None when it is not complete. Raises BadPacket."""
    if len(buffer) < _LENGTH:
        return None
    length = int.from_bytes(buffer[:_LENGTH])
    if not 0 < length <= MAX_PACKET:
        raise BadPacket(f"a packet of {length} octets; the most is {MAX_PACKET}")
    end = _LENGTH + length
    if len(buffer) < end:
        return None
    payload = bytes(buffer[_LENGTH:end])
    del buffer[:end]
    return payload


@cache
def _negotiation() -> tuple[int, int, bytes]:
    steps, actions = _NEEDED.encode_to_flags_bitmask()
    response = responses.OptionsNegotiateResponse(
        protocol_flags=_NEEDED, symbols_for_stage=_WANTED_MACROS
    )
    return steps, actions, packet(response.encode())


def negotiate(data: bytes) -> bytes:
    """Our answer to what the MTA offers: MAIL (without reply), RCPT and end of message, and the
    right to add and delete recipients. Raises BadPacket when it offers less.
    """
    steps, actions, answer = _negotiation()
    if len(data) != 3 * _LENGTH:
        raise BadPacket("the offer to negotiate has a wrong length")
    version, offered_actions, offered_steps = (
        int.from_bytes(data[start : start + _LENGTH]) for start in range(0, len(data), _LENGTH)
    )
    # The library looks at the version alone: a flag that was not offered ends in silence later on.
    if version < VERSION or actions & ~offered_actions or steps & ~offered_steps:
        raise BadPacket(
            "the MTA offers less of the milter protocol than Waypost needs: "
            f"in Postfix, leave milter_protocol at {VERSION} (postconf(5))"
        )
    return answer


@dataclass(frozen=True, slots=True)
class RcptCommand:
    """One RCPT as the client gave it."""

    address: bytes
    """With its angle brackets, if it came with any."""
    notify: bytes | None = None
    """The value of NOTIFY (RFC 3461 section 4.1)."""
    orcpt: bytes | None = None
    """The value of ORCPT (RFC 3461 section 4.2)."""

    @property
    def text(self) -> str:
        """The address without angle brackets; octets that are not UTF-8 as lone surrogates."""
        return _bare(self.address).decode(errors="surrogateescape")

    @property
    def shown(self) -> str:
        """The address for events and logs: always text that can be encoded, of bounded length."""
        return _bare(self.address)[:_MAX_SHOWN].decode(errors="backslashreplace")

    @property
    def octets(self) -> int:
        """How long it is."""
        return len(self.address) + len(self.notify or b"") + len(self.orcpt or b"")


def read_rcpt(data: bytes) -> RcptCommand:
    """Read the arguments of RCPT. Raises BadPacket.

    purepythonmilter's RcptTo is not used: it closes the connection over a value that holds "=",
    legal in `ORCPT=rfc822;a=b@c`, and turns octets that are not UTF-8 into backslashes, so that the
    recipient could not be deleted any more.
    """
    address, *parameters = _strings(data)
    values = {
        keyword.upper(): value
        for keyword, _, value in (parameter.partition(b"=") for parameter in parameters)
    }
    return RcptCommand(address, values.get(b"NOTIFY"), values.get(b"ORCPT"))


def read_queue_id(data: bytes) -> str | None:
    """The queue id, if these are the macros for the end of a message. Raises BadPacket.

    purepythonmilter's DefineMacro is not used: it closes the connection over values that are not
    UTF-8, which any macro can hold that takes a client's word.
    """
    if data[:1] != END_OF_MESSAGE or len(data) == 1:
        return None
    names_and_values = _strings(data[1:])
    if len(names_and_values) % 2:
        raise BadPacket("a macro without a value")
    macros = dict(zip(names_and_values[::2], names_and_values[1::2], strict=True))
    queue_id = macros.get(b"i")
    if queue_id is None:
        return None
    return queue_id[:_MAX_SHOWN].decode("ascii", errors="backslashreplace")


def _strings(data: bytes) -> list[bytes]:
    if not data.endswith(b"\0"):
        raise BadPacket("a string that does not end with NUL")
    return data[:-1].split(b"\0")


CONTINUE: Final = packet(responses.Continue().encode())


@cache
def refuse(reply: Reply) -> bytes:
    """A 4xx or 5xx reply of ours, as the SMTP client shall hear it. Raises ValueError.

    Kept: Waypost's replies are a handful of constants.
    """
    status = reply.effective_status
    text = reply.text
    # The library passes on what it is given: CR, LF and NUL would break the reply, and Postfix
    # drops a single "%" (milter8.c: the text is a format in libmilter).
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"{reply!r} is not one line of ASCII")
    escaped = text.replace("%", "%%")
    tens, ones = reply.code // 10 % 10, reply.code % 10
    match reply.code // 100:
        case 4:
            refusal: responses.BaseReplyWithCode = responses.TempFailWithCode(
                primary_code=(4, tens, ones),
                enhanced_code=(4, status.subject, status.detail),
                text=escaped,
            )
        case 5:
            refusal = responses.RejectWithCode(
                primary_code=(5, tens, ones),
                enhanced_code=(5, status.subject, status.detail),
                text=escaped,
            )
        case _:
            raise ValueError(f"{reply!r} refuses nothing")
    return packet(refusal.encode())


def add_recipient(address: str, command: RcptCommand) -> bytes:
    """Add `address` in the place of the recipient of `command`, with the DSN parameters of that.

    Without an ORCPT the recipient itself becomes it (RFC 3461 section 5.2.1 lets a relay add one):
    a bounce then names the address that was written to. The library's encoder is not used: it
    raises on octets that are not UTF-8, and parameters have to travel as they came.
    """
    parameters = [b"ORCPT=" + (command.orcpt or _orcpt(_bare(command.address)))]
    if command.notify:
        parameters.insert(0, b"NOTIFY=" + command.notify)
    return packet(
        responses.AddRecipientWithEsmtpArgs.response_char
        + f"<{address}>".encode()
        + b"\0"
        + b" ".join(parameters)
        + b"\0"
    )


def delete_recipient(address: bytes) -> bytes:
    """Delete the recipient that came as `address`: Postfix compares octets (cleanup_milter.c)."""
    return packet(responses.RemoveRecipient.response_char + address + b"\0")


_XTEXT = frozenset(range(0x21, 0x100)) - frozenset(b"+=\x7f")


def _orcpt(address: bytes) -> bytes:
    # xtext, RFC 3461 section 4. Beyond ASCII the address type is utf-8 (RFC 6533 section 3), its
    # characters as they are: Postfix decodes this parameter of a milter as xtext whatever its type
    # (cleanup_milter.c, 3.7), and would keep RFC 6533's "\x{...}" as it stands.
    kind = b"rfc822;" if address.isascii() else b"utf-8;"
    return kind + b"".join(
        octet.to_bytes() if octet in _XTEXT else b"+%02X" % octet for octet in address
    )


def _bare(address: bytes) -> bytes:
    inside = address.startswith(b"<") and address.endswith(b">")
    return address[1:-1] if inside else address
