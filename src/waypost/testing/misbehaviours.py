"""What a fake next hop may do instead of giving its usual answer, by name: see `FakeNextHop.at`.

    hop.at("rcpt", "hang")
    hop.at("dot", "take and drop", times=1)

| name | what it does |
|---|---|
| `4xx` | refuses for now |
| `5xx` | refuses for good |
| `421` | refuses for now and closes the connection |
| `hang` | says nothing more |
| `drop` | closes the connection instead of answering |
| `cut short` | closes the connection in the middle of its answer |
| `gibberish` | says something that is no reply, and then nothing more |
| `two replies` | gives its answer twice in one segment |
| `many lines` | gives its answer on twenty lines more than usual |
| `endless line` | begins an answer whose first line never ends, as fast as it is read |
| `endless reply` | begins an answer that has always one line more, as fast as it is read |
| `slow` | from now on says everything octet by octet, with pauses |
| `trickle` | begins an answer and never ends it: an octet now and then |
| `take and drop` | at `dot`: keeps the message, and closes the connection before saying so |
| `small SIZE` | at `ehlo`: takes messages of 100 octets at most |
| `no 8BITMIME` | at `ehlo`: does not offer it |
| `no SMTPUTF8` | at `ehlo`: does not offer it |
| `no STARTTLS` | at `ehlo`: does not offer it |
| `broken handshake` | at `starttls`: agrees, and then does not speak TLS |
| `drop in the handshake` | at `starttls`: agrees, and closes the connection |
| `hang in the handshake` | at `starttls`: agrees, and says nothing more |

A next hop that refuses connections is one that is `down()`. `Hang` is for a test that has something
to do while a client is kept waiting.

A misbehaviour is a coroutine function that takes the Conversation. It returns the reply to give
(None: the usual one) or raises HangUp; before that it may `send` what it likes. To add one, write
a function here and name it in `BY_NAME`; or give yours to `at` as it is.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import NoReturn

from waypost.testing.conversation import Answer, Conversation, HangUp, Misbehaviour
from waypost.testing.waiting import LONG, wait_until

_SMALL = "SIZE 100"
_SLOW = 0.005
_TRICKLE = 0.05
"""Seconds between two octets."""


async def hang_up(_: Conversation) -> None:
    """Close the connection instead of answering."""
    raise HangUp


async def hang(conversation: Conversation) -> NoReturn:
    """Say nothing more, for as long as the client cares to wait."""
    await conversation.reader.read()
    raise HangUp


async def cut_short(conversation: Conversation) -> NoReturn:
    """Close the connection in the middle of the answer."""
    octets = conversation.usual.encode()
    await conversation.send(octets[: len(octets) // 2])
    raise HangUp


async def gibberish(conversation: Conversation) -> NoReturn:
    """Say something that is no reply."""
    await conversation.send(b"\x16\x03\xff what?\r\n")
    await hang(conversation)


async def two_replies(conversation: Conversation) -> str:
    """Give the answer twice, in one segment."""
    return f"{conversation.usual}\r\n{conversation.usual}"


async def many_lines(conversation: Conversation) -> str:
    """Give the answer on many lines (RFC 5321 section 4.2.1)."""
    code = conversation.usual[:3]
    return "".join(f"{code}-{number}\r\n" for number in range(20)) + conversation.usual


async def endless_line(conversation: Conversation) -> NoReturn:
    """Begin an answer whose first line never ends."""
    await conversation.send(_beginning(conversation))
    while True:
        await conversation.send(b"x" * 1000)


async def endless_reply(conversation: Conversation) -> NoReturn:
    """Begin an answer that has always one line more."""
    while True:
        await conversation.send(_beginning(conversation) + b"and more\r\n")


async def slow(conversation: Conversation) -> None:
    """Say everything from now on octet by octet."""
    conversation.pause = _SLOW


async def trickle(conversation: Conversation) -> NoReturn:
    """Say an octet now and then, for ever."""
    conversation.pause = _TRICKLE
    await endless_line(conversation)


async def take_then_hang_up(conversation: Conversation) -> None:
    """At `dot`: keep the message, and close the connection before the client hears of it."""
    conversation.take()
    raise HangUp


async def small_size(conversation: Conversation) -> str:
    """At `ehlo`: take small messages only (RFC 1870)."""
    return conversation.introduction([*conversation.extensions(), _SMALL])


async def broken_handshake(conversation: Conversation) -> NoReturn:
    """At `starttls`: agree, and then do not speak TLS."""
    await _agree_to_tls(conversation)
    await conversation.send(b"this is no TLS at all\r\n")
    raise HangUp


async def drop_in_the_handshake(conversation: Conversation) -> NoReturn:
    """At `starttls`: agree, and close the connection."""
    await _agree_to_tls(conversation)
    raise HangUp


async def hang_in_the_handshake(conversation: Conversation) -> NoReturn:
    """At `starttls`: agree, and say nothing more."""
    await _agree_to_tls(conversation)
    await hang(conversation)


def _beginning(conversation: Conversation) -> bytes:
    return f"{conversation.usual[:3]}-".encode()


async def _agree_to_tls(conversation: Conversation) -> None:
    await conversation.send(b"220 2.0.0 go ahead\r\n")
    # The handshake has begun, so that what comes now is taken for TLS.
    await conversation.reader.read(1)


def _without(extension: str) -> Misbehaviour:
    async def offer(conversation: Conversation) -> str:
        offered = conversation.extensions()
        return conversation.introduction(each for each in offered if each != extension)

    return offer


BY_NAME: Mapping[str, Answer] = {
    "4xx": "451 4.3.0 not now",
    "5xx": "554 5.3.0 never",
    "421": "421 4.3.2 not now, and good-bye",
    "hang": hang,
    "drop": hang_up,
    "cut short": cut_short,
    "gibberish": gibberish,
    "two replies": two_replies,
    "many lines": many_lines,
    "endless line": endless_line,
    "endless reply": endless_reply,
    "slow": slow,
    "trickle": trickle,
    "take and drop": take_then_hang_up,
    "small SIZE": small_size,
    "no 8BITMIME": _without("8BITMIME"),
    "no SMTPUTF8": _without("SMTPUTF8"),
    "no STARTTLS": _without("STARTTLS"),
    "broken handshake": broken_handshake,
    "drop in the handshake": drop_in_the_handshake,
    "hang in the handshake": hang_in_the_handshake,
}
"""All that have a name."""


def named(answer: Answer) -> Answer:
    """What `answer` names, or itself. Raises ValueError for a text that is no reply, either."""
    if not isinstance(answer, str):
        return answer
    if answer in BY_NAME:
        return BY_NAME[answer]
    if not re.match(r"[2-5]\d\d", answer):
        raise ValueError(f'"{answer}" is neither a reply nor one of {", ".join(BY_NAME)}')
    return answer


class Hang:
    """Keep the client waiting until `release`, then give the usual answer, or `then`."""

    def __init__(self, then: str | None = None) -> None:
        self._then = then
        self._reached = threading.Event()
        self._released: Future[None] = Future()

    async def __call__(self, _: Conversation) -> str | None:
        self._reached.set()
        # Shielded: a connection that is closed meanwhile must not keep others from their answer.
        await asyncio.shield(asyncio.wrap_future(self._released))
        return self._then

    def wait_until_reached(self, seconds: float = LONG) -> None:
        """Return once a client is kept waiting. Raises TimeoutError."""
        wait_until(self._reached.is_set, "a client at the stage that hangs", seconds)

    def release(self) -> None:
        """Answer those who wait, and those who come, at once."""
        if not self._released.done():
            self._released.set_result(None)
