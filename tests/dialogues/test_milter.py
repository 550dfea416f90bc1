"""The dialogues in `milter/*.txt`: what Postfix says to the milter, and what it must hear.

How they are written:

    # A comment.
    > MAIL <s@example.org>                          no reply: none was negotiated
    > RCPT <user1@mydomain.net> NOTIFY=NEVER        \\xfc is an octet
    < CONTINUE
    > RCPT <nobody@mydomain.net>
    < 550 5.1.1 no such address here
    > END 4bX9                                      end of message, with the queue id as macro
    < ADD {1/user1@mydomain.net} NOTIFY=NEVER ORCPT=rfc822;user1@mydomain.net
    < DELETE <user1@mydomain.net>
    < CONTINUE
    > ABORT, > QUIT, > QUIT-NEW-CONNECTION, > RAW octets of a payload, < CLOSED

`{1/user1@mydomain.net}` is the genuine route address of that recipient in the first message that
was rewritten. A new connection is negotiated before each dialogue, and closed by QUIT after it:
whatever else the milter sent by then fails the test.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dialogues.milter_mta import Script, World, connected, serving

DIALOGUES = {
    path.stem: path.read_text() for path in sorted((Path(__file__).parent / "milter").glob("*.txt"))
}


def test_there_are_dialogues() -> None:
    assert DIALOGUES


@pytest.mark.parametrize("name", DIALOGUES)
async def test_dialogue(name: str, tmp_path: Path) -> None:
    world = World()
    world.gate.set()
    script = Script(world)
    async with serving(world.milter(), tmp_path) as path, connected(path) as mta:
        for number, line in enumerate(DIALOGUES[name].splitlines(), start=1):
            said = line.partition("#")[0].strip()
            if said.startswith(">"):
                mta.send(*script.payloads(said[1:].strip()))
            elif said.startswith("<"):
                heard = script.line(await mta.receive())
                assert heard == said[1:].strip(), f"{name}.txt:{number}"
            else:
                assert not said, f"{name}.txt:{number}: neither > nor <: {line}"
        mta.send(b"Q")
        assert script.line(await mta.receive()) == "CLOSED", f"{name}.txt: at the end"
