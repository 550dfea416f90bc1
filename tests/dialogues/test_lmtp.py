"""The dialogues in `lmtp/*.txt`: what clients of the delivery socket say, and what they must hear.

How they are written:

    # A comment.
    C: NOOP                                     the client says this, and CRLF
    C| .\\r\\n                                    the same without CRLF; \\n and \\xfc are octets
    S: 250 2.0.0 ok                             the server's next line
    S: CLOSED                                   it has closed the connection

    D: refuses ADDRESS 550 5.1.1 no             what delivery does from now on: at RCPT,
    D: answers ADDRESS 451 4.3.0 later          after the final dot,
    D: raises ADDRESS                           at both;
    D: holds ADDRESS, D: releases ADDRESS       it waits in between
    D: given ADDRESS from <SENDER> id=ID smtputf8=no: CONTENT          what it was given next

Lines of the client without one of the server between them are sent at once. `S: HELLO` stands for
the greeting, LHLO and its reply. When a dialogue ends, the client stops sending: whatever else the
server says, or gave to delivery, by the time it has closed the connection fails the test.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dialogues.lmtp_delivery import HOSTNAME, Client, FakeDelivery, connected, serving
from waypost.lmtp import LmtpServer
from waypost.reply import Reply

DIALOGUES = {
    path.stem: path.read_text() for path in sorted((Path(__file__).parent / "lmtp").glob("*.txt"))
}


def test_there_are_dialogues() -> None:
    assert DIALOGUES


@pytest.mark.parametrize("name", DIALOGUES)
async def test_dialogue(name: str, tmp_path: Path) -> None:
    delivery = FakeDelivery()
    path = tmp_path / "lmtp.sock"
    async with serving(LmtpServer(delivery, hostname=HOSTNAME), path), connected(path) as client:
        script = Script(client, delivery)
        for number, line in enumerate(DIALOGUES[name].splitlines(), start=1):
            await script.play(line, f"{name}.txt:{number}")
        script.flush()
        client.stop_sending()
        assert await client.rest() == "", f"{name}.txt: at the end"
        assert delivery.nothing_given, f"{name}.txt: at the end"


class Script:
    """Plays a dialogue line by line."""

    def __init__(self, client: Client, delivery: FakeDelivery) -> None:
        self._client = client
        self._delivery = delivery
        self._unsent = b""

    async def play(self, line: str, where: str) -> None:
        """Do what a line says, or assert it."""
        who, said = line[:2], line[3:]
        if who == "C:":
            self._unsent += octets(said) + b"\r\n"
        elif who == "C|":
            self._unsent += octets(said)
        elif who in ("S:", "D:"):
            self.flush()
            await (self._server(said, where) if who == "S:" else self._deliver(said, where))
        else:
            assert not line.strip() or line.startswith("#"), f"{where}: not a line of a dialogue"

    def flush(self) -> None:
        """Send what the client has said."""
        self._client.send(self._unsent)
        self._unsent = b""

    async def _server(self, said: str, where: str) -> None:
        if said == "HELLO":
            await self._client.line()
            self._client.send(b"LHLO client.example\r\n")
            while (await self._client.line())[3:4] == "-":
                pass
        else:
            expected = "" if said == "CLOSED" else said
            assert await self._client.line() == expected, where

    async def _deliver(self, said: str, where: str) -> None:
        does, _, rest = said.partition(" ")
        address, _, rest = rest.partition(" ")
        match does:
            case "refuses":
                self._delivery.refusals[address] = Reply.own(rest)
            case "answers":
                self._delivery.answers[address] = Reply.own(rest)
            case "raises":
                self._delivery.refusals[address] = self._delivery.answers[address] = RuntimeError()
            case "holds":
                self._delivery.gates[address].clear()
            case "releases":
                self._delivery.gates[address].set()
            case _:
                assert does == "given", f"{where}: delivery does not do this"
                assert await self._given() == f"{address} {rest}", where

    async def _given(self) -> str:
        given = await self._delivery.given()
        envelope = given.envelope
        smtputf8 = "yes" if envelope.smtputf8 else "no"
        content = repr(given.content)[2:-1]
        told = (
            f"{given.recipient} from <{envelope.sender}> id={envelope.queue_id}"
            f" smtputf8={smtputf8}: {content}"
        )
        return told.rstrip().encode("utf-8", "backslashreplace").decode()


def octets(text: str) -> bytes:
    """The octets that a line with escapes stands for."""
    return text.encode().decode("unicode_escape").encode("latin-1")
