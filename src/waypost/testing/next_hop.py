"""A next hop for tests: a real SMTP server on loopback that answers by script and keeps all it got.

    with FakeNextHop("gmail.com") as gmail, FakeNextHop("outlook.com") as outlook:
        gmail.at("rcpt", "451 4.7.650 rate limited due to IP reputation")
        ...                                     # something delivers to gmail.url, then outlook.url
        [message] = outlook.wait_for(1)

A stage is `greeting`, `dot` (the end of the message) or a verb in lower case: `ehlo`, `starttls`,
`auth`, `mail`, `rcpt`, `data`, `rset`, `quit`. An answer is a reply, the name of a misbehaviour
(`"drop"`: all are in `waypost.testing.misbehaviours`), or one of your own.

It runs on asyncio in a thread of its own; the methods of FakeNextHop are for other threads.
Promises: without a script it behaves as RFC 5321 wants; bytes are kept as they came.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from waypost.testing.conversation import Answer, Conversation, HangUp, Message
from waypost.testing.misbehaviours import named
from waypost.testing.waiting import LONG, wait_until

EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
"""What is offered at EHLO unless told otherwise."""
MECHANISMS: tuple[str, ...] = ("CRAM-MD5", "PLAIN", "LOGIN")
"""What is offered for AUTH, by a next hop with logins, unless told otherwise."""
_LONGEST_MESSAGE = 128 * 1024 * 1024

T = TypeVar("T")


@dataclass(slots=True)
class _Rule:
    stage: str
    answer: Answer
    recipient: str | None
    times: float

    def applies(self, stage: str, recipients: Sequence[str]) -> bool:
        return (
            self.times > 0
            and self.stage == stage
            and (self.recipient is None or self.recipient in [each.lower() for each in recipients])
        )


class FakeNextHop:
    """A next hop; start it by `with` or `start()`."""

    def __init__(
        self,
        name: str = "next-hop",
        extensions: Sequence[str] = EXTENSIONS,
        *,
        tls: ssl.SSLContext | None = None,
        tls_from_the_start: bool = False,
        logins: Mapping[str, str] | None = None,
    ) -> None:
        """`name` is what it calls itself. `extensions` may be set anew at any time.

        With `tls`, the context of a server, it offers STARTTLS, or speaks TLS from the start. With
        `logins`, passwords by user name, it offers AUTH (in TLS, if there is `tls`) and takes no
        mail without.
        """
        self.name = name
        self.extensions = extensions
        self.tls = tls
        self.tls_from_the_start = tls_from_the_start
        self.logins = logins or {}
        self.mechanisms = MECHANISMS
        self.port = free_port()
        self.messages: list[Message] = []
        """What it took, oldest first."""
        self.commands: list[str] = []
        """Every command line that it read, of all connections, as it came."""
        self.connections = 0
        """How many connections it has accepted."""
        self._rules: list[_Rule] = []
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens, as `next_hops` and `relays` want it."""
        return f"smtp{'s' if self.tls_from_the_start else ''}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to listen."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=self.name, daemon=True)
        self._thread.start()
        self.up()

    def stop(self) -> None:
        """Close everything; what it took stays readable."""
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def at(
        self,
        stage: str,
        answer: Answer,
        *,
        recipient: str | None = None,
        times: float = float("inf"),
    ) -> None:
        """Give `answer` at `stage`: the next `times` times, or always.

        With `recipient`, only for it (`rcpt`) or for messages that it is to get (`data`, `dot`).
        Of several that apply, the first one given decides until its times are over. Raises
        ValueError when `answer` is a text that is neither a reply nor a name.
        """
        folded = None if recipient is None else recipient.lower()
        self._rules.append(_Rule(stage, named(answer), folded, times))

    def behave(self) -> None:
        """Forget the script: from now on everything is accepted."""
        self._rules.clear()

    def down(self) -> None:
        """Refuse connections, and close those that are open."""
        self._run(self._close())

    def up(self) -> None:
        """Listen again, on the same port."""
        self._run(self._listen())

    def wait_for(self, count: int, seconds: float = LONG) -> list[Message]:
        """The messages, once there are at least `count`. Raises TimeoutError."""
        wait_until(
            lambda: len(self.messages) >= count,
            lambda: (
                f"{count} messages at {self.name}; it has {len(self.messages)}, "
                f"and heard {self.commands}"
            ),
            seconds,
        )
        return list(self.messages)

    def _run(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LONG)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._converse,
            "127.0.0.1",
            self.port,
            limit=_LONGEST_MESSAGE,
            ssl=self.tls if self.tls_from_the_start else None,
        )

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        self.connections += 1
        conversation = Conversation(
            self, self.connections, reader, writer, in_tls=self.tls_from_the_start
        )
        # Cancelled by down(): for the client it is a closed connection like any other.
        with contextlib.suppress(HangUp, OSError, EOFError, asyncio.CancelledError):
            await conversation.run()
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
        self._conversations.discard(task)

    def scripted(self, stage: str, recipients: Sequence[str]) -> Answer | None:
        """What the script has for this stage; None: nothing. For the Conversation."""
        for rule in list(self._rules):
            if rule.applies(stage, recipients):
                rule.times -= 1
                return rule.answer
        return None


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nobody listens.

    Below the ephemeral ports of Linux, so that no outgoing connection takes it while its owner is
    down for a moment.
    """
    while True:
        port = random.randrange(20000, 32768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
